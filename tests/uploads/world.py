"""The service over a storage, records and locks, with a clock in the test's hand and failures on demand."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tests.storage.bodies import Script, Step
from tusd_py.database import Database, Statement
from tusd_py.errors import TusError
from tusd_py.hooks.events import Event, Listener, Listeners
from tusd_py.instruments import Silent
from tusd_py.locks.host import HostLocks
from tusd_py.locks.memory import MemoryLocks
from tusd_py.protocol.commands import Append, Checksum, Concatenate, Create, Inspect, Terminate
from tusd_py.protocol.limits import CHECKSUM_ALGORITHMS, Limits
from tusd_py.records.base import Records
from tusd_py.records.memory import MemoryRecords
from tusd_py.records.sqlite import SqliteRecords
from tusd_py.stamps import Stamps
from tusd_py.storage.base import Body, Extent, Keep, Storage
from tusd_py.storage.body import Chunks, LoopGuard
from tusd_py.storage.local import Durability, LocalStorage
from tusd_py.storage.memory import MemoryStorage
from tusd_py.threads import Pool
from tusd_py.upload import State, Upload
from tusd_py.uploads.backing import Backing
from tusd_py.uploads.digests import new_digest
from tusd_py.uploads.expiry import Retention, Sweep
from tusd_py.uploads.finish import FIRST_RETRY
from tusd_py.uploads.service import Progress, Uploads

KINDS = ("memory", "disk")
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
    "checksum",
    "concatenation",
    "expiration",
)
LIMITS = Limits(EXTENSIONS, expire_after=1000.0)
UNFINISHED = replace(LIMITS, extensions=(*EXTENSIONS, "concatenation-unfinished"))
PATIENCE = 10.0  # seconds; no test waits for it


class Trouble:
    """What is going to fail: for each method the errors of its next calls, None where one works."""

    def __init__(self) -> None:
        self._coming: dict[str, deque[TusError | None]] = {}
        self.calls: Counter[str] = Counter()

    def with_(self, method: str, *errors: TusError | None) -> None:
        self._coming.setdefault(method, deque()).extend(errors)

    def meet(self, method: str) -> None:
        self.calls[method] += 1
        coming = self._coming.get(method)
        if coming and (error := coming.popleft()) is not None:
            raise error


class TroubledStorage(MemoryStorage):
    """The storage in memory, failing on demand."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.trouble = Trouble()
        self.finishing = asyncio.Event()  # set once a finish has begun, which then waits
        self.gate = asyncio.Event()  # until this is set
        self.gate.set()

    async def create(self, upload: Upload, *, bytes_follow: bool = False) -> Upload:
        self.trouble.meet("create")
        return await super().create(upload, bytes_follow=bytes_follow)

    async def extent(self, upload: Upload) -> Extent:
        self.trouble.meet("extent")
        return await super().extent(upload)

    async def append(self, upload: Upload, at: int, body: Body, keep: Keep) -> int:
        self.trouble.meet("append")
        return await super().append(upload, at, body, keep)

    async def finish(self, upload: Upload) -> None:
        self.trouble.meet("finish")
        self.finishing.set()
        await self.gate.wait()
        await super().finish(upload)

    async def join(self, upload: Upload, parts: Sequence[Upload]) -> int:
        self.trouble.meet("join")
        return await super().join(upload, parts)

    async def delete(self, upload: Upload) -> None:
        self.trouble.meet("delete")
        await super().delete(upload)


class TroubledRecords(MemoryRecords):
    """The records in memory, failing on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble = Trouble()

    async def create(self, upload: Upload, also: Sequence[Statement] = ()) -> None:
        self.trouble.meet("create")
        await super().create(upload, also)

    async def finish(self, upload: Upload, also: Sequence[Statement] = ()) -> None:
        self.trouble.meet("finish")
        await super().finish(upload, also)

    async def remove(self, id: str, also: Sequence[Statement] = ()) -> bool:
        self.trouble.meet("remove")
        return await super().remove(id, also)

    async def scan(self, state: State) -> AsyncIterator[Upload]:
        self.trouble.meet("scan")
        async for upload in super().scan(state):
            yield upload


@dataclass
class Clock:
    """Seconds since the epoch, as the test says."""

    now: float = field(default_factory=lambda: float(int(time.time())))

    def __call__(self) -> float:
        return self.now


class Counting(Silent):
    """Counts what failed in the background."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()

    def background_failed(self, what: str) -> None:
        self.failures[what] += 1

    def listener_failed(self) -> None:
        self.failures["listener"] += 1


class World:
    """The service with everything around it. `begin` starts a new life of the process."""

    def __init__(self, storage: Storage, records: Records, pool: Pool, clock: Clock, limits: Limits) -> None:
        self.clock = clock
        self.limits = limits
        self.pool = pool
        self.events: list[Event] = []
        self.instruments = Counting()
        self.also_listening: Listener = lambda _: None
        self.begin(storage, records)

    def begin(self, storage: Storage, records: Records, locks: MemoryLocks | HostLocks | None = None) -> None:
        self.storage, self.records, self.locks = storage, records, locks or MemoryLocks()
        self.started = self.clock()
        listeners = Listeners(self.instruments, self._hear, self.events.append)
        self.backing = Backing(storage, records, self.locks, listeners, self.instruments, self.clock, PATIENCE)
        self.uploads = self.make_uploads(self.backing)
        self.sweep = self.make_sweep()

    def _hear(self, event: Event) -> None:
        self.also_listening(event)

    def make_uploads(self, backing: Backing) -> Uploads:
        return Uploads(backing, self.limits, in_memory=partial(Chunks, pool=self.pool, guard=LoopGuard()))

    def make_sweep(self, retention: Retention | None = None) -> Sweep:
        return Sweep(
            self.backing,
            self.uploads.finisher,
            limits=lambda: self.uploads.limits,
            retention=lambda: retention or Retention(),
            started=self.started,
        )

    # What clients do

    def body(self, *steps: Step, announced: int | None = None) -> Script:
        return Script(self.pool, *steps, announced=announced)

    async def create(
        self, length: int | None = None, data: bytes = b"", *, partial: bool = False, checksum: Checksum | None = None
    ) -> str:
        command = Create(length, None, partial, "partial" if partial else None, checksum, len(data))
        return (await self.uploads.create(command, self.body(data, announced=len(data)))).upload.id

    async def append(
        self, id: str, offset: int, data: bytes, *, length: int | None = None, checksum: Checksum | None = None
    ) -> int:
        return await self.send(id, offset, self.body(data, announced=len(data)), len(data), length, checksum)

    async def send(
        self,
        id: str,
        offset: int,
        body: Body,
        announced: int | None,
        length: int | None = None,
        checksum: Checksum | None = None,
    ) -> int:
        return (await self.uploads.append(Append(id, offset, length, checksum, announced), body)).offset

    async def inspect(self, id: str) -> Progress:
        return await self.uploads.inspect(Inspect(id))

    async def offset(self, id: str) -> int:
        return (await self.inspect(id)).offset

    async def terminate(self, id: str) -> None:
        await self.uploads.terminate(Terminate(id))

    async def concatenate(self, *partials: str) -> Progress:
        return await self.uploads.concatenate(Concatenate(partials, None, "final;" + " ".join(partials)))

    async def content(self, id: str) -> bytes:
        """The bytes that count, whatever state it is in."""
        upload = await self.records.load(id)
        assert upload is not None
        offset = (await self.storage.extent(upload)).offset
        return b"".join([bytes(piece) async for piece in self.storage.read(upload, 0, offset)])

    # What a test waits for

    def told(self, kind: type, id: str | None = None) -> list[str]:
        """The ids of which an event of this kind was told."""
        return [event.upload.id for event in self.events if type(event) is kind and id in (None, event.upload.id)]

    async def settle(self) -> None:
        """Until every finish in the background has come to its end."""
        async with asyncio.timeout(PATIENCE + FIRST_RETRY):
            while tasks := [task for task in asyncio.all_tasks() if task.get_name().startswith("finish ")]:
                await asyncio.wait(tasks)

    def has_come_to_rest(self) -> bool:
        return self.locks.count() == 0 and len(self.uploads.writers) == 0


def digest_of(data: bytes, algorithm: str = CHECKSUM_ALGORITHMS[0]) -> Checksum:
    digest = new_digest(algorithm)
    digest.update(data)
    return Checksum(algorithm, digest.digest())


@asynccontextmanager
async def opened(kind: str, folder: Path, limits: Limits = LIMITS) -> AsyncIterator[World]:
    """A world of this kind; at its end nobody holds a lock or writes."""
    clock, pool = Clock(), Pool("bytes", 2)
    if kind == "memory":
        world = World(TroubledStorage(clock), TroubledRecords(), pool, clock, limits)
    else:
        world = DiskWorld(folder, pool, clock, limits, await Database.open(folder / "tusd.db", Silent()))
    try:
        yield world
        assert world.has_come_to_rest()
    finally:
        await end(world)
        pool.close()


async def end(world: World) -> None:
    await world.uploads.finisher.close()
    await world.storage.close()
    await world.records.close()
    if isinstance(world, DiskWorld):
        world.syncs.close()
        await world.database.close()


async def restart(world: World) -> None:
    """The process ends cleanly and another one begins on what is there."""
    if isinstance(world, DiskWorld):
        await end(world)
        await world.open_again()
    else:
        await world.uploads.finisher.close()
        world.begin(world.storage, world.records)
    await world.uploads.finisher.resume()
    await world.settle()


class DiskWorld(World):
    """On files and SQLite. The kernel's clock is real, so `touch` gives files the time of the test's clock."""

    stamps: Stamps | None = None

    def __init__(self, folder: Path, pool: Pool, clock: Clock, limits: Limits, database: Database) -> None:
        self.folder = folder
        self.database = database
        self.syncs = Pool("sync", 2)
        super().__init__(self._storage(pool), SqliteRecords(database), pool, clock, limits)

    async def open_again(self) -> None:
        self.database = await Database.open(self.folder / "tusd.db", Silent())
        self.syncs = Pool("sync", 2)
        self.begin(self._storage(self.pool), SqliteRecords(self.database))

    def path(self, id: str) -> Path:
        return self.folder / "uploads" / id

    def touch(self, id: str) -> None:
        if self.path(id).exists():
            os.utime(self.path(id), (self.clock(), self.clock()))

    def _storage(self, pool: Pool) -> LocalStorage:
        return LocalStorage(
            self.folder,
            durability=Durability.FINISH,
            byte_pool=pool,
            sync_pool=self.syncs,
            instruments=Silent(),
            boot="this-life",
            stamps=self.stamps,
        )
