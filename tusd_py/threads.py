"""The named, bounded thread pools, and the hop into one that outlives cancellation (law 10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Pool:
    """A bounded pool of named threads.

    `run` returns, or raises, only when the function has ended in its thread, however often the caller is cancelled
    meanwhile: no descriptor may be closed and no lock released while a thread may still use it (law 10). What waits
    for a free thread is bounded by the number of requests, of which each waits for one hop at a time.
    """

    def __init__(self, name: str, size: int) -> None:
        self.size = size
        self._executor = ThreadPoolExecutor(size, thread_name_prefix=f"tusd-{name}")

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        future = asyncio.wrap_future(self._executor.submit(function, *args, **kwargs))
        return await outlive(future)

    def close(self) -> None:
        """Waits for what is running; nothing may be started afterwards."""
        self._executor.shutdown(wait=True)


async def outlive(future: asyncio.Future[T]) -> T:
    """Wait for `future` to the end, then let a cancellation that came meanwhile through."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if future.cancelled():
            raise
        await _settle(future)
        if not future.cancelled():
            future.exception()  # retrieved: the cancellation is what the caller hears of
        raise


async def _settle(future: asyncio.Future[T]) -> None:
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
