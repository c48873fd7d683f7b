"""Locks of one process. Almost every request finds its upload free, so that way is a dictionary entry and nothing more.

The lock is handed over, never let go, while somebody waits: no newcomer can slip in between. All holds of one id, the
holder's and those that wait, share one queue; it begins with the first that has to wait and ends with the last.
"""

from __future__ import annotations

import asyncio
from collections import deque

from tusd_py.errors import UploadLocked
from tusd_py.locks.base import StillWriting, WhenWanted


class MemoryLocks:
    """See locks/base.py."""

    def __init__(self) -> None:
        self._holders: dict[str, _Hold] = {}

    def hold(self, id: str, *, when_wanted: WhenWanted | None, patience: float, looking: bool = False) -> _Hold:
        return _Hold(self._holders, id, when_wanted, patience, looking)

    def is_held(self, id: str) -> bool:
        return id in self._holders

    def count(self) -> int:
        """How many uploads are held at this moment."""
        return len(self._holders)


class _Hold:
    """One request's hold of one upload, good for one `async with`."""

    __slots__ = ("_holders", "_id", "_patience", "_queue", "_turn", "_when_wanted", "looking")

    _turn: asyncio.Future[Exception | None]  # set only by one that waits: why it does not get the lock, None if it does

    def __init__(
        self, holders: dict[str, _Hold], id: str, when_wanted: WhenWanted | None, patience: float, looking: bool
    ) -> None:
        self._holders = holders
        self._id = id
        self._when_wanted = when_wanted
        self._patience = patience
        self.looking = looking
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
        if self.looking and not holder._ends(True):
            raise StillWriting
        loop = asyncio.get_running_loop()
        turn = self._turn = loop.create_future()
        self._join(holder)
        impatience = loop.call_later(self._patience, self._give_up)
        try:
            if not self.looking:
                holder._ends(False)
            refusal = await turn
            if refusal is None and self._queue:
                self._hear(self._queue)
        except BaseException:
            self._leave()
            raise
        finally:
            impatience.cancel()
        if refusal is not None:
            raise refusal

    def _join(self, holder: _Hold) -> None:
        if holder._queue is None:
            holder._queue = deque()
        self._queue = holder._queue
        self._queue.append(self)

    def _ends(self, looking: bool) -> bool:
        """Ask the holder to come to an end; one that has said yes is not asked again."""
        if self._when_wanted is None:
            return True
        if not self._when_wanted(looking) and looking:
            return False
        self._when_wanted = None
        return True

    def _hear(self, queue: deque[_Hold]) -> None:
        """Those who came while this one waited have their say."""
        if self._ends(all(behind.looking for behind in queue)):
            return
        while queue:
            queue.popleft().tell(StillWriting())

    def tell(self, refusal: Exception | None) -> None:
        if not self._turn.done():
            self._turn.set_result(refusal)

    def _give_up(self) -> None:
        if not self._turn.done():
            self.tell(UploadLocked())
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
                heir.tell(None)
                return
        del self._holders[self._id]
