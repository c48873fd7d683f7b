"""An outcome becomes a Reply: status, header fields and a short body. CORS, Date, Server, Content-Length and the
connection's own fields are added where replies are sent."""

from __future__ import annotations

import json
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from tusd_py.errors import (
    Busy,
    Dropped,
    MethodNotAllowed,
    RangeNotSatisfiable,
    ReadTimeout,
    ServerStopping,
    StorageFull,
    TemporarilyLocked,
    TusError,
    UnsupportedVersion,
    UploadInterrupted,
    UploadStopped,
)
from tusd_py.protocol.fields import http_date
from tusd_py.protocol.limits import CHECKSUM_ALGORITHMS, Limits
from tusd_py.protocol.tus import VERSION
from tusd_py.upload import FINAL, RECEIVING, Upload


class Reply(NamedTuple):
    """What goes back to the client: `lines` are header lines as they are sent, each with its end; `close` ends the
    connection after it. What stands in them was checked when it came: no value can hold the end of a line."""

    status: int
    lines: str
    body: bytes = b""
    close: bool = False

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The lines as names and values."""
        return [(name, value) for name, _, value in (line.partition(": ") for line in self.lines.splitlines())]


# On every reply (T6); what tells of an upload's state must never come from a cache (T18, P5).
ALWAYS = f"Tus-Resumable: {VERSION}\r\nX-Content-Type-Options: nosniff\r\n"
_FRESH = f"{ALWAYS}Cache-Control: no-store\r\n"
_TERMINATED = Reply(204, ALWAYS)
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {460: "Checksum Mismatch"}
_ENDINGS = (Busy, Dropped, ReadTimeout, ServerStopping, StorageFull, UploadInterrupted, UploadStopped)  # law 2


@lru_cache(maxsize=8)
def described(limits: Limits) -> Reply:
    """The answer to OPTIONS: 200 and exactly that (T37), with what this server can do (T7, T10, T11, T83)."""
    lines = f"{ALWAYS}Tus-Version: {VERSION}\r\n"
    if limits.extensions:
        lines += f"Tus-Extension: {','.join(limits.extensions)}\r\n"
    if limits.max_size is not None:
        lines += f"Tus-Max-Size: {limits.max_size}\r\n"
    if "checksum" in limits.extensions:
        lines += f"Tus-Checksum-Algorithm: {','.join(CHECKSUM_ALGORITHMS)}\r\n"
    return Reply(200, lines)


def created(location: str, offset: int | None, expires: float | None) -> Reply:
    """201 with Location (T52) and the bytes stored, 0 included (T73, T74); None only for a final upload that is not
    concatenated yet (T110)."""
    return Reply(201, f"{ALWAYS}Location: {location}\r\n{_offset(offset)}{_expires(expires)}")


def appended(offset: int, expires: float | None) -> Reply:
    """204 with the new offset (T26), and when the upload is going to expire (T79)."""
    return Reply(204, f"{ALWAYS}Upload-Offset: {offset}\r\n{_expires(expires)}")


def inspected(upload: Upload, offset: int | None, expires: float | None, limits: Limits) -> Reply:
    """200 with offset and length (T14, T15, T17) or Upload-Defer-Length (T64), and what the client sent, as it sent it
    (T58, T112). An unfinished final upload shows its offset only under concatenation-unfinished (T110, T119)."""
    _, length, _, metadata, kind, concat, _, _, state, *_ = upload
    if kind is FINAL and state is RECEIVING and "concatenation-unfinished" not in limits.extensions:
        offset = None
    told = "Upload-Defer-Length: 1\r\n" if length is None else f"Upload-Length: {length}\r\n"
    if metadata is not None:
        told += f"Upload-Metadata: {metadata}\r\n"
    if concat is not None:
        told += f"Upload-Concat: {concat}\r\n"
    return Reply(200, f"{_FRESH}{_offset(offset)}{told}{_expires(expires)}")


def terminated() -> Reply:
    """204 and exactly that (T96)."""
    return _TERMINATED


def failed(error: TusError, head: bool, problem: bool) -> Reply:
    """The answer to a request that failed: `CODE: sentence` as text or as problem details (RFC 9457); none for HEAD."""
    lines = _FRESH + _offset(error.offset)
    if error.location is not None:
        lines += f"Location: {error.location}\r\n"
    if error.retry_after is not None:
        lines += f"Retry-After: {error.retry_after}\r\n"
    if isinstance(error, MethodNotAllowed):
        lines += f"Allow: {error.allow}\r\n"
    if isinstance(error, RangeNotSatisfiable):
        lines += f"Content-Range: bytes */{error.size}\r\n"
    if isinstance(error, UnsupportedVersion):
        lines += f"Tus-Version: {VERSION}\r\n"  # T8
    body = b""
    if not head:
        media_type, body = _problem(error) if problem else _text(error)
        lines += f"Content-Type: {media_type}\r\n"
    return Reply(error.status, lines, body, isinstance(error, _ENDINGS))


def head_failure(error: TusError) -> TusError:
    """What HEAD says instead: a 5xx would make clients forget the upload and start again from byte 0 (C3)."""
    return TemporarilyLocked() if error.status >= 500 else error


def _offset(offset: int | None) -> str:
    return "" if offset is None else f"Upload-Offset: {offset}\r\n"


def _expires(expires: float | None) -> str:
    return "" if expires is None else f"Upload-Expires: {http_date(expires)}\r\n"


def _text(error: TusError) -> tuple[str, bytes]:
    return "text/plain; charset=utf-8", f"{error.code}: {error}\n".encode("utf-8", "replace")


def _problem(error: TusError) -> tuple[str, bytes]:
    details = {
        "type": "about:blank",
        "title": _PHRASES.get(error.status, "Error"),
        "status": error.status,
        "code": error.code,
        "detail": str(error),
    }
    return "application/problem+json", json.dumps(details).encode()
