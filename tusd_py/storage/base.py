"""Storage and Body: the interface between those who receive bytes and those who keep them, and its laws.

Storage never sees HTTP; HTTP sees descriptors, never paths (law 3). The kept bytes decide the offset (law 1).
Every method may be cancelled and leaves nothing half done that `extent` could take for bytes (law 10).

Errors: disk full while appending is an Ending, not an exception; elsewhere errors.StorageFull. Lost or damaged bytes
are errors.UploadFailed; everything else that the back end cannot do at present is errors.Unavailable (law 7).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable

from tusd_py.upload import Upload


class Ending(Enum):
    """Why a body ended before its end (law 2)."""

    DROPPED = "dropped"  # the client went away
    IDLE = "idle"  # no bytes for too long, or too few a second
    REPLACED = "replaced"  # a newer request wants the upload (law 5)
    STOPPING = "stopping"  # the server is going down
    STOPPED = "stopped"  # a hook or an operator stopped the upload
    TOO_LONG = "too long"  # more bytes than there is room for
    FULL = "full"  # the disk is full


class Digest(Protocol):
    """What hashlib and our crc32 have in common."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class Body(Protocol):
    """The bytes a client is sending. They end cleanly; `ended_by` says why they ended early, if they did, and is fixed
    when the input ends."""

    @property
    def ended_by(self) -> Ending | None: ...

    @property
    def moved(self) -> int:
        """Bytes given to the storage so far."""

    @property
    def at_hand(self) -> bool:
        """Whether all of it has arrived already, so that it will not make anybody wait."""

    @property
    def silent_since(self) -> float | None:
        """Since when (time.monotonic) the client has sent nothing; None while bytes come."""

    def at_most(self, room: int | None) -> Body:
        """The same body, limited: one byte more than `room` ends it with TOO_LONG."""

    def hashed(self, digest: Digest) -> Body:
        """The same body, hashed into `digest` in the same thread hop as the write."""

    def let_go(self, why: Ending) -> None:
        """End it now. What arrived is kept; after the last byte this does nothing (law 5)."""

    def __aiter__(self) -> AsyncIterator[memoryview]: ...

    async def pour(self, fd: int, at: int) -> int:
        """Write it into an open file from offset `at` on; returns the bytes moved. ENOSPC and EDQUOT become FULL, other
        disk errors are raised as OSError."""


class Keep(Protocol):
    """Commits a new handle of an upload."""

    async def __call__(self, handle: str, /, still: Callable[[], bool] = lambda: True) -> None:
        """Once the request that it was given to is over, another, perhaps in another process, may have the upload: then
        UploadLocked, or the lock is taken, and nothing is committed unless `still` says that nothing has happened."""


class Extent(NamedTuple):
    """How far an upload is: bytes kept, and when it was last written to (seconds since the epoch), on which sliding
    expiry hangs."""

    offset: int
    touched: float


class Storage(Protocol):
    """Six small methods that make a back end; more is a capability (see below).

    The caller holds the upload's lock during create, append, finish and delete; extent and read need none.
    """

    async def create(self, upload: Upload, *, bytes_follow: bool = False) -> Upload:
        """Make a place for a new upload; returns it with its handle. An id that exists is an error, never overwritten.

        `bytes_follow` is a hint: append or delete of this upload comes next, in the same request.
        """

    async def extent(self, upload: Upload) -> Extent:
        """The truth about an unfinished upload's offset; what it says, an append accepts."""

    def glance(self, upload: Upload) -> Extent | None:
        """What `extent` says, at once; None if it would have to wait."""

    async def append(self, upload: Upload, at: int, body: Body, keep: Keep) -> int:
        """Keep the bytes of `body` from offset `at` on, which the caller has from `extent`; returns the new offset."""

    async def finish(self, upload: Upload) -> None:
        """Make all bytes durable, and those beyond the length, which never counted, go away. Idempotent; an error may
        be followed by another try."""

    def read(self, upload: Upload, start: int, stop: int) -> AsyncGenerator[memoryview, None]:
        """The bytes of a finished upload in [start, stop)."""

    async def delete(self, upload: Upload) -> None:
        """Free everything. Deleting what is gone is no error; an error is raised only while bytes are still there."""

    def strays(self, before: float) -> AsyncIterator[str]:
        """Ids whose bytes were last written before `before`, whether a record names them or not: ask the records."""

    async def close(self) -> None:
        """Sync what is unfinished and let go of everything (law 1a)."""


class Attempt(Protocol):
    def keep(self) -> None:
        """The chunk is verified: let its bytes count."""


@runtime_checkable
class Rewindable(Protocol):
    """Can take bytes back: what checksums need (law 1b, T84)."""

    def tentative(self, upload: Upload, at: int) -> AbstractAsyncContextManager[Attempt]:
        """Until the attempt is kept, bytes from `at` on do not count, whatever dies meanwhile; left without keep(), it
        rewinds."""


@runtime_checkable
class Openable(Protocol):
    """Has a file descriptor to offer, for os.sendfile."""

    def open(self, upload: Upload) -> int:
        """A descriptor for reading, which the caller closes."""


@runtime_checkable
class Joinable(Protocol):
    """Can concatenate without moving bytes through Python (T103)."""

    async def join(self, upload: Upload, parts: Sequence[Upload]) -> int:
        """Append the bytes of `parts` in their order to the new, empty `upload`; returns its size. Each time it starts
        from byte 0."""


@runtime_checkable
class Measurable(Protocol):
    """Knows how much room it has."""

    def free(self) -> int:
        """Bytes that may still be stored."""

    def capacity(self) -> int:
        """Bytes that could be stored if there were nothing else: what is larger will never fit."""
