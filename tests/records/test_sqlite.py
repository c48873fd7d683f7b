"""The cache of the SQLite records, and what is committed along with them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tusd_py.database import Conflict, Database, Landed, Result, Statement
from tusd_py.errors import Unavailable, UploadNotFound
from tusd_py.instruments import Silent
from tusd_py.records.base import Records
from tusd_py.records.memory import MemoryRecords
from tusd_py.records.sqlite import SqliteRecords
from tusd_py.upload import State, Upload, new_id

NOTE = Statement("INSERT INTO notes VALUES ('written')")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path / "test.db", Silent())
    await database.commit([Statement("CREATE TABLE notes (text TEXT UNIQUE)")])
    yield database
    await database.close()


async def notes(database: Database) -> int:
    return len(await database.read(Statement("SELECT * FROM notes")))


async def test_also(database: Database) -> None:
    """What comes along with a change is committed with it."""
    records, upload = SqliteRecords(database), Upload(new_id(), 1, 1.0)
    await records.create(upload)
    await records.finish(upload.evolve(state=State.FINISHED, ended=2.0), [NOTE])
    assert await notes(database) == 1


async def test_also_not(database: Database) -> None:
    """What comes along with the finish of a record that is gone is not committed."""
    with pytest.raises(UploadNotFound):
        await SqliteRecords(database).finish(Upload(new_id(), 1, 1.0), [NOTE])
    assert await notes(database) == 0


async def test_also_fails(database: Database) -> None:
    """A change whose companion fails has not happened, in the database or in the cache."""
    records, upload = SqliteRecords(database), Upload(new_id(), 1, 1.0)
    await records.create(upload, [NOTE])
    with pytest.raises(Conflict):
        await records.finish(upload.evolve(state=State.FINISHED, ended=2.0), [NOTE])
    assert await records.load(upload.id) == upload
    assert await SqliteRecords(database).load(upload.id) == upload


async def test_hit_reads_nothing(tmp_path: Path) -> None:
    """A cached upload is known without the database; one that is not, is not."""
    database = await Database.open(tmp_path / "test.db", Silent())
    records = SqliteRecords(database, cache_size=1)
    old, new = Upload(new_id(), 1, 1.0), Upload(new_id(), 1, 2.0)
    await records.create(old)
    await records.create(new)
    await database.close()
    assert await records.load(new.id) == new
    with pytest.raises(Unavailable):
        await records.load(old.id)


class LateRead(Database):
    """A database of which one answer is a long time on its way."""

    def __init__(self, database: Database) -> None:
        self.real = database
        self.answered = asyncio.Event()
        self.let_through = asyncio.Event()

    async def read(self, statement: Statement) -> list[tuple[Any, ...]]:
        rows = await self.real.read(statement)
        self.answered.set()
        await self.let_through.wait()
        return rows

    async def commit(self, statements: Sequence[Statement], landed: Landed | None = None) -> list[Result]:
        return await self.real.commit(statements, landed)


@pytest.mark.parametrize("change", ["keep", "remove"])
async def test_read_overtaken(database: Database, change: str) -> None:
    """A read that a change overtook does not leave the old value in the cache."""
    upload = Upload(new_id(), 1, 1.0)
    await SqliteRecords(database).create(upload)
    late = LateRead(database)
    records = SqliteRecords(late)
    read = asyncio.create_task(records.load(upload.id))
    await late.answered.wait()
    await (records.keep(upload.id, "new") if change == "keep" else records.remove(upload.id))
    late.let_through.set()
    await read
    assert await records.load(upload.id) == await SqliteRecords(database).load(upload.id)


async def test_cancelled_change(database: Database) -> None:
    """A change whose caller was cancelled is in the cache once it is in the database."""
    records, upload = SqliteRecords(database), Upload(new_id(), 1, 1.0)
    await records.create(upload)
    change = asyncio.create_task(records.keep(upload.id, "new"))
    await asyncio.sleep(0)
    change.cancel()
    with pytest.raises(asyncio.CancelledError):
        await change
    assert await records.load(upload.id) == upload.evolve(handle="new")
    assert await SqliteRecords(database).load(upload.id) == upload.evolve(handle="new")


IDS = [new_id() for _ in range(3)]
DEEDS = ("create", "load", "load", "declare_length", "keep", "finish", "end", "remove")
Deed = tuple[str, str, int, bool]  # what, to which upload, a value, whether its caller is cancelled
ROUNDS = st.lists(
    st.lists(st.tuples(st.sampled_from(DEEDS), st.sampled_from(IDS), st.integers(1, 9), st.booleans()), max_size=9),
    max_size=6,
)


async def do(records: Records, deed: Deed) -> object:
    what, id, value, _ = deed
    try:
        match what:
            case "create":
                return await records.create(Upload(id, None, float(value)))
            case "load":
                return await records.load(id)
            case "declare_length":
                return await records.declare_length(id, value)
            case "keep":
                return await records.keep(id, str(value))
            case "finish":
                return await records.finish(Upload(id, value, 0.0, state=State.FINISHED, ended=9.0, handle=str(value)))
            case "end":
                return await records.end(id, State.EXPIRED, float(value))
            case _:
                return await records.remove(id)
    except (Unavailable, UploadNotFound) as error:
        return error.status


@settings(max_examples=60, deadline=None)
@given(ROUNDS, st.integers(0, 3))
def test_like_its_twin(rounds: list[list[Deed]], cache_size: int) -> None:
    """Whatever happens at once to the same uploads, cache and rows are what the twin in memory makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder), rounds, cache_size))


async def _play(folder: Path, rounds: list[list[Deed]], cache_size: int) -> None:
    database = await Database.open(folder / "test.db", Silent())
    try:
        records, twin = SqliteRecords(database, cache_size), MemoryRecords()
        for deeds in rounds:
            results = await _at_once(records, deeds)
            expected = [await do(twin, deed) for deed in deeds]
            assert [result for deed, result in zip(deeds, results, strict=True) if _tells(deed)] == [
                result for deed, result in zip(deeds, expected, strict=True) if _tells(deed)
            ]
            for id in IDS:
                assert await records.load(id) == await twin.load(id)
                assert await SqliteRecords(database).load(id) == await twin.load(id)
    finally:
        await database.close()


def _tells(deed: Deed) -> bool:
    """A load may see what happens beside it or not, and a caller that was cancelled hears nothing."""
    what, _, _, cancelled = deed
    return what != "load" and not cancelled


async def _at_once(records: Records, deeds: Sequence[Deed]) -> list[object]:
    tasks = [asyncio.create_task(do(records, deed)) for deed in deeds]
    await asyncio.sleep(0)  # all have begun
    for task, (*_, cancelled) in zip(tasks, deeds, strict=True):
        if cancelled:
            task.cancel()
    return list(await asyncio.gather(*tasks, return_exceptions=True))
