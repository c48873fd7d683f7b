"""A storage at work, and what its caller remembers for it: the handles."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.storage.bodies import Script, Step
from tusd_py.instruments import Silent
from tusd_py.stamps import Stamps
from tusd_py.storage.base import Body, Joinable, Keep, Rewindable, Storage
from tusd_py.storage.local import Durability, LocalStorage
from tusd_py.storage.memory import MemoryStorage
from tusd_py.threads import Pool
from tusd_py.upload import State, Upload, new_id

KINDS = ("memory", *(durability.value for durability in Durability))
BOOT = "first-life"


def descriptors() -> dict[int, str]:
    """The open descriptors of this process and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # that of the listing itself
    return found


class Desk:
    """Works with a storage as the service does: each upload's handle is kept, and offsets come from `extent`."""

    def __init__(self, storage: Storage, pool: Pool, kind: str) -> None:
        self.kind = kind
        self.storage = storage
        self.pool = pool
        self.kept: list[tuple[str, str]] = []
        self._uploads: dict[str, Upload] = {}

    def __getitem__(self, id: str) -> Upload:
        return self._uploads[id]

    @property
    def rewindable(self) -> Rewindable:
        assert isinstance(self.storage, Rewindable)
        return self.storage

    @property
    def joinable(self) -> Joinable:
        assert isinstance(self.storage, Joinable)
        return self.storage

    def body(self, *steps: Step, announced: int | None = None) -> Script:
        return Script(self.pool, *steps, announced=announced)

    async def create(self, length: int | None = None, data: bytes = b"", *, bytes_follow: bool = False) -> str:
        upload = await self.storage.create(Upload(new_id(), length, 0.0), bytes_follow=bytes_follow)
        self._uploads[upload.id] = upload
        if data or bytes_follow:
            await self.append(upload.id, self.body(data), 0)
        return upload.id

    async def append(self, id: str, body: Body, at: int | None = None) -> int:
        at = await self.offset(id) if at is None else at
        return await self.storage.append(self[id], at, body, self._keeper(id))

    async def add(self, id: str, *pieces: bytes) -> int:
        return await self.append(id, self.body(*pieces))

    async def finish(self, id: str) -> None:
        offset = await self.offset(id)
        self.told(id, offset)
        await self.storage.finish(self[id])
        self._uploads[id] = self[id].evolve(state=State.FINISHED, ended=1.0)

    async def finished(self, data: bytes) -> str:
        id = await self.create(len(data), data)
        await self.finish(id)
        return id

    async def offset(self, id: str) -> int:
        return (await self.storage.extent(self[id])).offset

    async def read(self, id: str, start: int = 0, stop: int | None = None) -> bytes:
        upload = self[id]
        end = (upload.length or 0) if stop is None else stop
        return b"".join([bytes(piece) async for piece in self.storage.read(upload, start, end)])

    async def content(self, id: str) -> bytes:
        return await self.read(id, 0, await self.offset(id))

    async def strays(self, before: float) -> set[str]:
        return {id async for id in self.storage.strays(before)}

    def told(self, id: str, length: int | None) -> None:
        """The length becomes known."""
        self._uploads[id] = self[id].evolve(length=length)

    def inherit(self, other: Desk) -> None:
        """Go on with what another desk remembers."""
        self._uploads = dict(other._uploads)

    def _keeper(self, id: str) -> Keep:
        async def keep(handle: str, /, still: Callable[[], bool] = lambda: True) -> None:
            if not still():
                return
            self.kept.append((id, handle))
            self._uploads[id] = self[id].evolve(handle=handle)

        return keep


@asynccontextmanager
async def opened(kind: str, folder: Path, boot: str = BOOT, stamps: Stamps | None = None) -> AsyncIterator[Desk]:
    """A storage of this kind, closed at the end, which must leave no descriptor open."""
    before = descriptors()
    byte_pool, sync_pool = Pool("bytes", 2), Pool("sync", 2)
    storage: Storage = MemoryStorage()
    if kind != "memory":
        storage = LocalStorage(
            folder,
            durability=Durability(kind),
            byte_pool=byte_pool,
            sync_pool=sync_pool,
            instruments=Silent(),
            boot=boot,
            stamps=stamps,
        )
    try:
        yield Desk(storage, byte_pool, kind)
    finally:
        await storage.close()
        byte_pool.close()
        sync_pool.close()
    assert descriptors() == before


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, which is soon full. Needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
