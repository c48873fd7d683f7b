"""Whether a command may happen: `screen` is what needs no lock, `room` is what does. The first hit of T44 answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tusd_py.errors import (
    IncompleteUpload,
    InvalidConcat,
    InvalidUploadLength,
    MaxSizeExceeded,
    MismatchedOffset,
    ModifyFinal,
    UnsupportedVersion,
    UploadExpired,
    UploadExpiredNotFound,
    UploadFailed,
    UploadFinishing,
    UploadNotFinished,
    UploadNotFound,
    UploadSizeExceeded,
)
from tusd_py.protocol.commands import Append, Create, Download, Faulty, Inspect, OnUpload
from tusd_py.protocol.fields import LARGEST
from tusd_py.protocol.limits import Limits
from tusd_py.upload import FINAL, FINISHED, RECEIVING, Kind, State, Upload


class Room(NamedTuple):
    """What an append may do."""

    bytes: int | None  # how many may still be stored; None: without a limit
    length: int | None  # declared by this request and to be recorded before its bytes (T65); None: nothing to record


def screen(command: OnUpload, record: Upload | None, touched: float, now: float, limits: Limits) -> Upload:
    """Everything that can be refused without the lock, so that nobody is disturbed for it (law 5); returns the record.

    `touched` is when the upload was last written to, on which sliding expiry hangs (T82); whoever finishes an upload
    passes `now`, since expiry never touches a finish. Times are seconds since the epoch.
    """
    if type(command) is Faulty and command.first:
        raise command.fault
    upload = _living(record, touched, now, limits)
    kind = type(command)
    if kind is Inspect:
        return upload
    if isinstance(command, Append):
        _screen_append(command, upload, limits)
    elif isinstance(command, Faulty):
        _screen_faulty(command, upload)
    elif kind is Download and upload.state is not FINISHED:
        raise IncompleteUpload  # U7
    return upload


def _living(record: Upload | None, touched: float, now: float, limits: Limits) -> Upload:
    """The record of an upload that a request can still do something with: not unknown, expired or failed."""
    if record is None:
        raise UploadNotFound  # T16, T27, T98
    state = record.state
    if state is RECEIVING:
        expires = expires_at(record, touched, limits)
        if expires is None or now < expires:
            return record
    elif state is FINISHED:
        return record
    elif state is State.FAILED:
        raise UploadFailed
    raise UploadExpiredNotFound if limits.expired_status == 404 else UploadExpired  # T81


def _screen_faulty(command: Faulty, upload: Upload) -> None:
    if command.method == "PATCH" and upload.kind is FINAL and not isinstance(command.fault, UnsupportedVersion):
        raise ModifyFinal  # T108
    raise command.fault


def _screen_append(command: Append, upload: Upload, limits: Limits) -> None:
    """A body that is too long is left to `room`: the wrong offset is told first, since a client can mend it (409),
    while 413 ends the upload."""
    if upload.kind is FINAL:
        raise ModifyFinal  # T108, T120
    _declared(command, upload, limits)


def _declared(command: Append, upload: Upload, limits: Limits) -> int | None:
    """The length that this request declares first; None if it declares none or repeats the known one (T65, T66)."""
    length = command.length
    if length is None or length == upload.length:
        return None
    if upload.length is not None:
        raise InvalidUploadLength("The length of this upload is known and cannot change.")  # T66, T67
    if length < command.offset:
        raise InvalidUploadLength("Upload-Length is smaller than Upload-Offset.")  # T68
    if length > (LARGEST if limits.max_size is None else limits.max_size):
        raise MaxSizeExceeded  # T68
    return length


def _check_body(body: int, length: int | None, most: int | None) -> None:
    if most is not None and body > most:
        raise MaxSizeExceeded if length is None else UploadSizeExceeded  # T31, T32


def foresee(command: Append, upload: Upload, offset: int, limits: Limits) -> None:
    """Refuses an append that has no hope, before the writer at `offset` is disturbed for it (law 5): below what is
    stored already, or with more bytes than fit from its own offset on."""
    room(command, upload, max(command.offset, offset), limits)


def room(command: Append, upload: Upload, offset: int, limits: Limits) -> Room:
    """Under the lock, with the true offset: how much this request may store. A complete upload has room for 0 (T34)."""
    if command.offset != offset:
        raise MismatchedOffset(offset=offset)  # T24, T25
    declared = _declared(command, upload, limits)
    length = upload.length if declared is None else declared
    end = limits.max_size if length is None else length
    left = None if end is None else max(end - offset, 0)
    _check_body(command.body or 0, length, left)
    return Room(left, declared)


def creation_room(command: Create, limits: Limits) -> int | None:
    """How many bytes a creation may store; None: without a limit (T71, T76)."""
    return limits.max_size if command.length is None else command.length


def concatenated(parts: Sequence[tuple[Upload | None, int]], limits: Limits) -> int | None:
    """The length of a final upload made of these uploads and their stored bytes; None while one has no length (T111).

    Raises InvalidConcat, UploadNotFinished, UploadFinishing (the last byte is there, the client need only wait) or
    MaxSizeExceeded (T113).
    """
    total, known = 0, True
    for number, (partial, stored) in enumerate(parts, 1):
        length = _partial_length(number, partial, stored, limits)
        total += stored if length is None else length
        known = known and length is not None
    if total > (LARGEST if limits.max_size is None else limits.max_size):
        raise MaxSizeExceeded
    return total if known else None


def _partial_length(number: int, partial: Upload | None, stored: int, limits: Limits) -> int | None:
    if partial is None or partial.state not in (RECEIVING, FINISHED):
        raise InvalidConcat(f"URL {number} of Upload-Concat names no upload that exists.")
    if partial.kind is not Kind.PARTIAL:
        raise InvalidConcat(f"URL {number} of Upload-Concat names an upload that is not a partial one.")
    if partial.state is RECEIVING and "concatenation-unfinished" not in limits.extensions:
        raise UploadFinishing if stored == partial.length else UploadNotFinished
    return partial.length


def expires_at(upload: Upload, touched: float, limits: Limits) -> float | None:
    """When an unfinished upload will be gone unless it is written to (T78, T79), in seconds since the epoch."""
    if limits.expire_after is None or upload.state is not RECEIVING:
        return None
    return max(upload.created, touched) + limits.expire_after
