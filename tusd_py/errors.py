"""Every failure of the server on one screen: a class each, with its stable code, its HTTP status and one sentence.

The docstring *is* the sentence a client reads, so it says what to do next. Codes that tusd has too are spelt as tusd
spells them; statuses come from the T rules of the tus protocol (docs/protocol.md).

Statuses are chosen for what deployed clients do with them (rules C1-C4): every 4xx but 409 and 423 ends an upload for
good, so whatever passes by itself is 423 or 503, and HEAD answers only 200, 404, 410 or 423.
"""

from __future__ import annotations

from typing import ClassVar


class TusError(Exception):
    """Something went wrong that has no name of its own."""

    code: ClassVar[str] = "ERR_INTERNAL_SERVER_ERROR"
    status: ClassVar[int] = 500
    retry_after: ClassVar[int | None] = None  # seconds; given where waiting helps

    def __init__(self, detail: str | None = None, *, offset: int | None = None) -> None:
        super().__init__(detail or self.sentence())
        self.offset = offset  # sent as Upload-Offset, only where it is the truth (T25, C36)
        self.created: str | None = None  # the id of an upload that exists all the same (tusd hides it: D14)
        self.location: str | None = None  # and its URL, which the edge knows

    @classmethod
    def sentence(cls) -> str:
        return " ".join((cls.__doc__ or "").split())


# The request itself


class UnsupportedVersion(TusError):
    """Send Tus-Resumable: 1.0.0, the only version of the protocol spoken here."""

    code, status = "ERR_UNSUPPORTED_VERSION", 412  # T8, T9


class BadRequest(TusError):
    """The request is not well-formed HTTP; correct it before sending it again."""

    code, status = "ERR_BAD_REQUEST", 400  # A13


class DuplicateHeader(TusError):
    """A header field that may occur once occurs twice; send it once."""

    code, status = "ERR_DUPLICATE_HEADER", 400  # T4


class MethodNotAllowed(TusError):
    """This method is not allowed here; the Allow header lists those that are."""

    code, status = "ERR_METHOD_NOT_ALLOWED", 405

    def __init__(self, detail: str | None = None, *, allow: str = "") -> None:
        super().__init__(detail)
        self.allow = allow


class NotFound(TusError):
    """There is nothing at this path; uploads are created by POST to the upload URL."""

    code, status = "ERR_NOT_FOUND", 404


class OriginNotAllowed(TusError):
    """Pages of this origin may not upload here; add the origin to cors_allow_origins."""

    code, status = "ERR_ORIGIN_NOT_ALLOWED", 403


class Unauthorised(TusError):
    """Send a valid bearer token in the Authorization header."""

    code, status = "ERR_UNAUTHORISED", 401


class ApiClosed(TusError):
    """Without api_tokens in the settings the API answers only on control.sock in the data folder; set some."""

    code, status = "ERR_API_CLOSED", 403


class InvalidParameter(TusError):
    """A query parameter is not valid."""

    code, status = "ERR_INVALID_PARAMETER", 400


# Creation


class InvalidUploadLength(TusError):
    """Upload-Length must be a non-negative integer, does not change once it is known, and is not below the offset."""

    code, status = "ERR_INVALID_UPLOAD_LENGTH", 400  # T2, T50, T66, T68


class AmbiguousUploadLength(TusError):
    """Send either Upload-Length or Upload-Defer-Length: 1, not both."""

    code, status = "ERR_AMBIGUOUS_UPLOAD_LENGTH", 400  # T50


class InvalidDeferLength(TusError):
    """The only valid value of Upload-Defer-Length is 1."""

    code, status = "ERR_INVALID_UPLOAD_LENGTH_DEFER", 400  # T63


class InvalidMetadata(TusError):
    """Upload-Metadata must be a list of 'key base64value' pairs, joined by commas, with unique ASCII keys."""

    code, status = "ERR_INVALID_METADATA", 400  # T56, T57


class MaxSizeExceeded(TusError):
    """The upload is larger than this server accepts; Tus-Max-Size tells how much that is."""

    code, status = "ERR_MAX_SIZE_EXCEEDED", 413  # T32, T53


class NotImplementedHere(TusError):
    """This extension of the protocol is switched off on this server; Tus-Extension lists those that are on."""

    code, status = "ERR_NOT_IMPLEMENTED", 501  # T62, T130


# Concatenation


class ConcatenationUnsupported(TusError):
    """Concatenation is switched off on this server; send the file as one upload."""

    code, status = "ERR_CONCATENATION_UNSUPPORTED", 400  # T130


class InvalidConcat(TusError):
    """Upload-Concat must be 'partial' or 'final;' and the URLs of partial uploads of this server, joined by spaces."""

    code, status = "ERR_INVALID_CONCAT", 400  # T102, T113


class UploadNotFinished(TusError):
    """One of the partial uploads is not finished; finish it and send the same request again."""

    code, status = "ERR_UPLOAD_NOT_FINISHED", 400  # T113


class ModifyFinal(TusError):
    """A final upload is made from its partial uploads and takes no bytes of its own."""

    code, status = "ERR_MODIFY_FINAL", 403  # T108, T120


# Appending


class InvalidContentType(TusError):
    """Label the bytes with Content-Type: application/offset+octet-stream."""

    code, status = "ERR_INVALID_CONTENT_TYPE", 415  # T22, T72


class InvalidOffset(TusError):
    """Upload-Offset must be a non-negative integer."""

    code, status = "ERR_INVALID_OFFSET", 400  # T23


class MismatchedOffset(TusError):
    """Upload-Offset differs from the bytes stored; go on from the Upload-Offset of this response."""

    code, status = "ERR_MISMATCHED_OFFSET", 409  # T24, T25


class UploadSizeExceeded(TusError):
    """The body is longer than what is left of the upload; send no more than Upload-Length minus Upload-Offset."""

    code, status = "ERR_UPLOAD_SIZE_EXCEEDED", 413  # T31, T75


class InvalidChecksum(TusError):
    """Upload-Checksum must be an algorithm, one space and the Base64 form of the digest."""

    code, status = "ERR_INVALID_CHECKSUM", 400  # T86


class UnsupportedChecksum(TusError):
    """This checksum algorithm is not supported; Tus-Checksum-Algorithm lists those that are."""

    code, status = "ERR_UNSUPPORTED_CHECKSUM", 400  # T84


class ChecksumMismatch(TusError):
    """The bytes that arrived do not have the checksum announced; nothing of them was kept, send them again."""

    code, status = "ERR_CHECKSUM_MISMATCH", 460  # T84, T47


# The upload


class UploadNotFound(TusError):
    """There is no such upload; create a new one."""

    code, status = "ERR_UPLOAD_NOT_FOUND", 404  # T16, T27, T98


class UploadExpired(TusError):
    """The upload has expired and was removed; create a new one."""

    code, status = "ERR_UPLOAD_EXPIRED", 410  # T81


class UploadExpiredNotFound(UploadExpired):
    """The upload has expired and was removed; create a new one."""

    code, status = "ERR_UPLOAD_EXPIRED_NOT_FOUND", 404  # T81 with expired_status = 404, for tus-java-client (C2)


class UploadFailed(TusError):
    """The upload cannot be finished, its bytes are lost or damaged; create a new one."""

    code, status = "ERR_UPLOAD_FAILED", 410  # laws 1a, 7; T121


class IncompleteUpload(TusError):
    """The upload is not finished yet and cannot be downloaded."""

    code, status = "ERR_INCOMPLETE_UPLOAD", 404  # U7


class PreconditionFailed(TusError):
    """The upload is not in the state that the request was meant for."""

    code, status = "ERR_PRECONDITION_FAILED", 412


class RangeNotSatisfiable(TusError):
    """The range asked for lies outside the upload."""

    code, status = "ERR_RANGE_NOT_SATISFIABLE", 416

    def __init__(self, detail: str | None = None, *, size: int = 0) -> None:
        super().__init__(detail)
        self.size = size


# Passing by itself: a client waits and tries again


class UploadLocked(TusError):
    """Another request is at work on this upload; try again in a moment."""

    code, status, retry_after = "ERR_UPLOAD_LOCKED", 423, 1  # T41


class UploadFinishing(TusError):
    """All bytes have arrived and the upload is being finished; ask again in a moment."""

    code, status, retry_after = "ERR_UPLOAD_FINISHING", 423, 1  # P22


class UploadInterrupted(TusError):
    """A newer request took this upload over; what arrived is kept."""

    code, status, retry_after = "ERR_UPLOAD_INTERRUPTED", 423, 1  # T42


class ReadTimeout(TusError):
    """No bytes came for too long; what arrived is kept, ask for the offset and go on."""

    code, status, retry_after = "ERR_READ_TIMEOUT", 423, 1  # T29


class UploadStopped(TusError):
    """The server stopped this upload."""

    code, status = "ERR_UPLOAD_STOPPED", 400


class ServerStopping(TusError):
    """The server is stopping; what arrived is kept, try again in a moment."""

    code, status, retry_after = "ERR_SERVER_SHUTDOWN", 503, 2


class Busy(TusError):
    """Too many connections are open; try again in a moment."""

    code, status, retry_after = "ERR_TOO_MANY_CONNECTIONS", 503, 5


class Unavailable(TusError):
    """The storage or the database cannot be used at present; try again in a moment."""

    code, status, retry_after = "ERR_STORAGE_UNAVAILABLE", 503, 5


class TemporarilyLocked(TusError):
    """The server cannot tell the offset at present; ask again in a moment."""

    code, status, retry_after = "ERR_TRY_AGAIN", 423, 5  # what HEAD says for every 5xx (C3)


class StorageFull(TusError):
    """The disk is full; what fitted is kept, try again once there is room."""

    code, status, retry_after = "ERR_STORAGE_FULL", 507, 60  # P40


# At the edge: a dropped client gets no answer, but the log and the counters name what happened


class Dropped(TusError):
    """The client went away before the end of the body; what arrived is kept."""

    code, status = "ERR_UNEXPECTED_EOF", 400  # T28


# Not of a request: at start-up


class StartError(Exception):
    """The server cannot start; the message says what to do."""


class CommandError(Exception):
    """A command failed on the way; the message says of what."""


class ConfigError(StartError):
    """The configuration is wrong; the message names the key and what is allowed."""
