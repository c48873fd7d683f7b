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
        loop = asyncio.get_running_loop()
        future: Steadfast[T] = Steadfast(loop=loop)
        self._executor.submit(_work, loop, future, function, args, kwargs)
        return await future

    def close(self) -> None:
        """Waits for what is running; nothing may be started afterwards."""
        self._executor.shutdown(wait=True)


class Steadfast(asyncio.Future[T]):
    """A future that cannot be cancelled: a task that is cancelled while it waits for one hears of it when the future is
    done, as asyncio promises for whatever refuses to be cancelled. This is the one place where law 10 is kept."""

    def cancel(self, msg: object = None) -> bool:
        return False


def _work(
    loop: asyncio.AbstractEventLoop,
    future: Steadfast[T],
    function: Callable[..., T],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> None:
    try:
        result = function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001  # whatever it is, it belongs to whoever waits
        loop.call_soon_threadsafe(future.set_exception, error)
    else:
        loop.call_soon_threadsafe(future.set_result, result)
