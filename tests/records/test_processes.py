"""Records of several processes over one database: none of them remembers what another has changed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.records.test_sqlite import DEEDS, IDS, LateRead, do
from tusd_py.database import Database, Landed, Result, Statement
from tusd_py.errors import Unavailable
from tusd_py.instruments import Silent
from tusd_py.records.sqlite import SqliteRecords
from tusd_py.stamps import Stamps
from tusd_py.upload import State, Upload, new_id


@dataclass
class Process:
    """What one process has of its own."""

    database: Database
    stamps: Stamps
    records: SqliteRecords


@asynccontextmanager
async def opened(folder: Path, cache_size: int = 10_000) -> AsyncIterator[Process]:
    database, stamps = await Database.open(folder / "test.db", Silent()), Stamps(folder / "stamps")
    yield Process(database, stamps, SqliteRecords(database, cache_size, stamps))
    await database.close()
    stamps.close()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Process]:
    async with opened(tmp_path) as process:
        yield process


@pytest.fixture
async def there(tmp_path: Path, here: Process) -> AsyncIterator[Process]:
    async with opened(tmp_path) as process:
        yield process


async def test_seen_elsewhere(here: Process, there: Process) -> None:
    """What one process changes, another that knew the upload sees as soon as the change is acknowledged."""
    upload = Upload(new_id(), None, 1.0)
    await here.records.create(upload)
    assert await there.records.load(upload.id) == upload
    await there.records.declare_length(upload.id, 9)
    assert await here.records.load(upload.id) == upload.evolve(length=9)
    await here.records.keep(upload.id, "handle")
    known = upload.evolve(length=9, handle="handle")
    assert await there.records.load(upload.id) == known
    await there.records.finish(known.finished(5.0))
    assert await here.records.load(upload.id) == known.finished(5.0)
    assert await here.records.remove(upload.id)
    assert await there.records.load(upload.id) is None


async def test_remembered(tmp_path: Path) -> None:
    """What this process created, and what it read, it knows without the database, while nobody changes it."""
    created, read = Upload(new_id(), 1, 1.0), Upload(new_id(), 1, 1.0)
    async with opened(tmp_path) as other, opened(tmp_path) as process:
        await other.records.create(read)
        await process.records.create(created)
        assert await process.records.load(read.id) == read
        await process.database.close()
        assert await process.records.load(created.id) == created
        assert await process.records.load(read.id) == read
        await other.records.end(read.id, State.EXPIRED, 5.0)
        with pytest.raises(Unavailable):
            await process.records.load(read.id)


async def test_bounded(tmp_path: Path) -> None:
    """The cache forgets the oldest."""
    uploads = [Upload(new_id(), 1, 1.0) for _ in range(3)]
    async with opened(tmp_path, cache_size=2) as process:
        for upload in uploads:
            await process.records.create(upload)
        await process.database.close()
        assert await process.records.load(uploads[2].id) == uploads[2]
        with pytest.raises(Unavailable):
            await process.records.load(uploads[0].id)


async def test_read_overtaken_by_another(here: Process, there: Process) -> None:
    """A read that another process's change overtook is not remembered."""
    upload = Upload(new_id(), 1, 1.0)
    await here.records.create(upload)
    late = LateRead(there.database)
    records = SqliteRecords(late, stamps=there.stamps)
    read = asyncio.create_task(records.load(upload.id))
    await late.answered.wait()
    await here.records.keep(upload.id, "new")
    late.let_through.set()
    assert await read == upload
    assert await records.load(upload.id) == upload.evolve(handle="new")


class Dies(Database):
    """A database whose process dies when a commit is done, before anybody hears of it."""

    def __init__(self, database: Database) -> None:
        self.real = database

    async def commit(self, statements: object, landed: Landed | None = None) -> list[Result]:
        assert isinstance(statements, list)
        return await self.real.commit(statements)


async def test_death_between_commit_and_stamp(here: Process, there: Process) -> None:
    """A change whose author died before it could say so is seen by all once the parent has noticed the death."""
    upload = Upload(new_id(), 1, 1.0)
    await here.records.create(upload)
    dying = SqliteRecords(Dies(there.database), stamps=there.stamps)
    await dying.keep(upload.id, "new")
    assert await here.records.load(upload.id) == upload.evolve(handle="new")  # not remembered since before the change
    await dying.keep(upload.id, "newer")
    here.stamps.change_all()
    assert await here.records.load(upload.id) == upload.evolve(handle="newer")


async def test_foreign_commit_between(here: Process, there: Process) -> None:
    """What a commit gives back is not remembered: another process may have changed it since."""
    upload = Upload(new_id(), 1, 1.0)
    await here.records.create(upload)
    await here.records.keep(upload.id, "mine")
    await there.database.commit([Statement("UPDATE uploads SET handle = 'theirs' WHERE id = ?", (upload.id,))])
    assert await here.records.load(upload.id) == upload.evolve(handle="theirs")


Deed = tuple[str, str, int, bool]
ROUNDS = st.lists(
    st.lists(st.tuples(st.sampled_from(DEEDS), st.sampled_from(IDS), st.integers(1, 9), st.booleans()), max_size=6),
    max_size=4,
)


@settings(max_examples=25, deadline=None)
@given(ROUNDS)
def test_any_order(rounds: list[list[Deed]]) -> None:
    """Whatever two processes do at once to the same uploads, once it is acknowledged both know what the file says."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder), rounds))


async def _play(folder: Path, rounds: list[list[Deed]]) -> None:
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(opened(folder)) for _ in range(2)]
        judge = SqliteRecords(processes[0].database, cache_size=0)
        for deeds in rounds:
            await asyncio.gather(*(do(processes[deed[3]].records, deed) for deed in deeds))
            for id in IDS:
                truth = await judge.load(id)
                for process in processes:
                    assert await process.records.load(id) == truth
                    assert await process.records.load(id) == truth
