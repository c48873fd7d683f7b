"""When the background sync syncs what is unfinished (law 1a), by a clock that stands until the test moves it on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.storage.bodies import Script
from tusd_py.errors import UploadLocked
from tusd_py.instruments import Silent
from tusd_py.storage.durability import SYNC_EVERY, SYNC_WHEN_SILENT, TICK, BackgroundSync
from tusd_py.storage.floors import Floors
from tusd_py.threads import Pool

BOOT = "this-life"
WATCHING = "background-sync"  # the task that looks


class Standing(asyncio.SelectorEventLoop):
    """An event loop whose clock is moved by hand."""

    now = 0.0

    def time(self) -> float:
        return self.now


class Watchman:
    """A background sync at work on files of `folder`, and what it had recorded when."""

    def __init__(self, folder: Path, loop: Standing, pool: Pool) -> None:
        self.kept: list[tuple[str, float]] = []
        self.damaged: list[str] = []
        self.lock_is_taken = False
        self._loop = loop
        self._pool = pool
        self._path = folder
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.floors = Floors(self._folder)
        self._bodies: dict[str, Script] = {}
        self.sync = BackgroundSync(self._folder, BOOT, pool, Silent(), self.floors, self.damaged.append)

    @property
    def idle(self) -> bool:
        """Nobody looks at anything any more."""
        return WATCHING not in {task.get_name() for task in asyncio.all_tasks()}

    def begins(self, id: str) -> None:
        """A body begins to arrive in a file of its own."""
        (self._path / id).touch()
        self._bodies[id] = Script(self._pool)
        self.sync.writing(id, 0, 0, self._bodies[id], self.keep)

    def grows(self, id: str, to: int) -> None:
        os.truncate(self._path / id, to)
        self._bodies[id].moved = to

    async def keep(self, handle: str, still: Callable[[], bool] = lambda: True) -> None:
        if self.lock_is_taken:
            raise UploadLocked
        if still():
            self.kept.append((handle, self._loop.now))

    async def passes(self, seconds: float) -> None:
        """The clock goes on, a look at a time; whatever is due then is done before it goes on further."""
        for _ in range(round(seconds / TICK)):
            self._loop.now = round(self._loop.now + TICK, 3)
            for _ in range(4):  # the timer, its task, and what that has begun
                await asyncio.sleep(0)
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if syncs := [task for task in others if task.get_name() != WATCHING]:
                await asyncio.wait(syncs)

    async def close(self) -> None:
        await self.sync.close()
        os.close(self._folder)


Watch = Callable[[Callable[[Watchman], Awaitable[None]]], None]


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    """Runs a test on the loop whose clock stands."""

    async def closed(test: Callable[[Watchman], Awaitable[None]], loop: Standing, pool: Pool) -> None:
        watchman = Watchman(tmp_path, loop, pool)
        await test(watchman)
        await watchman.close()

    def run(test: Callable[[Watchman], Awaitable[None]]) -> None:
        pool = Pool("sync", 1)
        with asyncio.Runner(loop_factory=Standing) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, Standing)
            runner.run(closed(test, loop, pool))
        pool.close()

    return run


def test_an_upload_that_falls_silent(watch: Watch) -> None:
    """Two seconds after the last byte, and not before, what has come is synced; then once more what comes later."""

    async def test(at: Watchman) -> None:
        at.begins("one")
        at.grows("one", 10)
        await at.passes(1.0)
        at.grows("one", 11)
        await at.passes(SYNC_WHEN_SILENT)
        assert at.kept == []
        await at.passes(2 * TICK)
        assert at.kept == [(f"{BOOT}/11", pytest.approx(1.0 + TICK + SYNC_WHEN_SILENT))]
        await at.passes(10.0)
        assert len(at.kept) == 1
        at.grows("one", 20)
        await at.passes(SYNC_WHEN_SILENT + TICK)
        assert [handle for handle, _ in at.kept] == [f"{BOOT}/11", f"{BOOT}/20"]

    watch(test)


def test_an_upload_that_never_falls_silent(watch: Watch) -> None:
    """Every 64 MiB are synced, however fast they follow each other, and nothing in between."""

    async def test(at: Watchman) -> None:
        at.begins("one")
        for offset in range(SYNC_EVERY // 4, 2 * SYNC_EVERY + 1, SYNC_EVERY // 4):
            at.grows("one", offset)
            await at.passes(TICK)
        assert [handle for handle, _ in at.kept] == [f"{BOOT}/{SYNC_EVERY}", f"{BOOT}/{2 * SYNC_EVERY}"]

    watch(test)


def test_a_floor(watch: Watch) -> None:
    """What lies above a floor is not recorded as synced, however long it stands; once that is lifted, it is."""

    async def test(at: Watchman) -> None:
        at.floors.lay("one", 5)
        at.begins("one")
        at.grows("one", 10)
        await at.passes(2 * SYNC_WHEN_SILENT)
        assert [handle for handle, _ in at.kept] == [f"{BOOT}/5"]
        at.floors.lift("one")
        await at.passes(TICK)
        assert [handle for handle, _ in at.kept] == [f"{BOOT}/5", f"{BOOT}/10"]

    watch(test)


def test_nothing_left_to_watch(watch: Watch) -> None:
    """An upload that was left is synced two seconds later; then nobody looks any more, until the next one."""

    async def test(at: Watchman) -> None:
        at.begins("one")
        at.grows("one", 10)
        at.sync.wrote("one", 10)
        await at.passes(SYNC_WHEN_SILENT + 2 * TICK)
        assert [handle for handle, _ in at.kept] == [f"{BOOT}/10"]
        assert at.idle
        at.begins("two")
        at.grows("two", 20)
        await at.passes(SYNC_WHEN_SILENT + 2 * TICK)
        assert [handle for handle, _ in at.kept] == [f"{BOOT}/10", f"{BOOT}/20"]
        assert not at.idle

    watch(test)


def test_a_file_that_is_gone(watch: Watch, tmp_path: Path) -> None:
    """An upload whose file was deleted meanwhile is forgotten, not damaged."""

    async def test(at: Watchman) -> None:
        at.begins("one")
        at.grows("one", 10)
        (tmp_path / "one").unlink()
        await at.passes(2 * SYNC_WHEN_SILENT)
        assert (at.kept, at.damaged) == ([], [])
        assert at.idle

    watch(test)


def test_somebody_else_at_work(watch: Watch) -> None:
    """Whoever finds the upload locked once tries again after another silence; twice, and the other one watches it."""

    async def test(at: Watchman) -> None:
        for id in ("one", "two"):
            at.begins(id)
        at.lock_is_taken = True
        at.grows("one", 10)
        await at.passes(SYNC_WHEN_SILENT + 2 * TICK)
        at.lock_is_taken = False
        await at.passes(SYNC_WHEN_SILENT + TICK)
        assert [handle for handle, _ in at.kept] == [f"{BOOT}/10"]
        at.lock_is_taken = True
        at.grows("two", 10)
        await at.passes(2 * SYNC_WHEN_SILENT + 3 * TICK)
        at.lock_is_taken = False
        await at.passes(2 * SYNC_WHEN_SILENT)
        assert len(at.kept) == 1

    watch(test)


def test_a_clean_stop(watch: Watch) -> None:
    """What is unsynced when the server stops is synced at once, without waiting for silence."""

    async def test(at: Watchman) -> None:
        at.begins("one")
        at.grows("one", 10)
        await at.passes(TICK)
        assert at.kept == []
        await at.sync.close()
        assert [handle for handle, _ in at.kept] == [f"{BOOT}/10"]

    watch(test)
