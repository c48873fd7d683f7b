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
    UploadInterrupted,
    UploadStopped,
)
from tusd_py.protocol.fields import http_date
from tusd_py.protocol.limits import CHECKSUM_ALGORITHMS, Limits
from tusd_py.protocol.tus import VERSION
from tusd_py.upload import Kind, State, Upload

Headers = tuple[tuple[str, str], ...]


class Reply(NamedTuple):
    """What goes back to the client; `close` ends the connection after it."""

    status: int
    headers: Headers
    body: bytes = b""
    close: bool = False


# On every reply (T6); what tells of an upload's state must never come from a cache (T18, P5).
_ALWAYS: Headers = (("Tus-Resumable", VERSION), ("X-Content-Type-Options", "nosniff"))
_FRESH: Headers = (*_ALWAYS, ("Cache-Control", "no-store"))
_DEFERRED = ("Upload-Defer-Length", "1")
_ZERO: Headers = (("Upload-Offset", "0"),)
_TERMINATED = Reply(204, _ALWAYS)
_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {460: "Checksum Mismatch"}
_ENDINGS = (Busy, Dropped, ReadTimeout, ServerStopping, StorageFull, UploadInterrupted, UploadStopped)  # law 2


@lru_cache(maxsize=8)
def described(limits: Limits) -> Reply:
    """The answer to OPTIONS: 200 and exactly that (T37), with what this server can do (T7, T10, T11, T83)."""
    headers = [*_ALWAYS, ("Tus-Version", VERSION)]
    if limits.extensions:
        headers.append(("Tus-Extension", ",".join(limits.extensions)))
    if limits.max_size is not None:
        headers.append(("Tus-Max-Size", str(limits.max_size)))
    if "checksum" in limits.extensions:
        headers.append(("Tus-Checksum-Algorithm", ",".join(CHECKSUM_ALGORITHMS)))
    return Reply(200, tuple(headers))


def created(location: str, offset: int | None, expires: float | None) -> Reply:
    """201 with Location (T52) and the bytes stored, 0 included (T73, T74); None only for a final upload that is not
    concatenated yet (T110)."""
    return Reply(201, (*_ALWAYS, ("Location", location), *_offset(offset), *_expires(expires)))


def appended(offset: int, expires: float | None) -> Reply:
    """204 with the new offset (T26), and when the upload is going to expire (T79)."""
    return Reply(204, (*_ALWAYS, ("Upload-Offset", str(offset)), *_expires(expires)))


def inspected(upload: Upload, offset: int | None, expires: float | None, limits: Limits) -> Reply:
    """200 with offset and length (T14, T15, T17) or Upload-Defer-Length (T64), and what the client sent, as it sent it
    (T58, T112). An unfinished final upload shows its offset only under concatenation-unfinished (T110, T119)."""
    joining = upload.kind is Kind.FINAL and upload.state is State.RECEIVING
    if joining and "concatenation-unfinished" not in limits.extensions:
        offset = None
    headers = list(_FRESH)
    if offset is not None:
        headers.append(("Upload-Offset", str(offset)))
    headers.append(_DEFERRED if upload.length is None else ("Upload-Length", str(upload.length)))
    if upload.metadata is not None:
        headers.append(("Upload-Metadata", upload.metadata))
    if upload.concat is not None:
        headers.append(("Upload-Concat", upload.concat))
    if expires is not None:
        headers.append(("Upload-Expires", http_date(expires)))
    return Reply(200, tuple(headers))


def terminated() -> Reply:
    """204 and exactly that (T96)."""
    return _TERMINATED


def failed(error: TusError, head: bool, problem: bool) -> Reply:
    """The answer to a request that failed: `CODE: sentence` as text or as problem details (RFC 9457); none for HEAD."""
    headers = [*_FRESH, *_offset(error.offset)]
    if error.location is not None:
        headers.append(("Location", error.location))
    if error.retry_after is not None:
        headers.append(("Retry-After", str(error.retry_after)))
    if isinstance(error, MethodNotAllowed):
        headers.append(("Allow", error.allow))
    if isinstance(error, RangeNotSatisfiable):
        headers.append(("Content-Range", f"bytes */{error.size}"))
    if error.status == 412:
        headers.append(("Tus-Version", VERSION))  # T8
    body = b""
    if not head:
        media_type, body = _problem(error) if problem else _text(error)
        headers.append(("Content-Type", media_type))
    return Reply(error.status, tuple(headers), body, isinstance(error, _ENDINGS))


def head_failure(error: TusError) -> TusError:
    """What HEAD says instead: a 5xx would make clients forget the upload and start again from byte 0 (C3)."""
    return TemporarilyLocked() if error.status >= 500 else error


def _offset(offset: int | None) -> Headers:
    if offset is None:
        return ()
    return (("Upload-Offset", str(offset)),) if offset else _ZERO


def _expires(expires: float | None) -> Headers:
    return () if expires is None else (("Upload-Expires", http_date(expires)),)


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
