"""Locks of one process. Almost every request finds its upload free, so that way is a dictionary entry and nothing more.

The lock is handed over, never let go, while somebody waits: no newcomer can slip in between. All holds of one id, the
holder's and those that wait, share one queue; it begins with the first that has to wait and ends with the last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from tusd_py.errors import UploadLocked


class MemoryLocks:
    """See locks/base.py."""

    def __init__(self) -> None:
        self._holders: dict[str, _Hold] = {}

    def hold(self, id: str, *, when_wanted: Callable[[], None] | None, patience: float) -> _Hold:
        return _Hold(self._holders, id, when_wanted, patience)

    def is_held(self, id: str) -> bool:
        return id in self._holders

    def count(self) -> int:
        """How many uploads are held at this moment."""
        return len(self._holders)


class _Hold:
    """One request's hold of one upload, good for one `async with`."""

    __slots__ = ("_holders", "_id", "_patience", "_queue", "_turn", "_when_wanted")

    _turn: asyncio.Future[bool]  # set only by one that waits: whether it got the lock

    def __init__(
        self, holders: dict[str, _Hold], id: str, when_wanted: Callable[[], None] | None, patience: float
    ) -> None:
        self._holders = holders
        self._id = id
        self._when_wanted = when_wanted
        self._patience = patience
        self._queue: deque[_Hold] | None = None

    async def __aenter__(self) -> None:
        holder = self._holders.get(self._id)
        if holder is None:
            self._holders[self._id] = self
        else:
            await self._wait(holder)

    async def __aexit__(self, *_: object) -> None:
        if self._queue:
            self._release()
        else:
            del self._holders[self._id]

    async def _wait(self, holder: _Hold) -> None:
        loop = asyncio.get_running_loop()
        turn = self._turn = loop.create_future()
        self._join(holder)
        impatience = loop.call_later(self._patience, self._give_up)
        try:
            holder._wanted()
            got_it = await turn
            if got_it and self._queue:
                self._wanted()
        except BaseException:
            self._leave()
            raise
        finally:
            impatience.cancel()
        if not got_it:
            raise UploadLocked

    def _join(self, holder: _Hold) -> None:
        if holder._queue is None:
            holder._queue = deque()
        self._queue = holder._queue
        self._queue.append(self)

    def _wanted(self) -> None:
        """Ask the holder once to come to an end."""
        call, self._when_wanted = self._when_wanted, None
        if call is not None:
            call()

    def _give_up(self) -> None:
        if not self._turn.done():
            self._turn.set_result(False)
            self._leave()

    def _leave(self) -> None:
        """Stop waiting; a lock that was handed over in this very moment passes on."""
        if self._holders.get(self._id) is self:
            self._release()
        elif self._queue is not None and self in self._queue:
            self._queue.remove(self)

    def _release(self) -> None:
        """Hand the lock to the first that waits, or free it."""
        while self._queue:
            heir: _Hold = self._queue.popleft()
            if not heir._turn.done():  # done: cancelled, and about to leave
                self._holders[self._id] = heir
                heir._turn.set_result(True)
                return
        del self._holders[self._id]
