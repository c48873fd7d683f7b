"""What browsers of other origins may send and read (P1-P3)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tusd_py.errors import OriginNotAllowed
from tusd_py.web.cors import ALLOWED, EXPOSED, METHODS, Cors

ORIGIN = "https://app.example"
TUS_FIELDS = {
    "Tus-Resumable",
    "Upload-Offset",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Concat",
    "Upload-Defer-Length",
}


def policy(
    *, enabled: bool = True, origins: tuple[str, ...] = ("*",), credentials: bool = False, extra: tuple[str, ...] = ()
) -> Cors:
    return Cors(enabled=enabled, origins=origins, credentials=credentials, allow=extra, expose=extra, max_age=600.0)


def fields(cors: Cors, origin: str | None, *, preflight: bool = False) -> Mapping[str, str]:
    lines = cors.lines(origin, preflight=preflight)
    assert lines.endswith("\r\n") or not lines
    pairs = [line.split(": ", 1) for line in lines.splitlines()]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)  # type: ignore[arg-type]  # pairs of two


def members(field: str) -> set[str]:
    return {member.strip() for member in field.split(",")}


def test_ordinary_answer() -> None:
    """Every answer to a page lets it read all fields of the protocol."""
    told = fields(policy(), ORIGIN)
    assert told["Access-Control-Allow-Origin"] == "*"
    assert TUS_FIELDS | {"Location", "Upload-Expires", "Retry-After"} <= members(told["Access-Control-Expose-Headers"])
    assert "Access-Control-Allow-Methods" not in told


def test_preflight() -> None:
    """A preflight is told every method and every field that a client may send, and for how long."""
    told = fields(policy(), ORIGIN, preflight=True)
    assert members(told["Access-Control-Allow-Methods"]) == members(METHODS)
    assert TUS_FIELDS | {"Upload-Checksum", "X-HTTP-Method-Override", "Authorization"} <= members(
        told["Access-Control-Allow-Headers"]
    )
    assert told["Access-Control-Max-Age"] == "600"


def test_named_origins() -> None:
    """With a list, a page is told its own origin, one that is not on it is refused, and caches are told either way."""
    cors = policy(origins=(ORIGIN, "https://other.example"))
    assert fields(cors, ORIGIN)["Access-Control-Allow-Origin"] == ORIGIN
    cors.check(ORIGIN)
    for stranger in ("https://evil.example", "null", "", ORIGIN + ".evil.example", ORIGIN.upper()):
        with pytest.raises(OriginNotAllowed):
            cors.check(stranger)
        assert fields(cors, stranger) == {"Vary": "Origin"}
    assert fields(cors, None) == {"Vary": "Origin"}


def test_no_page() -> None:
    """Clients that are no pages are never refused."""
    policy(origins=(ORIGIN,)).check(None)
    assert fields(policy(), None) == {"Vary": "Origin"}


def test_credentials() -> None:
    """Credentials are allowed where the operator says so."""
    cors = policy(origins=(ORIGIN,), credentials=True)
    for preflight in (False, True):
        assert fields(cors, ORIGIN, preflight=preflight)["Access-Control-Allow-Credentials"] == "true"
    assert "Access-Control-Allow-Credentials" not in fields(policy(), ORIGIN)


def test_more_fields() -> None:
    """An operator's own fields join ours."""
    cors = policy(extra=("X-Mine",))
    assert "X-Mine" in members(fields(cors, ORIGIN)["Access-Control-Expose-Headers"])
    assert "X-Mine" in members(fields(cors, ORIGIN, preflight=True)["Access-Control-Allow-Headers"])


def test_switched_off() -> None:
    """Where a proxy does it, nothing is said and nobody is refused."""
    cors = policy(enabled=False, origins=())
    cors.check("https://evil.example")
    assert fields(cors, ORIGIN) == fields(cors, ORIGIN, preflight=True) == {}


def test_lists() -> None:
    """The lists are sorted and name nothing twice."""
    for names in (ALLOWED, EXPOSED):
        assert list(names) == sorted(set(names))
