"""Header fields of tus: text <-> values. What the grammar does not allow is refused, never guessed (T2, P26, P27)."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from tusd_py.errors import InvalidChecksum, InvalidConcat, InvalidMetadata, UnsupportedChecksum
from tusd_py.protocol.commands import Checksum
from tusd_py.protocol.limits import CHECKSUM_ALGORITHMS
from tusd_py.upload import is_id

CHUNK_TYPE = "application/offset+octet-stream"  # labels the bytes of a PATCH and of a creation (T22, T71)
LARGEST = (1 << 63) - 1  # bytes: what the records can hold

_KEY = re.compile(r"[!-+\--~]+")  # visible ASCII without the comma
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")  # with a length divisible by four this is the whole grammar
_HOST = re.compile(r"(?:https?:)?//[^/]*", re.IGNORECASE)
_UNSAFE = re.compile(r"[^!-~]|[\\?#,]|(?:^|/)\.{1,2}(?:/|$)")  # not visible ASCII; query, list; dot segments

# What has to be understood (RFC 9110 section 5.6.7), today's form and two that are long obsolete
_DATES = tuple(
    re.compile(form.replace("TIME", "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"))
    for form in (
        r"[A-Z][a-z]{2}, (?P<day>[0-9]{2}) (?P<month>[A-Z][a-z]{2}) (?P<year>[0-9]{4}) TIME GMT",
        r"[A-Z][a-z]{5,8}, (?P<day>[0-9]{2})-(?P<month>[A-Z][a-z]{2})-(?P<year>[0-9]{2}) TIME GMT",
        r"[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) (?P<day>[ 0-9][0-9]) TIME (?P<year>[0-9]{4})",
    )
)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def whole_number(text: str) -> int | None:
    """A non-negative integer in ASCII digits without sign, space or leading zero; None for anything else (T2).

    Whatever passes LARGEST becomes LARGEST + 1: a size problem, not a syntax error (T3), and int() never meets
    thousands of digits.
    """
    if not (text.isdecimal() and text.isascii()) or (text[0] == "0" and len(text) > 1):
        return None
    return int(text) if len(text) < 19 else min(int(text[:20]), LARGEST + 1)


def labels_chunk(content_type: str | None) -> bool:
    """Whether a Content-Type is that of a chunk, in any case and with any parameters (T22, P34)."""
    if content_type is None or content_type == CHUNK_TYPE:
        return content_type is not None
    return content_type.partition(";")[0].strip(" \t").lower() == CHUNK_TYPE


def _is_base64(text: str) -> bool:
    return len(text) % 4 == 0 and _BASE64.fullmatch(text) is not None


# Upload-Metadata


def check_metadata(raw: str) -> None:
    """Refuses what T57 advises to refuse: InvalidMetadata. The field itself is stored and echoed as it came (T58)."""
    seen = set()
    for number, pair in enumerate(_pairs(raw), 1):
        key, _, value = pair.partition(" ")
        if _KEY.fullmatch(key) is None:
            raise InvalidMetadata(f"Pair {number} of Upload-Metadata needs a key of visible ASCII without comma.")
        if not _is_base64(value):
            raise InvalidMetadata(f"The value of pair {number} of Upload-Metadata is not padded standard Base64.")
        if key in seen:
            raise InvalidMetadata(f"The key of pair {number} of Upload-Metadata occurs twice; keys must be unique.")
        seen.add(key)


def read_metadata(raw: str | None) -> dict[str, bytes]:
    """The keys of a checked Upload-Metadata and their decoded values, in order; a key without value has b"" (T56)."""
    pairs = (pair.partition(" ") for pair in _pairs(raw or "") if pair)
    return {key: b64decode(value) for key, _, value in pairs}


def _pairs(raw: str) -> list[str]:
    """Spaces behind a comma are nobody's: iOS apps with TUSKit 3 send one there."""
    first, *others = raw.split(",")
    return [first, *[pair.lstrip(" ") for pair in others]]


def write_metadata(values: Mapping[str, bytes]) -> str:
    """The field that a client sends for these values, empty without any (T56). An invalid key is InvalidMetadata."""
    for key in values:
        if _KEY.fullmatch(key) is None:
            raise InvalidMetadata(f"{key!r} cannot be a key; keys are visible ASCII without comma.")
    return ",".join(f"{key} {b64encode(value).decode('ascii')}".rstrip(" ") for key, value in values.items())


# Upload-Checksum


def read_checksum(raw: str) -> Checksum:
    """The algorithm is judged first (T86): UnsupportedChecksum before InvalidChecksum. A digest of the wrong length
    passes, since it is a mismatch and no syntax error."""
    algorithm, _, digest = raw.partition(" ")
    if algorithm not in CHECKSUM_ALGORITHMS:
        raise UnsupportedChecksum
    if not digest or not _is_base64(digest):
        raise InvalidChecksum
    return Checksum(algorithm, b64decode(digest))


# Upload-Concat


def is_final(raw: str) -> bool:
    return raw.startswith("final")


def read_final(raw: str, base_path: str, most: int) -> tuple[str, ...]:
    """The ids in `final;URL URL …`, in the order of the list, perhaps repeated (T102, T106); one space may follow the
    semicolon. Anything else, no URL or more than `most` of them is InvalidConcat."""
    if not raw.startswith("final;"):
        raise InvalidConcat
    urls = raw[6:].removeprefix(" ").split(" ")
    if len(urls) > most:
        raise InvalidConcat(f"Upload-Concat lists {len(urls)} uploads; this server joins at most {most}.")
    return tuple(_listed_id(url, base_path, number) for number, url in enumerate(urls, 1))


def _listed_id(url: str, base_path: str, number: int) -> str:
    id = upload_id(url, base_path)
    if id is None:
        raise InvalidConcat(f"URL {number} of Upload-Concat is not the URL of an upload of this server.")
    return id


def upload_id(url: str, base_path: str) -> str | None:
    """The id in an upload's URL, absolute or path-only, or None (T114, P31, P32).

    The host is ignored and so is a path prefix, which a proxy may have put before ours: the path has to *end* with
    base path and id. Nothing is decoded and nothing of the URL but the id is ever used.
    """
    if _UNSAFE.search(url) is not None:
        return None
    host = _HOST.match(url)
    path = url[host.end() :] if host else url
    id = path[path.rfind("/") + 1 :]
    return id if path.startswith("/") and path.endswith(base_path + id) and is_id(id) else None


# Dates


def http_date(when: float) -> str:
    """IMF-fixdate of seconds since the epoch, whole seconds, English whatever the locale (T80, P35)."""
    return _http_date(int(when))


@lru_cache(maxsize=1024)  # many replies of one second carry the same date
def _http_date(when: int) -> str:
    date = datetime.fromtimestamp(when, UTC)
    return f"{_DAYS[date.weekday()]}, {date.day:02} {_MONTHS[date.month - 1]} {date:%Y %H:%M:%S} GMT"


def read_http_date(text: str) -> int | None:
    """Seconds since the epoch; None for what is no date."""
    match = next((match for form in _DATES if (match := form.fullmatch(text))), None)
    if match is None or match["month"] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match[part]) for part in ("day", "year", "hour", "minute", "second"))
    if len(match["year"]) == 2:
        year += 2000 if year < 70 else 1900
    month = _MONTHS.index(match["month"]) + 1
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:
        return None
