"""The parts below HTTP in one life of the machine: real files, real records, and a boot id that one can choose.

A machine that crashes takes back what was not synced and keeps what it likes of the rest. Starting the parts again on
the same folder with another boot id is that crash as the code sees it; what became of the files is for the test to say.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tusd_py.database import Database
from tusd_py.hooks.events import Listeners
from tusd_py.instruments import Silent
from tusd_py.locks.memory import MemoryLocks
from tusd_py.protocol.commands import Append, Checksum, Create, Download, Inspect
from tusd_py.protocol.limits import Limits
from tusd_py.records.sqlite import SqliteRecords
from tusd_py.storage.base import Ending
from tusd_py.storage.body import Chunks, LoopGuard, Stream
from tusd_py.storage.durability import Handle
from tusd_py.storage.local import Durability, LocalStorage
from tusd_py.threads import Pool
from tusd_py.uploads.backing import Backing
from tusd_py.uploads.service import Uploads

EVERYTHING = ("creation", "creation-with-upload", "creation-defer-length", "checksum", "termination", "concatenation")


class Fed(Stream):
    """A body that arrives as the test feeds it, until `finish`."""

    def __init__(self, pool: Pool, guard: LoopGuard) -> None:
        super().__init__(pool, guard)
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self._over = False

    def feed(self, piece: bytes) -> None:
        self._pieces.put_nowait(piece)

    def finish(self) -> None:
        self._over = True
        self._pieces.put_nowait(b"")

    async def _arrive(self) -> bytes:
        piece = await self._pieces.get()
        if not piece and not self._over:
            self._end(self._wanted or Ending.DROPPED)
        return piece

    def _complete(self) -> bool:
        return self._over and self._pieces.qsize() <= 1

    def _wake(self) -> None:
        self._pieces.put_nowait(b"")


@dataclass
class Life:
    """The service and what it stands on, between a start and an end. Offsets and lengths are bytes."""

    folder: Path
    storage: LocalStorage
    records: SqliteRecords
    uploads: Uploads
    pool: Pool

    async def create(self, length: int | None, data: bytes = b"") -> str:
        """A new upload with its first bytes; returns its id."""
        command = Create(length, None, partial=False, concat=None, checksum=None, body=len(data))
        return (await self.uploads.create(command, self.body(data))).upload.id

    async def append(
        self, id: str, at: int, data: bytes, digest: bytes | None = None, length: int | None = None
    ) -> int:
        """One PATCH, with the sha1 of its bytes if there is a `digest`; returns the offset that is acknowledged."""
        checksum = None if digest is None else Checksum("sha1", digest)
        command = Append(id, at, length, checksum, len(data))
        return (await self.uploads.append(command, self.body(data))).offset

    def begin(self, id: str, at: int, announced: int, digest: bytes | None = None) -> tuple[Fed, asyncio.Task[int]]:
        """A PATCH whose body the test feeds."""
        fed = Fed(self.pool, self.storage.guard)
        checksum = None if digest is None else Checksum("sha1", digest)

        async def patch() -> int:
            return (await self.uploads.append(Append(id, at, None, checksum, announced), fed)).offset

        return fed, asyncio.create_task(patch())

    async def offset(self, id: str) -> int:
        """What HEAD says."""
        return (await self.uploads.inspect(Inspect(id))).offset

    async def content(self, id: str) -> bytes:
        """What GET gives."""
        upload = await self.uploads.download(Download(id))
        assert upload.length is not None
        return b"".join([bytes(piece) async for piece in self.uploads.read(upload, 0, upload.length)])

    async def synced(self, id: str) -> int:
        """How much the record says is on the disk itself."""
        upload = await self.records.load(id)
        assert upload is not None
        return Handle.parse(upload.handle).synced

    def file(self, id: str) -> Path:
        return self.folder / "uploads" / id

    def body(self, data: bytes) -> Chunks:
        return Chunks([data], self.pool, self.storage.guard)


def sha1(data: bytes) -> bytes:
    return hashlib.sha1(data).digest()


@asynccontextmanager
async def life(
    folder: Path, boot: str, *, crash: bool = False, durability: Durability = Durability.FINISH
) -> AsyncIterator[Life]:
    """The parts, from their start to a clean stop, or to a `crash` after which they do nothing more."""
    database = await Database.open(folder / "tusd.db", Silent())
    pool, syncs = Pool("bytes", 2), Pool("sync", 2)
    storage = LocalStorage(
        folder, durability=durability, byte_pool=pool, sync_pool=syncs, instruments=Silent(), boot=boot
    )
    records = SqliteRecords(database)
    in_memory = functools.partial(Chunks, pool=pool, guard=storage.guard)
    backing = Backing(storage, records, MemoryLocks(), Listeners(Silent()), Silent())
    uploads = Uploads(backing, Limits(EVERYTHING), in_memory=in_memory)
    try:
        yield Life(folder, storage, records, uploads, pool)
    finally:
        await (_fall_silent() if crash else _stop(uploads, storage))
        await database.close()
        pool.close()
        syncs.close()


async def _stop(uploads: Uploads, storage: LocalStorage) -> None:
    uploads.stop()
    await uploads.finisher.close()
    await storage.close()


async def _fall_silent() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)
