"""Bodies that do what a test says."""

from __future__ import annotations

import asyncio

from tusd_py.storage.base import Ending
from tusd_py.storage.body import LoopGuard, Stream
from tusd_py.threads import Pool

Step = bytes | Ending | asyncio.Event


class Script(Stream):
    """Bytes arrive, an Ending ends it, and an Event makes it wait until the event is set or the body is let go.

    With `announced` its length is known, as by Content-Length; without, its end is known only when it is seen.
    """

    __slots__ = ("_announced", "_arrived", "_seen_end", "_steps", "_woken", "waits")

    def __init__(self, pool: Pool, *steps: Step, announced: int | None = None, guard: LoopGuard | None = None) -> None:
        super().__init__(pool, guard or LoopGuard())
        self.waits = asyncio.Event()  # set while the body waits for the test
        self._steps = [step for step in steps if step != b""]
        self._announced = announced
        self._arrived = 0
        self._seen_end = False
        self._woken = asyncio.Event()

    def _complete(self) -> bool:
        return self._seen_end if self._announced is None else self._arrived == self._announced

    def _wake(self) -> None:
        self._woken.set()

    async def _arrive(self) -> bytes:
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, bytes):
                self._arrived += len(step)
                return step
            if isinstance(step, Ending):
                self._end(step)
                return b""
            if not await self._pause(step):
                return b""
        self._seen_end = True
        return b""

    async def _pause(self, event: asyncio.Event) -> bool:
        """Whether to go on; not if the body was let go meanwhile."""
        self.waits.set()
        waiting = [asyncio.create_task(event.wait()), asyncio.create_task(self._woken.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        self.waits.clear()
        if self._wanted is not None:
            self._end(self._wanted)
        return self._wanted is None
