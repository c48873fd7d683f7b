"""How values are spelt in flags, environment and files: text -> value -> text. Pure, and it imports nothing of ours.

Every reader takes what it returns as well, so that settings can be made in code: `Options(head_timeout=0.5)`. What
cannot be read raises ValueError with half a sentence that says what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

NOTHING = frozenset({"off", "none", ""})
AUTO = "auto"
MOST_PROCESSES = 64
SIZES = {
    "TiB": 1 << 40,
    "GiB": 1 << 30,
    "MiB": 1 << 20,
    "KiB": 1 << 10,
    "TB": 10**12,
    "GB": 10**9,
    "MB": 10**6,
    "kB": 1000,
}
DURATIONS = {"d": 86400, "h": 3600, "m": 60, "s": 1}

T = TypeVar("T")


class Address(NamedTuple):
    """Where a port listens."""

    host: str
    port: int


def size(value: object) -> int:
    """Bytes from 64KiB, 10GiB, 5MB or a plain number."""
    return int(_quantity(value, {**SIZES, "B": 1, "": 1}, "a size such as 64KiB, 10GiB, 5MB or a number of bytes"))


def duration(value: object) -> float:
    """Seconds from 500ms, 30s, 5m, 24h, 7d or a plain number of seconds."""
    return float(_quantity(value, {**DURATIONS, "ms": 0.001, "": 1}, "a period such as 500ms, 30s, 5m, 24h or 7d"))


def spelt_size(value: int | None) -> str:
    return "none" if value is None else _shortest(value, SIZES, "")


def spelt_duration(value: float | None) -> str:
    if value is None:
        return "off"
    return f"{value * 1000:g}ms" if value % 1 else _shortest(value, DURATIONS, "s")


def or_nothing(read: Callable[[object], T]) -> Callable[[object], T | None]:
    """The same reader, for which off, none and an empty text mean None."""

    def reader(value: object) -> T | None:
        return None if value is None or (isinstance(value, str) and value.lower() in NOTHING) else read(value)

    return reader


def listed(value: object) -> object:
    """A list from text with commas; whatever else is left to the next reader."""
    if not isinstance(value, str):
        return value
    return () if value.lower() in NOTHING else tuple(part.strip() for part in value.split(",") if part.strip())


def number(value: object) -> object:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value) else value


def processes(value: object) -> int | None:
    """How many; None is as many as there are cores to use."""
    if value is None or value == AUTO:
        return None
    count = number(value)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_PROCESSES:
        raise ValueError(f"allowed is auto, or a number from 1 to {MOST_PROCESSES}")
    return count


def spelt_processes(value: int | None) -> str:
    return AUTO if value is None else str(value)


def lowered(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def network(value: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(value))
    except ValueError:
        raise ValueError("allowed are networks such as 10.0.0.0/8 or fd00::/8, and single addresses") from None


def address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s]+)):([0-9]{1,5})", str(value))
    if match is None or int(match[3]) > 65535:
        raise ValueError("allowed is an address such as 127.0.0.1:1081 or [::1]:1081, or off")
    return Address(match[1] or match[2], int(match[3]))


def spelt_address(value: tuple[str, int] | None) -> str:
    if value is None:
        return "off"
    host, port = value
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def base_path(value: object) -> str:
    """A path that begins and ends with a slash."""
    text = str(value).strip("/")
    if not re.fullmatch(r"[A-Za-z0-9._~/-]*", text) or ({"", ".", ".."} & set(text.split("/")) and text):
        raise ValueError("allowed is a path of letters, digits and . _ ~ - / such as /files/")
    return f"/{text}/" if text else "/"


def public_url(value: object) -> str:
    parts = urlsplit(str(value))
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("allowed is the URL that clients see, such as https://uploads.example.org, or none")
    return str(value).rstrip("/")


def origin(value: object) -> str:
    if not re.fullmatch(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s,]+", str(value)):
        raise ValueError("allowed are * and origins such as https://example.org, without a path")
    return str(value)


def header(value: object) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", str(value)):
        raise ValueError("allowed are names of header fields, separated by commas")
    return str(value)


def media_type(value: object) -> str:
    text = str(value).lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9!#$&^_.+-]*/(?:\*|[a-z0-9][a-z0-9!#$&^_.+-]*)", text):
        raise ValueError("allowed are media types such as image/png or image/*, separated by commas")
    return text


def token(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,}", value):
        raise ValueError("a token has at least 16 letters, digits or . _ ~ + / = -")
    return value


def _quantity(value: object, units: Mapping[str, float], allowed: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return value
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)", str(value))
    factors = {unit.lower(): factor for unit, factor in units.items()}
    if match is None or match[2].lower() not in factors:
        raise ValueError(f"allowed is {allowed}")
    count = float(match[1]) if "." in match[1] else int(match[1])
    return count * factors[match[2].lower()]


def _shortest(value: float, units: Mapping[str, int], plain: str) -> str:
    """The spelling with the fewest digits that says the same."""
    exact = [f"{value // factor:.0f}{unit}" for unit, factor in units.items() if value and value % factor == 0]
    return min(exact, key=len, default=f"{value:.0f}{plain}")
