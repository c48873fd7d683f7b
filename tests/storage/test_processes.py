"""Files that several processes work on: others' floors are obeyed, nobody vouches for what another has changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.storage.damage import path_of
from tests.storage.desk import Desk, opened
from tusd_py.stamps import Stamps
from tusd_py.storage.floors import WITHOUT_KNOWN, SharedFloors
from tusd_py.storage.local import LocalStorage
from tusd_py.upload import new_id


@asynccontextmanager
async def process(folder: Path, kind: str = "finish") -> AsyncIterator[Desk]:
    folder.mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:
        stamps = Stamps(folder / "stamps")
        stack.callback(stamps.close)
        yield await stack.enter_async_context(opened(kind, folder, stamps=stamps))


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Desk]:
    async with process(tmp_path) as desk:
        yield desk


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Desk]:
    async with process(tmp_path) as desk:
        yield desk


def floors_of(desk: Desk) -> SharedFloors:
    assert isinstance(desk.storage, LocalStorage)
    assert isinstance(desk.storage._floors, SharedFloors)
    return desk.storage._floors


@pytest.mark.rule("T84")
@pytest.mark.parametrize("kept", [True, False])
async def test_attempt_elsewhere(here: Desk, there: Desk, kept: bool, tmp_path: Path) -> None:
    """While one process receives a chunk that is not verified, another tells the offset before it; then the truth."""
    id = await here.create(None, b"hello")
    there.inherit(here)
    assert await there.offset(id) == 5
    async with here.rewindable.tentative(here[id], 5) as attempt:
        assert await there.offset(id) == 5
        await here.append(id, here.body(b" world"), 5)
        assert path_of(tmp_path, id).stat().st_size == 11
        assert await there.offset(id) == 5
        if kept:
            attempt.keep()
    for desk in (here, there):
        assert await desk.offset(id) == (11 if kept else 5)


@pytest.mark.rule("T84")
async def test_killed_in_an_attempt(here: Desk, there: Desk, tmp_path: Path) -> None:
    """What a process that was killed left unverified does not count for one that runs on, which lifts the floor."""
    id = await here.create(None, b"hello")
    there.inherit(here)
    assert await there.offset(id) == 5
    floors_of(here).lay(id, 5)
    with path_of(tmp_path, id).open("ab") as file:
        file.write(b" wurl")
    assert await there.offset(id) == 5
    assert await there.add(id, b" world") == 11
    assert await there.content(id) == b"hello world"
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == [id]


async def test_deleted_after_a_kill(here: Desk, there: Desk, tmp_path: Path) -> None:
    """Deleting an upload takes away the floor of another process too."""
    id = await here.create(None, b"hello")
    there.inherit(here)
    floors_of(here).lay(id, 5)
    await there.storage.delete(there[id])
    assert list((tmp_path / "uploads").iterdir()) == []


async def test_floor_is_looked_for_once(here: Desk, there: Desk, tmp_path: Path) -> None:
    """That there is no floor is remembered until somebody lays one: the disk is not asked for every look."""
    id = await here.create(None, b"hello")
    there.inherit(here)
    assert await there.offset(id) == 5
    (tmp_path / "uploads" / f"{id}.floor").write_text("3")  # by nobody of ours
    assert await there.offset(id) == 5
    floors_of(here).lay(id, 4)
    assert await there.offset(id) == 4
    floors_of(here).lift(id)
    assert await there.offset(id) == 5


async def test_remembers_no_more_than_so_many(here: Desk) -> None:
    """What is remembered of uploads without a floor is bounded."""
    floors = floors_of(here)
    for number in range(WITHOUT_KNOWN + 10):
        floors._remember(f"id {number}", 0)
    assert len(floors._without) == WITHOUT_KNOWN


async def test_started_beside_others(here: Desk, tmp_path: Path) -> None:
    """A process that starts while others work clears nothing away and takes no floor of theirs for its own."""
    id = await here.create(None, b"hello")
    floors_of(here).lay(id, 3)
    half_made = tmp_path / "uploads" / f"{new_id()}.floor.new"
    half_made.touch()
    async with process(tmp_path) as late:
        late.inherit(here)
        assert await late.offset(id) == 3
        floors_of(here).lift(id)
        assert await late.offset(id) == 5
    assert half_made.exists()


# Who vouches for what is synced


async def test_taken_over(here: Desk, there: Desk, tmp_path: Path) -> None:
    """What one process received is synced and recorded also after another has gone on behind it."""
    async with process(tmp_path) as first:
        id = await first.create(None, b"hello")
        there.inherit(first)
        await there.add(id, b" world")
    assert [handle.rpartition("/")[2] for _, handle in first.kept] == ["5"]


async def test_rewritten_by_another(tmp_path: Path) -> None:
    """A process whose bytes did not count, and were overwritten by another's, vouches for nothing."""
    async with process(tmp_path, "always") as there:
        async with process(tmp_path, "always") as here:
            id = await here.create(11)
            body = here.body(b"hello", asyncio.Event(), announced=11)
            writing = asyncio.create_task(here.append(id, body))
            await body.waits.wait()
            writing.cancel()
            await asyncio.wait([writing])
            there.inherit(here)
            assert await there.add(id, b"hal") == 3
        assert here.kept == []
        assert await there.offset(id) == 3


async def test_rewritten_while_it_is_synced(tmp_path: Path) -> None:
    """What was written to between the sync and its record is not recorded."""
    async with process(tmp_path) as here:
        id = await here.create(None, b"hello")
        assert isinstance(here.storage, LocalStorage)
        background = here.storage._background
        watch = background._watches[id]
        written = background._sync_file(id, False)
        assert background._still(id, watch, 5, written)
        with path_of(tmp_path, id).open("ab") as file:
            file.write(b"!")
        os.utime(path_of(tmp_path, id), (1.0, 1.0))
        assert not background._still(id, watch, 5, written)
        assert background._watches == {}


async def test_deleted_by_another(tmp_path: Path) -> None:
    """A file that another process deleted is not missed, and nothing goes into quarantine."""
    async with process(tmp_path) as here:
        id = await here.create(None, b"hello")
        path_of(tmp_path, id).unlink()
    assert here.kept == []
    assert not (tmp_path / "quarantine").exists()
