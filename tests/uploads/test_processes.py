"""Two processes, one folder: whoever a client's requests meet, the upload is the same (laws 4 and 5)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.uploads.world import (
    LIMITS,
    PATIENCE,
    UNFINISHED,
    Clock,
    DiskWorld,
    TroubledStorage,
    World,
    digest_of,
    end,
)
from tusd_py.database import Database
from tusd_py.errors import (
    ChecksumMismatch,
    MismatchedOffset,
    Unavailable,
    UploadFailed,
    UploadInterrupted,
    UploadLocked,
    UploadNotFound,
    UploadSizeExceeded,
)
from tusd_py.hooks.events import UploadFinished, UploadTerminated
from tusd_py.instruments import Silent
from tusd_py.locks.host import HostLocks
from tusd_py.protocol.limits import Limits
from tusd_py.records.base import Records
from tusd_py.records.memory import MemoryRecords
from tusd_py.records.sqlite import SqliteRecords
from tusd_py.stamps import Stamps
from tusd_py.storage.base import Ending, Extent
from tusd_py.threads import Pool
from tusd_py.upload import State, Upload
from tusd_py.uploads.receive import VERIFY_IN_MEMORY, Keeper
from tusd_py.uploads.writers import SILENT


class Process(DiskWorld):
    """One of several."""

    def __init__(self, folder: Path, pool: Pool, clock: Clock, limits: Limits, database: Database) -> None:
        self.stamps = Stamps(folder / "stamps")
        super().__init__(folder, pool, clock, limits, database)
        self.begin(self.storage, SqliteRecords(database, stamps=self.stamps), HostLocks(folder / "locks"))


@asynccontextmanager
async def process(folder: Path, clock: Clock, limits: Limits = LIMITS) -> AsyncIterator[Process]:
    pool = Pool("bytes", 2)
    process = Process(folder, pool, clock, limits, await Database.open(folder / "tusd.db", Silent()))
    try:
        yield process
        assert process.has_come_to_rest()
    finally:
        await end(process)
        pool.close()
        assert isinstance(process.locks, HostLocks)
        process.locks.close()
        assert process.stamps is not None
        process.stamps.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def here(tmp_path: Path, clock: Clock) -> AsyncIterator[Process]:
    async with process(tmp_path, clock, UNFINISHED) as world:
        yield world


@pytest.fixture
async def there(tmp_path: Path, clock: Clock, here: Process) -> AsyncIterator[Process]:
    async with process(tmp_path, clock, UNFINISHED) as world:
        yield world


async def test_anywhere(here: Process, there: Process) -> None:
    """Each request of an upload may meet another process."""
    id = await here.create(11)
    assert await there.offset(id) == 0
    assert await there.append(id, 0, b"hello") == 5
    assert await here.offset(id) == 5
    assert await here.append(id, 5, b" world") == 11
    progress = await there.inspect(id)
    assert (progress.offset, progress.upload.state) == (11, State.FINISHED)
    await there.terminate(id)
    with pytest.raises(UploadNotFound):
        await here.offset(id)


@pytest.mark.rule("T41", "T42")
async def test_newcomer_wins(here: Process, there: Process) -> None:
    """A newcomer ends a stalled writer of another process: what it sent is kept, and the newcomer goes on there."""
    id = await here.create(11)
    stalled = here.body(b"hello", asyncio.Event(), announced=11)
    old = asyncio.create_task(here.send(id, 0, stalled, 11))
    await stalled.waits.wait()
    assert await there.append(id, 5, b" world") == 11
    with pytest.raises(UploadInterrupted):
        await old
    assert await here.content(id) == b"hello world"
    assert here.told(UploadFinished) + there.told(UploadFinished) == [id]


@pytest.mark.rule("T41")
@pytest.mark.parametrize("offset", [0, 4])
async def test_refused_anyway(here: Process, there: Process, offset: int) -> None:
    """An append below what another process has stored disturbs nobody there."""
    id = await here.create(11)
    go = asyncio.Event()
    stalled = here.body(b"hello", go, b" world", announced=11)
    old = asyncio.create_task(here.send(id, 0, stalled, 11))
    await stalled.waits.wait()
    with pytest.raises(MismatchedOffset) as refused:
        await there.append(id, offset, b"h")
    assert refused.value.offset == 5
    go.set()
    assert await old == 11


@pytest.mark.rule("T20")
async def test_inspect_leaves_a_live_writer(here: Process, there: Process) -> None:
    """Beside a live writer of another process HEAD tells what is written, and disturbs nobody."""
    id = await here.create(11)
    go = asyncio.Event()
    body = here.body(b"hello", go, b" world", announced=11)
    body.silent_since = time.monotonic()
    writing = asyncio.create_task(here.send(id, 0, body, 11))
    await body.waits.wait()
    assert await there.offset(id) == 5
    go.set()
    assert await writing == 11


async def test_inspect_ends_a_silent_writer(here: Process, there: Process) -> None:
    """A writer that has been silent for half a second is ended by a HEAD in any process."""
    id = await here.create(11)
    body = here.body(b"hello", asyncio.Event(), announced=11)
    writing = asyncio.create_task(here.send(id, 0, body, 11))
    await body.waits.wait()
    body.silent_since = time.monotonic() - SILENT - 0.01
    assert await there.offset(id) == 5
    with pytest.raises(UploadInterrupted):
        await writing


@pytest.mark.rule("T99")
async def test_terminate_ends_a_writer(here: Process, there: Process) -> None:
    """A termination ends the writer of another process first, and nothing is left."""
    id = await here.create(11)
    body = here.body(b"hello", asyncio.Event(), announced=11)
    writing = asyncio.create_task(here.send(id, 0, body, 11))
    await body.waits.wait()
    await there.terminate(id)
    with pytest.raises(UploadInterrupted):
        await writing
    with pytest.raises(UploadNotFound):
        await here.offset(id)
    assert (here.told(UploadTerminated), there.told(UploadTerminated)) == ([], [id])
    assert [stray async for stray in here.storage.strays(time.time() + 60)] == []


@pytest.mark.rule("T84")
@pytest.mark.parametrize("right", [True, False])
async def test_checksum_elsewhere(here: Process, there: Process, right: bool) -> None:
    """What another process has received of a large checksummed chunk counts once it is verified, never before."""
    chunk = b"x" * (VERIFY_IN_MEMORY + 1)
    id = await here.create(None, b"hello")
    assert await there.offset(id) == 5
    go = asyncio.Event()
    body = here.body(chunk, go, b"y", announced=len(chunk) + 1)
    checksum = digest_of(chunk + b"y" if right else b"other")
    writing = asyncio.create_task(here.send(id, 5, body, len(chunk) + 1, checksum=checksum))
    await body.waits.wait()
    assert here.path(id).stat().st_size == 5 + len(chunk)
    assert await there.offset(id) == 5
    go.set()
    if right:
        assert await writing == 6 + len(chunk)
    else:
        with pytest.raises(ChecksumMismatch):
            await writing
    assert await there.offset(id) == (6 + len(chunk) if right else 5)


async def test_finish_elsewhere(here: Process, there: Process) -> None:
    """Bytes that are complete without a finished record are finished by whoever meets them first, once."""
    id = await here.create(5)
    here.path(id).write_bytes(b"hello")
    progress = await asyncio.gather(*(world.inspect(id) for world in (here, there) * 3))
    assert {(step.offset, step.upload.state) for step in progress} == {(5, State.FINISHED)}
    assert here.told(UploadFinished) + there.told(UploadFinished) == [id]


async def test_waiting_for_a_finish(here: Process, there: Process) -> None:
    """A HEAD that meets a finish in another process waits for it; one whose patience ends is told 423."""
    id = await here.create(5)
    here.path(id).write_bytes(b"hello")
    async with here.backing.undisturbed(id):
        asking = asyncio.create_task(there.inspect(id))
        with pytest.raises(UploadLocked):
            async with there.backing.undisturbed(id, patience=0.02):
                raise AssertionError("two hold it")
        upload = await here.records.load(id)
        assert upload is not None
        assert not asking.done()
        await here.uploads.finisher.run(upload)
    assert (await asking).upload.state is State.FINISHED
    assert there.told(UploadFinished) == []


class TerminatedMeanwhile(TroubledStorage):
    """Whoever looks for the file finds that another process has just terminated the upload."""

    def __init__(self, clock: Clock, records: Records) -> None:
        super().__init__(clock)
        self.records = records

    async def extent(self, upload: Upload) -> Extent:
        await self.records.remove(upload.id)
        raise UploadFailed

    def glance(self, upload: Upload) -> Extent | None:
        return None


@pytest.mark.rule("T98")
async def test_terminated_meanwhile(clock: Clock) -> None:
    """An upload that another process terminates between a look at its record and one at its file is gone, not lost."""
    records, pool = MemoryRecords(), Pool("bytes", 1)
    world = World(TerminatedMeanwhile(clock, records), records, pool, clock, LIMITS)
    id = await world.create(11)
    with pytest.raises(UploadNotFound):
        await world.offset(id)
    pool.close()


@pytest.mark.rule("T107")
async def test_concatenated_in_two_processes(here: Process, there: Process) -> None:
    """The same list, asked for in two processes at once, gives one upload."""
    parts = [await here.create(5, b"hello", partial=True), await there.create(6, b" world", partial=True)]
    finals = await asyncio.gather(*(world.concatenate(*parts) for world in (here, there) * 2))
    assert len({final.upload.id for final in finals}) == 1
    assert await there.content(finals[0].upload.id) == b"hello world"


async def test_final_that_waits(here: Process, there: Process) -> None:
    """A final upload is joined by the process that finishes its last partial."""
    parts = [await here.create(5, partial=True), await here.create(6, partial=True)]
    final = (await here.concatenate(*parts)).upload.id
    await asyncio.gather(here.append(parts[0], 0, b"hello"), there.append(parts[1], 0, b" world"))
    await here.settle()
    await there.settle()
    assert (await here.inspect(final)).upload.state is State.FINISHED
    assert await there.content(final) == b"hello world"


@pytest.mark.rule("T65")
async def test_length_declared_elsewhere(here: Process, there: Process) -> None:
    """A length that another process was told holds here."""
    id = await here.create(None, b"hello")
    assert await there.append(id, 5, b" wo", length=11) == 8
    assert (await here.inspect(id)).upload.length == 11
    assert await here.append(id, 8, b"rld") == 11


async def test_synced_later(here: Process, there: Process) -> None:
    """What is synced after its request is recorded while nobody else has the upload, and refused while somebody has."""
    id = await here.create(None, b"hello")
    upload = await here.records.load(id)
    assert upload is not None
    later = Keeper(here.backing, upload, recorded=True)
    later.over = True
    async with there.backing.undisturbed(id):
        with pytest.raises(UploadLocked):
            await later("this-life/5")
    await later("this-life/4", lambda: False)
    assert await there.records.load(id) == upload
    await later("this-life/5", lambda: True)
    assert await there.records.load(id) == upload.kept_as("this-life/5")


async def test_expiry_leaves_a_writer_elsewhere(here: Process, there: Process, clock: Clock) -> None:
    """The sweep of one process leaves alone what is being written in another."""
    id = await here.create(11)
    body = here.body(b"hello", asyncio.Event(), announced=11)
    writing = asyncio.create_task(here.send(id, 0, body, 11))
    await body.waits.wait()
    there.touch(id)
    clock.now += 5000.0
    await there.sweep.round()
    body.let_go(Ending.STOPPING)
    await asyncio.wait([writing])
    upload = await there.records.load(id)
    assert upload is not None
    assert upload.state is State.RECEIVING


async def test_stormy_takeovers(here: Process, there: Process) -> None:
    """However many come at once in two processes, each offset is written once and the bytes are right."""
    data = bytes(range(200))
    id = await here.create(200)

    async def client(world: Process) -> None:
        while (offset := await world.offset(id)) < 200:
            try:
                await world.append(id, offset, data[offset : offset + 7])
            except (MismatchedOffset, UploadInterrupted, UploadSizeExceeded):
                continue

    async with asyncio.timeout(PATIENCE * 3):
        await asyncio.gather(*(client(world) for world in (here, there) * 3))
    assert await there.content(id) == data
    assert here.told(UploadFinished) + there.told(UploadFinished) == [id]


async def test_locks_that_cannot_be_had(here: Process, there: Process) -> None:
    """A process whose locks are gone refuses; it never goes on without."""
    id = await here.create(11)
    assert isinstance(there.locks, HostLocks)
    ranges = there.locks._ranges
    files, ranges._files = ranges._files, [ranges._slots + 10_000] * len(ranges._files)
    try:
        with pytest.raises(Unavailable):
            await there.append(id, 0, b"hello")
    finally:
        ranges._files = files
    assert await here.offset(id) == 0
