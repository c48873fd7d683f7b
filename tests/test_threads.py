"""Hops into threads that outlive cancellation (law 10)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tusd_py.threads import Pool

PATIENCE = 10.0  # seconds; no test waits for it


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool("test", 2)
    yield pool
    pool.close()


async def test_result(pool: Pool) -> None:
    """A hop runs in one of the pool's threads and brings its result back."""
    name, value = await pool.run(lambda x, *, y: (threading.current_thread().name, x + y), 1, y=2)
    assert name.startswith("tusd-test")
    assert value == 3


async def test_exception(pool: Pool) -> None:
    """What is raised in the thread is raised where it is awaited."""
    with pytest.raises(ValueError, match="invalid literal"):
        await pool.run(int, "x")


async def test_bounded(pool: Pool) -> None:
    """No more threads than the size of the pool work at once."""
    together = threading.Barrier(3)

    def meet() -> bool:
        try:
            together.wait(0.05)
        except threading.BrokenBarrierError:
            return False
        return True

    assert await asyncio.gather(*(pool.run(meet) for _ in range(3))) == [False] * 3


@pytest.mark.parametrize("fails", [False, True])
async def test_cancelled(pool: Pool, fails: bool) -> None:
    """However often the caller is cancelled, the hop ends first; then the cancellation comes through."""
    started, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go.wait(PATIENCE)
        ended.set()
        if fails:
            raise OSError("of no interest to anybody")

    seen_ended = []

    async def caller() -> None:
        try:
            await pool.run(work)
        finally:
            seen_ended.append(ended.is_set())

    task = asyncio.create_task(caller())
    await asyncio.to_thread(started.wait, PATIENCE)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    await asyncio.wait([task])
    assert task.cancelled()
    assert seen_ended == [True]


async def test_timeout(pool: Pool) -> None:
    """A timeout over a hop fires when the hop has ended."""
    go, ended = threading.Event(), threading.Event()

    def work() -> None:
        go.wait(PATIENCE)
        ended.set()

    async def impatient() -> None:
        async with asyncio.timeout(0):
            await pool.run(work)

    task = asyncio.create_task(impatient())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(TimeoutError):
        await task
    assert ended.is_set()


async def test_cancelled_before_it_began(pool: Pool) -> None:
    """A task that is cancelled before its first step does not hop at all."""
    ran = threading.Event()
    task = asyncio.create_task(pool.run(ran.set))
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not ran.is_set()
