"""A tus 1.0.0 request, without its body, becomes a command.

On an upload URL a fault in the headers is a command too, Faulty, because what is wrong with the upload is told first
(T44). On the creation URL there is no upload yet, so the fault is raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from tusd_py.errors import (
    AmbiguousUploadLength,
    BadRequest,
    ConcatenationUnsupported,
    DuplicateHeader,
    InvalidConcat,
    InvalidContentType,
    InvalidDeferLength,
    InvalidMetadata,
    InvalidOffset,
    InvalidUploadLength,
    MaxSizeExceeded,
    MethodNotAllowed,
    ModifyFinal,
    NotImplementedHere,
    TusError,
    UnsupportedChecksum,
    UnsupportedVersion,
    UploadSizeExceeded,
)
from tusd_py.protocol import fields
from tusd_py.protocol.commands import (
    Append,
    Checksum,
    Command,
    Concatenate,
    Create,
    Describe,
    Download,
    Faulty,
    Inspect,
    Terminate,
)
from tusd_py.protocol.limits import Limits

VERSION = "1.0.0"

_METHODS = frozenset(("OPTIONS", "HEAD", "GET", "POST", "PATCH", "DELETE"))
_LENGTHS = frozenset(("content-length", "transfer-encoding", "upload-length"))
_BODY_FIELDS = _LENGTHS | {"tus-resumable", "content-type", "upload-checksum"}
_APPEND_FIELDS = _BODY_FIELDS | {"upload-offset"}  # an Upload-Concat, as clients repeat it there, is not read (T115)
_CREATION_FIELDS = _BODY_FIELDS | {"upload-defer-length", "upload-metadata", "upload-concat"}
_DESCRIBE = Describe()
_ONE_VERSION = [VERSION]

Fields = dict[str, str]


class Headers(Protocol):
    """Header fields in their order, found by names in any case: what multidict.CIMultiDict is."""

    def items(self) -> Iterable[tuple[str, str]]: ...

    def getall(self, key: str, default: Sequence[str]) -> Sequence[str]: ...


def effective_method(method: str, override: str | None) -> str:
    """The method that counts: X-HTTP-Method-Override if it is there (T12). An unknown one is MethodNotAllowed (T13)."""
    if override is None:
        return method
    override = override.strip().upper()
    if override not in _METHODS:
        raise MethodNotAllowed(allow="POST, HEAD, PATCH, DELETE, GET, OPTIONS")
    return override


def allowed(id: str | None, limits: Limits) -> str:
    """The value of Allow: what can be asked of the creation URL (no id) or of an upload URL."""
    if id is None:
        return "POST, OPTIONS"
    delete = ", DELETE" if "termination" in limits.extensions else ""
    return f"HEAD, PATCH{delete}{', GET' if limits.downloads else ''}, OPTIONS"


def parse(method: str, id: str | None, headers: Headers, limits: Limits) -> Command:
    """What this request asks for. `id` is a valid id, or None on the creation URL.

    Raises MethodNotAllowed on either URL and every other fault on the creation URL only.
    """
    if method == "OPTIONS":
        return _DESCRIBE  # whatever its Tus-Resumable says (T38)
    if id is None:
        if method != "POST":
            raise MethodNotAllowed(allow=allowed(id, limits))
        found, repeated = _gather(headers.items(), _CREATION_FIELDS)
        return _creation(found, repeated, limits)
    if method == "PATCH":
        return _append(id, headers, limits)
    if method == "HEAD":
        return _unless_faulty(method, Inspect(id), headers)
    if method == "DELETE" and "termination" in limits.extensions:
        return _unless_faulty(method, Terminate(id), headers)
    if method == "GET" and limits.downloads:
        return _unless_faulty(method, Download(id), headers)
    raise MethodNotAllowed(allow=allowed(id, limits))


def _gather(headers: Iterable[tuple[str, str]], wanted: frozenset[str]) -> tuple[Fields, str | None]:
    """The fields that matter, by lower-case name, and one of them that occurs twice, if any (T4)."""
    found: Fields = {}
    repeated = None
    for spelling, value in headers:
        name = spelling.lower()
        if name in wanted:
            if name in found and name != "transfer-encoding":
                repeated = name
            else:
                found[name] = value
    return found, repeated


def _unless_faulty(method: str, command: Inspect | Terminate | Download, headers: Headers) -> Command:
    """HEAD, DELETE and GET look at one field only. GET need not have it (T9, U7), but one that is there has to be
    supported (T8, U4)."""
    versions = headers.getall("Tus-Resumable", ())
    if versions == _ONE_VERSION or (not versions and method == "GET"):
        return command
    fault = _version_fault(versions[0] if versions else None) or _repetition("tus-resumable")
    return Faulty(command.id, method, fault, first=bool(versions) and versions[0] != VERSION)


def _append(id: str, headers: Headers, limits: Limits) -> Append | Faulty:
    found, repeated = _gather(headers.items(), _APPEND_FIELDS)
    try:
        return _read_append(id, found, repeated, limits)
    except TusError as fault:
        return Faulty(id, "PATCH", fault, first=found.get("tus-resumable", VERSION) != VERSION)


def _read_append(id: str, found: Fields, repeated: str | None, limits: Limits) -> Append:
    _check_version(found)
    if not fields.labels_chunk(found.get("content-type")):
        raise InvalidContentType  # T22
    _check_unique(repeated)
    offset = fields.whole_number(found.get("upload-offset", ""))
    if offset is None:
        raise InvalidOffset  # T23
    length, body = _length(found), _body(found)
    return Append(id, offset, length, _checksum(found, limits), body)


def _creation(found: Fields, repeated: str | None, limits: Limits) -> Create | Concatenate:
    if found.get("tus-resumable") != VERSION:
        _check_version(found)
    concat = found.get("upload-concat")
    body = _body(found)
    if concat is not None and fields.is_final(concat):
        return _concatenation(found, repeated, limits, concat, body)
    if body != 0 and not fields.labels_chunk(found.get("content-type")):
        raise InvalidContentType  # only if there is a body: clients label empty ones anyhow (T72)
    if repeated is not None:
        raise _repetition(repeated)
    if concat is not None:
        _check_partial(concat, limits)
    length = _length_or_deferred(found, limits)
    metadata = _metadata(found, limits) if "upload-metadata" in found else None
    checksum = _checksum(found, limits) if "upload-checksum" in found else None
    _check_sizes(length, body, limits)
    return Create(length, metadata, concat is not None, concat, checksum, body)


def _concatenation(found: Fields, repeated: str | None, limits: Limits, concat: str, body: int | None) -> Concatenate:
    if "concatenation" not in limits.extensions:
        raise ConcatenationUnsupported  # T130
    if body != 0:
        raise ModifyFinal("A final upload is made from its partial uploads; send this request without a body.")  # T104
    _check_unique(repeated)
    if "upload-length" in found or "upload-defer-length" in found:
        raise InvalidUploadLength("The length of a final upload is that of its parts; send no length with it.")  # T104
    if len(concat) > limits.max_concat:
        raise InvalidConcat(f"Upload-Concat has {len(concat)} characters; at most {limits.max_concat} are taken here.")
    partials = fields.read_final(concat, limits.base_path, limits.max_partials)
    return Concatenate(partials, _metadata(found, limits), concat)


def _version_fault(version: str | None) -> UnsupportedVersion | None:
    if version is None:
        return UnsupportedVersion("Tus-Resumable is missing; send Tus-Resumable: 1.0.0.")  # T9
    return None if version == VERSION else UnsupportedVersion()  # T8


def _repetition(name: str) -> DuplicateHeader:
    return DuplicateHeader(f"The header field {name} occurs twice; send it once.")  # T4


def _check_version(found: Fields) -> None:
    version = found.get("tus-resumable")
    if version != VERSION and (fault := _version_fault(version)) is not None:
        raise fault


def _check_unique(repeated: str | None) -> None:
    if repeated is not None:
        raise _repetition(repeated)


def _check_partial(concat: str, limits: Limits) -> None:
    if "concatenation" not in limits.extensions:
        raise ConcatenationUnsupported  # T130
    if concat != "partial":
        raise InvalidConcat


def _length(found: Fields) -> int | None:
    """Upload-Length if it is there; what is wrong with its size depends on the upload and is judged later."""
    raw = found.get("upload-length")
    if raw is None:
        return None
    length = fields.whole_number(raw)
    if length is None:
        raise InvalidUploadLength("Upload-Length must be a non-negative integer, in digits only.")  # T2
    return length


def _length_or_deferred(found: Fields, limits: Limits) -> int | None:
    length, deferred = _length(found), found.get("upload-defer-length")
    if deferred is None:
        if length is None:
            raise InvalidUploadLength("Send Upload-Length, or Upload-Defer-Length: 1 if it is not known yet.")  # T50
        return length
    if length is not None:
        raise AmbiguousUploadLength  # T50
    if deferred != "1":
        raise InvalidDeferLength  # T63
    if "creation-defer-length" not in limits.extensions:
        raise NotImplementedHere  # T62
    return None


def _metadata(found: Fields, limits: Limits) -> str | None:
    raw = found.get("upload-metadata") or None  # tuspy sends an empty field where it has no metadata
    if raw is not None:
        if len(raw) > limits.max_metadata:
            raise InvalidMetadata(
                f"Upload-Metadata has {len(raw)} characters; at most {limits.max_metadata} are taken."
            )
        fields.check_metadata(raw)
    return raw


def _checksum(found: Fields, limits: Limits) -> Checksum | None:
    raw = found.get("upload-checksum")
    if raw is None:
        return None
    if "checksum" not in limits.extensions:
        raise UnsupportedChecksum("Checksums are switched off on this server; send none.")  # T90, T130
    return fields.read_checksum(raw)


def _body(found: Fields) -> int | None:
    """The bytes of the body as announced; None if it is chunked (T30), 0 if there is none."""
    if "transfer-encoding" in found:
        return None
    raw = found.get("content-length")
    if raw is None:
        return 0
    length = fields.whole_number(raw)
    if length is None:
        raise BadRequest("Content-Length must be a non-negative integer, in digits only.")
    return length


def _check_sizes(length: int | None, body: int | None, limits: Limits) -> None:
    """Refuses a creation that cannot succeed before anything exists (T53, T75)."""
    most = fields.LARGEST if limits.max_size is None else limits.max_size
    announced = body or 0
    if (announced if length is None else length) > most:
        raise MaxSizeExceeded
    if length is not None and announced > length:
        raise UploadSizeExceeded
    if body != 0 and "creation-with-upload" not in limits.extensions:
        raise NotImplementedHere  # T130
