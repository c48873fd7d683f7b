"""What every kind of lock promises (tusd_py/locks/base.py)."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tusd_py.errors import UploadLocked
from tusd_py.locks.base import StillWriting
from tusd_py.locks.host import HostLocks
from tusd_py.locks.memory import MemoryLocks

LONG = 30.0  # seconds; no test waits for it


Kind = MemoryLocks | HostLocks


@pytest.fixture(params=["memory", "host"])
async def locks(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kind]:
    if request.param == "memory":
        yield MemoryLocks()
        return
    locks = HostLocks(tmp_path)
    yield locks
    locks.close()


async def turns(count: int) -> None:
    """Let the event loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass
class Request:
    """One that wants the lock, holds it until it is told to stop, and notes what happened in `log`."""

    locks: Kind
    name: str
    log: list[str]
    patience: float = LONG
    polite: bool = True  # comes to its end when somebody wants the lock
    yields: bool = True  # and also when somebody looks
    looking: bool = False
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    holding: asyncio.Event = field(default_factory=asyncio.Event)

    def wanted(self, looking: bool) -> bool:
        self.log.append(f"{self.name} {'looked at' if looking else 'wanted'}")
        return self.yields

    async def run(self) -> None:
        wanted = self.wanted if self.polite else None
        async with self.locks.hold("id", when_wanted=wanted, patience=self.patience, looking=self.looking):
            self.log.append(f"{self.name} holds")
            self.holding.set()
            await self.stop.wait()
            self.log.append(f"{self.name} leaves")


async def test_free(locks: Kind) -> None:
    """A free upload is held for the time of the block and by nobody afterwards."""
    async with locks.hold("id", when_wanted=None, patience=LONG):
        assert locks.is_held("id")
        assert not locks.is_held("other")
    assert not locks.is_held("id")
    assert locks.count() == 0


async def test_two_uploads(locks: Kind) -> None:
    """Two uploads do not wait for each other."""
    async with (
        locks.hold("one", when_wanted=None, patience=LONG),
        locks.hold("two", when_wanted=None, patience=LONG),
    ):
        assert locks.count() == 2


@pytest.mark.rule("T41")
async def test_push(locks: Kind) -> None:
    """A newcomer has the holder called before anything else happens, and then gets the lock."""
    log: list[str] = []
    old, new = Request(locks, "old", log), Request(locks, "new", log)
    async with asyncio.TaskGroup() as group:
        group.create_task(old.run())
        await old.holding.wait()
        group.create_task(new.run())
        await turns(1)
        assert log == ["old holds", "old wanted"]
        old.stop.set()
        await new.holding.wait()
        new.stop.set()
    assert log == ["old holds", "old wanted", "old leaves", "new holds", "new leaves"]


@pytest.mark.rule("T41")
async def test_order(locks: Kind) -> None:
    """First come, first served; a holder that others wait behind is called once, as soon as it has the lock."""
    log: list[str] = []
    requests = [Request(locks, name, log) for name in "abc"]
    for request in requests:
        request.stop.set()
    async with asyncio.TaskGroup() as group, locks.hold("id", when_wanted=None, patience=LONG):
        for request in requests:
            group.create_task(request.run())
        await turns(2)
    assert log == ["a wanted", "a holds", "a leaves", "b wanted", "b holds", "b leaves", "c holds", "c leaves"]
    assert locks.count() == 0


async def test_called_once(locks: Kind) -> None:
    """However many want it, a holder is called once."""
    log: list[str] = []
    old = Request(locks, "old", log)
    newcomers = [Request(locks, "new", []) for _ in range(5)]
    async with asyncio.TaskGroup() as group:
        for request in (old, *newcomers):
            group.create_task(request.run())
        await turns(3)
        for request in (old, *newcomers):
            request.stop.set()
    assert log == ["old holds", "old wanted", "old leaves"]


async def test_left_alone(locks: Kind) -> None:
    """Whoever waits behind a holder without when_wanted waits until it is ready."""
    log: list[str] = []
    old, new = Request(locks, "old", log, polite=False), Request(locks, "new", log)
    async with asyncio.TaskGroup() as group:
        group.create_task(old.run())
        group.create_task(new.run())
        await turns(3)
        assert log == ["old holds"]
        old.stop.set()
        new.stop.set()
    assert log == ["old holds", "old leaves", "new holds", "new leaves"]


async def test_impatient(locks: Kind) -> None:
    """Patience that ends is UploadLocked, and the place in the queue is given up."""
    log: list[str] = []
    old, new = Request(locks, "old", log), Request(locks, "new", log, patience=0.01)
    async with asyncio.TaskGroup() as group:
        group.create_task(old.run())
        await old.holding.wait()
        with pytest.raises(UploadLocked):
            await new.run()
        old.stop.set()
    assert log == ["old holds", "old wanted", "old leaves"]
    assert locks.count() == 0


@pytest.mark.rule("T20")
async def test_look_at_a_busy_holder(locks: Kind) -> None:
    """One who only looks hears at once that the holder is at work, and does so again; the holder goes on."""
    log: list[str] = []
    old = Request(locks, "old", log, yields=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(old.run())
        await old.holding.wait()
        for _ in range(2):
            with pytest.raises(StillWriting):
                await Request(locks, "new", log, looking=True).run()
        old.stop.set()
    assert log == ["old holds", "old looked at", "old looked at", "old leaves"]
    assert locks.count() == 0


async def test_look_at_an_idle_holder(locks: Kind) -> None:
    """A holder that says it comes to its end is waited for, also by one who only looks."""
    log: list[str] = []
    old, new = Request(locks, "old", log), Request(locks, "new", log, looking=True)
    new.stop.set()
    async with asyncio.TaskGroup() as group:
        group.create_task(old.run())
        await old.holding.wait()
        group.create_task(new.run())
        await turns(3)
        old.stop.set()
    assert log == ["old holds", "old looked at", "old leaves", "new holds", "new leaves"]


async def test_look_behind_a_holder_that_is_left_alone(locks: Kind) -> None:
    """Who looks waits for a holder without when_wanted, and is refused when a writer gets the lock first."""
    log: list[str] = []
    old, writer = Request(locks, "old", log, polite=False), Request(locks, "writer", log, yields=False)
    look = Request(locks, "look", log, looking=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(old.run())
        await old.holding.wait()
        group.create_task(writer.run())
        await turns(2)
        looking = group.create_task(refused(look))
        await turns(2)
        old.stop.set()
        await looking
        writer.stop.set()
    assert [line for line in log if line != "writer looked at"] == [
        "old holds",
        "old leaves",
        "writer holds",
        "writer leaves",
    ]


async def refused(look: Request) -> None:
    with pytest.raises(StillWriting):
        await look.run()


async def test_exception_releases(locks: Kind) -> None:
    """An exception out of the holder's block lets the next one in."""
    with pytest.raises(ZeroDivisionError):
        async with locks.hold("id", when_wanted=None, patience=LONG):
            raise ZeroDivisionError
    assert not locks.is_held("id")


async def test_failing_call(locks: Kind) -> None:
    """A when_wanted that raises fails the newcomer, which then neither waits nor holds."""

    def fail(_: bool) -> bool:
        raise ZeroDivisionError

    async with locks.hold("id", when_wanted=fail, patience=LONG):
        with pytest.raises(ZeroDivisionError):
            await Request(locks, "new", []).run()
    assert locks.count() == 0


async def test_cancelled_waiter(locks: Kind) -> None:
    """Who is cancelled while waiting holds nothing, and those behind it move up."""
    log: list[str] = []
    old, gone, new = (Request(locks, name, log) for name in ("old", "gone", "new"))
    new.stop.set()
    async with asyncio.TaskGroup() as group:
        group.create_task(old.run())
        waiting = group.create_task(gone.run())
        group.create_task(new.run())
        await turns(2)
        waiting.cancel()
        await turns(1)
        old.stop.set()
    assert log == ["old holds", "old wanted", "old leaves", "new holds", "new leaves"]


async def test_cancelled_heir(locks: Kind) -> None:
    """Who is cancelled in the very moment in which it gets the lock passes it on."""
    log: list[str] = []
    heir, new = Request(locks, "heir", log), Request(locks, "new", log)
    new.stop.set()
    async with asyncio.TaskGroup() as group:
        async with locks.hold("id", when_wanted=None, patience=LONG):
            cancelled = group.create_task(heir.run())
            group.create_task(new.run())
            await turns(2)
        cancelled.cancel()
    assert log == ["new holds", "new leaves"]
    assert locks.count() == 0


Visit = tuple[int, int, int | None, bool, bool]  # turns until it comes, stays, is cancelled; patience; looking
VISITS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 4), st.none() | st.integers(1, 12), st.booleans(), st.booleans())
)


@given(VISITS)
def test_any_order(visits: list[Visit]) -> None:
    """Whoever comes, leaves, loses patience or is cancelled when: one holds at a time, in order, nothing is left."""
    asyncio.run(_visit(MemoryLocks(), visits))


@settings(max_examples=30, deadline=None)
@given(VISITS)
def test_any_order_on_a_host(visits: list[Visit]) -> None:
    """The same, with the kernel's lock around whoever holds."""
    asyncio.run(_visit_host(visits))


async def _visit_host(visits: list[Visit]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        locks = HostLocks(Path(folder))
        try:
            await _visit(locks, visits)
        finally:
            locks.close()


async def _visit(locks: Kind, visits: list[Visit]) -> None:
    inside: list[int] = []
    came: list[int] = []
    held: list[int] = []
    calls = [0] * len(visits)

    async def visit(number: int, arrival: int, stay: int, patient: bool, looking: bool) -> None:
        def wanted(looking: bool) -> bool:
            calls[number] += not looking
            return not looking

        await turns(arrival)
        came.append(number)
        try:
            async with locks.hold("id", when_wanted=wanted, patience=LONG if patient else 0, looking=looking):
                assert inside == []
                inside.append(number)
                held.append(number)
                try:
                    await turns(stay)
                finally:
                    inside.remove(number)
        except UploadLocked:
            assert not patient
        except StillWriting:
            assert looking

    tasks = [asyncio.create_task(visit(n, come, stay, *how)) for n, (come, stay, _, *how) in enumerate(visits)]
    for turn in range(13):
        for task, (_, _, cancelled, *_) in zip(tasks, visits, strict=True):
            if cancelled == turn:
                task.cancel()
        await turns(1)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [
        outcome for outcome in outcomes if outcome is not None and not isinstance(outcome, asyncio.CancelledError)
    ] == []
    assert held == [number for number in came if number in held]
    assert max(calls, default=0) <= 1
    assert locks.count() == 0
