"""Values that the tests of the protocol start from, and the shortest way to put a request or an upload into words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from multidict import CIMultiDict

from tusd_py.protocol import tus
from tusd_py.protocol.commands import Append, Command
from tusd_py.protocol.limits import Limits
from tusd_py.upload import Upload

ID = "A" * 22
OTHER_ID = "b-_9" * 5 + "zz"
CREATED = 1_000_000_000.0
CHUNK = "application/offset+octet-stream"
LIMITS = Limits(
    extensions=(
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "expiration",
        "checksum",
        "termination",
        "concatenation",
    )
)
UNFINISHED_TOO = replace(LIMITS, extensions=(*LIMITS.extensions, "concatenation-unfinished"))
UPLOAD = Upload(ID, 100, CREATED)
DEFERRED = Upload(ID, None, CREATED)


def without(extension: str) -> Limits:
    """A server with this one extension switched off."""
    return replace(LIMITS, extensions=tuple(name for name in LIMITS.extensions if name != extension))


def tus_headers(**fields: str | None) -> list[tuple[str, str]]:
    """Header fields by keyword, `upload_length="5"`, with Tus-Resumable unless it is given; None leaves a field out."""
    named = {"tus_resumable": "1.0.0", **fields}
    return [(name.replace("_", "-").title(), value) for name, value in named.items() if value is not None]


def parse(method: str, id: str | None, headers: Iterable[tuple[str, str]], limits: Limits) -> Command:
    """What a request with these fields is parsed to."""
    return tus.parse(method, id, CIMultiDict(headers), limits)


def post(limits: Limits = LIMITS, /, **fields: str | None) -> Command:
    """What a POST to the creation URL is parsed to."""
    return parse("POST", None, tus_headers(**fields), limits)


def patch(limits: Limits = LIMITS, /, **fields: str | None) -> Command:
    """What a PATCH at offset 0 is parsed to, unless a field says otherwise."""
    return parse("PATCH", ID, tus_headers(**{"upload_offset": "0", "content_type": CHUNK, **fields}), limits)


def append(offset: int = 0, body: int | None = None, length: int | None = None) -> Append:
    """A PATCH, already parsed; its body is chunked unless its bytes are given."""
    return Append(ID, offset, length, None, body)
