"""What a client can ask for: a request becomes exactly one of these frozen values.

Ids are already validated by the edge; numbers are parsed, everything else is as the client sent it.
`body` is what is known of the request's body before it is read: its bytes if Content-Length announced them,
None for a body of unknown length (chunked); 0 means that there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

from tusd_py.errors import TusError


@dataclass(frozen=True, slots=True)
class Checksum:
    """Upload-Checksum: the algorithm by its tus name and the digest that the client computed (T86)."""

    algorithm: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Describe:
    """OPTIONS: what can this server do? (T37)"""


@dataclass(frozen=True, slots=True)
class Create:
    """POST to the creation URL: a regular or a partial upload (T50, T101), perhaps with its first bytes (T71)."""

    length: int | None  # None: deferred (T62)
    metadata: str | None
    partial: bool
    concat: str | None
    checksum: Checksum | None
    body: int | None


@dataclass(frozen=True, slots=True)
class Concatenate:
    """POST with Upload-Concat: final (T102); `partials` are ids in the order of the list."""

    partials: tuple[str, ...]
    metadata: str | None
    concat: str


@dataclass(frozen=True, slots=True)
class Inspect:
    """HEAD: how far is this upload? (T14)"""

    id: str


@dataclass(frozen=True, slots=True)
class Append:
    """PATCH: add the body at `offset` (T21); `length` declares a deferred length (T65)."""

    id: str
    offset: int
    length: int | None
    checksum: Checksum | None
    body: int | None


@dataclass(frozen=True, slots=True)
class Terminate:
    """DELETE: free this upload (T96)."""

    id: str


@dataclass(frozen=True, slots=True)
class Download:
    """GET: the bytes of a finished upload."""

    id: str


@dataclass(frozen=True, slots=True)
class Faulty:
    """A request on an upload URL whose headers are wrong. It is a command too, because what is wrong with the upload
    is told first: an unknown id is 404 even without Tus-Resumable (T44, U5)."""

    id: str
    method: str
    fault: TusError
    first: bool = False  # an unsupported Tus-Resumable is told before the id is even looked up (U4)


OnUpload = Inspect | Append | Terminate | Download | Faulty
Command = Describe | Create | Concatenate | OnUpload
