"""Bytes into the storage, verified if the client sent a checksum (T84, law 1b)."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence

from tusd_py.errors import ChecksumMismatch, StorageFull, UploadLocked
from tusd_py.protocol.commands import Checksum
from tusd_py.storage.base import Body, Digest, Ending, Rewindable, Storage
from tusd_py.upload import Upload
from tusd_py.uploads.backing import Backing
from tusd_py.uploads.digests import new_digest
from tusd_py.uploads.writers import Writers

VERIFY_IN_MEMORY = 1 << 20  # 1 MiB: a chunk up to this is verified before a byte of it is stored

InMemory = Callable[[Sequence[bytes]], Body]


class Keeper:
    """Commits new storage handles of an upload; before its record is there, remembers the last one for it.

    While the body is received, its request holds the lock. What was synced later is committed under the lock too, if
    nobody else has it: a request in another process could have recorded more by then.
    """

    __slots__ = ("_backing", "_id", "handle", "over", "recorded")

    def __init__(self, backing: Backing, upload: Upload, *, recorded: bool) -> None:
        self._backing = backing
        self._id = upload.id
        self.handle = upload.handle
        self.recorded = recorded
        self.over = False

    async def __call__(self, handle: str, /, still: Callable[[], bool] = lambda: True) -> None:
        if self.over and self.recorded:
            await self._keep_later(handle, still)
            return
        self.handle = handle
        if self.recorded:
            await self._backing.records.keep(self._id, handle)

    async def _keep_later(self, handle: str, still: Callable[[], bool]) -> None:
        if self._backing.locks.is_held(self._id):
            raise UploadLocked
        async with self._backing.undisturbed(self._id, patience=0.0):
            if still():
                await self._backing.records.keep(self._id, handle)


class Receiver:
    """Receives bodies. `in_memory` makes a Body of bytes that are there already."""

    def __init__(self, storage: Storage, writers: Writers, in_memory: InMemory) -> None:
        self._storage = storage
        self._writers = writers
        self._in_memory = in_memory
        self.stopping = False

    async def receive(
        self, upload: Upload, at: int, body: Body, checksum: Checksum | None, announced: int | None, keep: Keeper
    ) -> int:
        """Keep what arrives; returns the new offset. A chunk that is cut off or does not match moves nothing."""
        self._writers.begin(upload.id, body)
        try:
            if self.stopping:
                body.let_go(Ending.STOPPING)
            if checksum is None:
                return await self._storage.append(upload, at, body, keep)
            if announced is not None and announced <= VERIFY_IN_MEMORY:
                return await self._verify_in_memory(upload, at, body, checksum, keep)
            return await self._verify_in_place(upload, at, body, checksum, keep)
        finally:
            keep.over = True
            self._writers.end(upload.id)

    async def _verify_in_memory(self, upload: Upload, at: int, body: Body, checksum: Checksum, keep: Keeper) -> int:
        digest = new_digest(checksum.algorithm)
        pieces = [bytes(piece) async for piece in body.hashed(digest)]
        if body.ended_by is not None:
            return at
        _insist(digest, checksum)
        verified = self._in_memory(pieces)
        offset = await self._storage.append(upload, at, verified, keep)
        if verified.ended_by is Ending.FULL:
            raise StorageFull
        return offset

    async def _verify_in_place(self, upload: Upload, at: int, body: Body, checksum: Checksum, keep: Keeper) -> int:
        assert isinstance(self._storage, Rewindable)
        digest = new_digest(checksum.algorithm)
        async with self._storage.tentative(upload, at) as attempt:
            offset = await self._storage.append(upload, at, body.hashed(digest), keep)
            if body.ended_by is not None:
                return at
            _insist(digest, checksum)
            attempt.keep()
        return offset


def _insist(digest: Digest, checksum: Checksum) -> None:
    if not hmac.compare_digest(digest.digest(), checksum.digest):
        raise ChecksumMismatch
