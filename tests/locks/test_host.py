"""Locks of several processes: who holds, who is asked, and what the death of one does to the others."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.locks.test_contract import LONG, Request
from tusd_py.errors import UploadLocked
from tusd_py.locks.base import StillWriting
from tusd_py.locks.host import HostLocks
from tusd_py.locks.ranges import key_of

PROGRAM = """
import asyncio, sys
from pathlib import Path
from tusd_py.locks.host import HostLocks

async def main():
    locks = HostLocks(Path(sys.argv[1]))
    gone = asyncio.Event()
    def wanted(looking):
        print("looked at" if looking else "wanted", flush=True)
        if not looking and sys.argv[2] == "polite":
            gone.set()
        return not looking
    async with locks.hold("id", when_wanted=wanted, patience=30):
        print("holds", flush=True)
        await gone.wait()
    print("left", flush=True)
    locks.close()

asyncio.run(main())
"""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[HostLocks]:
    locks = HostLocks(tmp_path / "locks")
    yield locks
    locks.close()


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[HostLocks]:
    locks = HostLocks(tmp_path / "locks")
    yield locks
    locks.close()


Holder = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    """`holder("polite")` or "stubborn": another process that holds "id"."""
    started: list[subprocess.Popen[str]] = []

    def start(manner: str) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", PROGRAM, str(tmp_path / "locks"), manner]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110  # it is the state of a lock, not an event
            await asyncio.sleep(0.001)


async def test_slots(here: HostLocks, there: HostLocks, tmp_path: Path) -> None:
    """Each process has a slot of its own, and that of one that is gone is given again."""
    assert (here.slot, there.slot) == (0, 1)
    third = HostLocks(tmp_path / "locks")
    assert third.slot == 2
    third.close()
    fourth = HostLocks(tmp_path / "locks")
    assert fourth.slot == 2
    fourth.close()


async def test_is_held_anywhere(here: HostLocks, there: HostLocks) -> None:
    """What one process holds is held for all, and nothing beside it."""
    async with here.hold("id", when_wanted=None, patience=LONG):
        assert there.is_held("id")
        assert here.is_held("id")
        assert not there.is_held("other")
    assert not there.is_held("id")


async def test_a_writer_is_seen_again(here: HostLocks, there: HostLocks) -> None:
    """Having found an upload at rest, a process sees each writer that comes to it elsewhere."""
    for _ in range(3):
        assert not there.is_held("id")
        async with here.hold("id", when_wanted=lambda _: True, patience=LONG):
            assert there.is_held("id")
            assert there.is_held("id")


async def test_many(here: HostLocks, there: HostLocks) -> None:
    """A thousand held at once are a thousand locks, each found to be held, and free afterwards."""
    names = [f"id {number}" for number in range(1000)]
    holds = [here.hold(name, when_wanted=None, patience=LONG) for name in names]
    for hold in holds:
        await hold.__aenter__()
    assert all(there.is_held(name) for name in names)
    for hold in holds[::2]:
        await hold.__aexit__()
    assert [there.is_held(name) for name in names] == [False, True] * 500
    for hold in holds[1::2]:
        await hold.__aexit__()
    assert not any(there.is_held(name) for name in names)


async def test_neighbours(here: HostLocks, there: HostLocks) -> None:
    """Places that touch stay apart: each tells who holds it."""
    key = key_of("id") // 64 * 64
    for number in range(3):
        assert here._ranges.take(key + 64 * number)
    assert [there._ranges.holder(key + 64 * number) for number in range(4)] == [here.slot] * 3 + [None]
    assert not there._ranges.take(key + 64)
    here._ranges.release(key + 64)
    assert there._ranges.take(key + 64)
    assert [here._ranges.holder(key + 64 * number) for number in range(3)] == [None, there.slot, None]


@pytest.mark.rule("T41")
async def test_push(here: HostLocks, there: HostLocks) -> None:
    """A newcomer in another process has the holder called, and gets the lock once that has let go."""
    log: list[str] = []
    old, new = Request(here, "old", log), Request(there, "new", log)
    async with asyncio.TaskGroup() as group:
        group.create_task(old.run())
        await old.holding.wait()
        group.create_task(new.run())
        await until(lambda: "old wanted" in log)
        old.stop.set()
        await new.holding.wait()
        new.stop.set()
    assert log == ["old holds", "old wanted", "old leaves", "new holds", "new leaves"]
    assert here.count() == there.count() == 0


@pytest.mark.rule("T20")
async def test_look(here: HostLocks, there: HostLocks) -> None:
    """One who only looks hears from a holder in another process that it is at work, or waits for its end."""
    log: list[str] = []
    busy = Request(here, "busy", log, yields=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(busy.run())
        await busy.holding.wait()
        with pytest.raises(StillWriting):
            await Request(there, "look", log, looking=True).run()
        busy.yields = True
        look = Request(there, "look", log, looking=True)
        group.create_task(look.run())
        await until(lambda: log.count("busy looked at") == 2)
        busy.stop.set()
        look.stop.set()
    assert log == ["busy holds", "busy looked at", "busy looked at", "busy leaves", "look holds", "look leaves"]


async def test_an_earlier_one_waits(here: HostLocks, there: HostLocks) -> None:
    """Who waits since before the holder came does not push it out, but gets the lock after it."""
    log: list[str] = []
    early = there.hold("id", when_wanted=None, patience=LONG)
    late = Request(here, "late", log)
    async with asyncio.TaskGroup() as group:
        group.create_task(late.run())
        await late.holding.wait()
        waiting = group.create_task(early.__aenter__())
        await until(lambda: bool(here._askers))
        assert log == ["late holds"]
        late.stop.set()
        await waiting
    await early.__aexit__()


async def test_impatient(here: HostLocks, there: HostLocks) -> None:
    """Patience that ends is UploadLocked, and nothing is left of the one who waited."""
    async with here.hold("id", when_wanted=None, patience=LONG):
        for patience in (0.0, 0.02):
            with pytest.raises(UploadLocked):
                await there.hold("id", when_wanted=None, patience=patience).__aenter__()
    assert there.count() == 0
    assert not here.is_held("id")


async def test_cancelled(here: HostLocks, there: HostLocks) -> None:
    """Who is cancelled while waiting for another process holds nothing, and the next of its process moves up."""
    log: list[str] = []
    gone, new = Request(there, "gone", log), Request(there, "new", log)
    new.stop.set()
    async with asyncio.TaskGroup() as group, here.hold("id", when_wanted=None, patience=LONG):
        waiting = group.create_task(gone.run())
        group.create_task(new.run())
        await until(lambda: bool(here._askers))
        waiting.cancel()
    assert log == ["new holds", "new leaves"]
    assert there.count() == 0
    assert not here.is_held("id")


async def test_wanted_before_it_holds(here: HostLocks, there: HostLocks) -> None:
    """One who waits for another process, and behind whom others wait, is called as soon as it has the lock."""
    log: list[str] = []
    first, second = Request(there, "first", log), Request(there, "second", log)
    first.stop.set()
    second.stop.set()
    async with asyncio.TaskGroup() as group, here.hold("id", when_wanted=None, patience=LONG):
        group.create_task(first.run())
        group.create_task(second.run())
        await until(lambda: bool(here._askers))
        assert log == []
    assert log == ["first wanted", "first holds", "first leaves", "second holds", "second leaves"]


async def test_nobody_starves(here: HostLocks, there: HostLocks) -> None:
    """Who came before the next request of the holder's own process gets the lock before it."""
    log: list[str] = []
    old, foreign, late = Request(here, "old", log), Request(there, "foreign", log), Request(here, "late", log)
    foreign.stop.set()
    late.stop.set()
    async with asyncio.TaskGroup() as group:
        group.create_task(old.run())
        await old.holding.wait()
        group.create_task(foreign.run())
        await until(lambda: bool(here._askers))
        group.create_task(late.run())
        await asyncio.sleep(0)
        old.stop.set()
    assert [line for line in log if line.endswith("holds")] == ["old holds", "foreign holds", "late holds"]
    assert here._promised == {}


async def test_stormy(here: HostLocks, there: HostLocks) -> None:
    """However many of two processes want it at once, one holds at a time, and all get it."""
    inside: list[int] = []
    held: list[int] = []

    async def request(number: int) -> None:
        async with (here, there)[number % 2].hold("id", when_wanted=lambda _: True, patience=LONG):
            assert inside == []
            inside.append(number)
            await asyncio.sleep(0)
            inside.remove(number)
            held.append(number)

    await asyncio.gather(*(request(number) for number in range(60)))
    assert sorted(held) == list(range(60))
    for locks in (here, there):
        assert locks.count() == 0
        assert (locks._held, locks._waiting, locks._askers, locks._promised) == ({}, {}, {}, {})


async def test_long_paths(tmp_path: Path) -> None:
    """A folder may lie deeper than the path of a socket may be long."""
    folder = tmp_path / ("x" * 120) / "locks"
    one, other = HostLocks(folder), HostLocks(folder)
    log: list[str] = []
    old, new = Request(one, "old", log), Request(other, "new", log)
    old.stop.set()
    new.stop.set()
    await asyncio.gather(old.run(), new.run())
    assert log[-1] == "new leaves"
    one.close()
    other.close()


async def test_full_letter_box(here: HostLocks, there: HostLocks) -> None:
    """Notes that found no room are sent again: whoever waits gets the lock all the same."""
    log: list[str] = []
    old, new = Request(here, "old", log), Request(there, "new", log)
    async with asyncio.TaskGroup() as group:
        group.create_task(old.run())
        await old.holding.wait()
        hold = there.hold("other", when_wanted=None, patience=LONG)
        while there.ask(here.slot, hold):
            continue  # until it is full; nobody reads in this turn of the loop
        group.create_task(new.run())
        await until(lambda: "old wanted" in log)
        old.stop.set()
        new.stop.set()
    assert log[-1] == "new leaves"


# Real processes


async def test_push_a_process(here: HostLocks, holder: Holder) -> None:
    """A holder in a process of its own is called, lets go, and the lock is here."""
    process = holder("polite")
    assert here.is_held("id")
    async with here.hold("id", when_wanted=None, patience=LONG):
        assert process.stdout is not None
        assert process.stdout.readline() == "wanted\n"


@pytest.mark.rule("T41")
async def test_kill(here: HostLocks, holder: Holder) -> None:
    """kill -9 of the holder frees the lock, also for one who waits already, and its slot is given again."""
    process = holder("stubborn")
    waiting = asyncio.create_task(here.hold("id", when_wanted=None, patience=LONG).__aenter__())
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == "wanted\n"
    process.kill()
    killed = time.monotonic()
    await waiting
    assert time.monotonic() - killed < 1.0
    assert holder_of_another(here)


def holder_of_another(locks: HostLocks) -> bool:
    """Whether this process has it, as another open file sees it."""
    other = HostLocks(locks_folder(locks))
    try:
        return other._ranges.holder(key_of("id")) == locks.slot and other.slot == 1 - locks.slot
    finally:
        other.close()


def locks_folder(locks: HostLocks) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{locks._post._folder}"))


async def test_stopped_holder(here: HostLocks, holder: Holder) -> None:
    """A holder that was stopped cannot be asked: patience ends as UploadLocked. Once it goes on, it hears of it."""
    process = holder("polite")
    process.send_signal(signal.SIGSTOP)
    for looking in (False, True):
        with pytest.raises(UploadLocked):
            await here.hold("id", when_wanted=None, patience=0.05, looking=looking).__aenter__()
    process.send_signal(signal.SIGCONT)
    async with here.hold("id", when_wanted=None, patience=LONG):
        assert here.count() == 1
