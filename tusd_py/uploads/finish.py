"""Finishing an upload, exactly once, however often it is tried (law 4).

Order: storage.finish, which makes every byte durable and can be repeated; then one transaction that commits the
finished state. Bytes that are complete without a finished record, for instance after a crash in between, are
finished by whoever meets them: the next request, a retry in the background, the round at the start.
Whoever calls `run` holds the upload's lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack

from tusd_py.errors import StorageFull, TusError, Unavailable, UploadFailed, UploadFinishing, UploadLocked
from tusd_py.hooks.events import UploadCreated, UploadFinished
from tusd_py.hooks.events import UploadFailed as Failed
from tusd_py.storage.base import Extent, Joinable
from tusd_py.upload import FINAL, FINISHED, PARTIAL, RECEIVING, State, Upload
from tusd_py.uploads.backing import Backing

log = logging.getLogger("tusd_py.uploads")

FIRST_RETRY = 1.0  # seconds; doubled up to
LAST_RETRY = 60.0

_ALIVE = (RECEIVING, FINISHED)


class Finisher:
    """Finishes uploads."""

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self._storage = backing.storage
        self._records = backing.records
        self._listeners = backing.listeners
        self._retries: dict[str, asyncio.Task[None]] = {}

    async def run(self, upload: Upload, *, recorded: bool = True) -> Upload:
        """The upload, finished. Raises UploadFailed for good, or UploadFinishing while it is going to be tried again.

        `recorded` is False for a new upload, whose record is inserted finished.
        """
        try:
            await self._storage.finish(upload)
            finished = upload.finished(self._backing.clock())
            await (self._records.finish(finished) if recorded else self._records.create(finished))
        except UploadFailed as lost:
            if recorded:
                await self.fail(upload, lost)
            raise
        except (Unavailable, StorageFull) as error:
            log.warning("finish-failed", extra={"id": upload.id, "error": error.code})
            if not recorded:
                raise
            self._retry_later(upload.id)
            raise UploadFinishing from error
        if not recorded:
            self._listeners.tell(UploadCreated(upload))
        self._listeners.tell(UploadFinished(finished))
        if upload.kind is PARTIAL:
            await self._finish_finals(upload.id)
        return finished

    async def fail(self, upload: Upload, why: TusError) -> None:
        """It can never be finished: 410 from now on."""
        await self._records.end(upload.id, State.FAILED, self._backing.clock())
        log.error("upload-failed", extra={"id": upload.id, "error": why.code})
        self._listeners.tell(Failed(upload, why.code))
        if upload.kind is PARTIAL:
            await self.orphan_finals(upload.id)

    async def orphan_finals(self, partial: str) -> None:
        """A partial that is gone makes the unfinished finals that name it impossible (T121)."""
        for final in await self._records.waiting_for(partial):
            await self.fail(final, UploadFailed())

    async def join(self, final: Upload, parts: Sequence[Upload], *, recorded: bool) -> Upload:
        """Concatenate finished partials, whose locks the caller holds, and finish the result (T103, T118)."""
        assert isinstance(self._storage, Joinable)
        try:
            size = await self._storage.join(final, parts)
        except UploadFailed as lost:
            if recorded:
                await self.fail(final, lost)
            raise
        return await self.run(final.evolve(length=size), recorded=recorded)

    async def so_far(self, final: Upload) -> tuple[Upload, Extent]:
        """A final that waits: its length as soon as its partials' are known (T111), what they have stored (T119) and
        when one of them was last written to, on which its expiry hangs; now if all are finished (law 4)."""
        parts = [part for part in await self._parts(final) if part is not None and part.state in _ALIVE]
        extents = [await self._storage.extent(part) for part in parts]
        lengths = [part.length for part in parts if part.length is not None]
        if final.length is None and len(lengths) == len(final.partials):
            final = final.evolve(length=sum(lengths))
        complete = all(part.state is FINISHED for part in parts)
        touched = self._backing.clock() if complete else max(extent.touched for extent in extents)
        return final, Extent(sum(extent.offset for extent in extents), touched)

    async def resume(self) -> None:
        """At the start: finish what is complete (law 4)."""
        async for upload in self._records.scan(RECEIVING):
            if await self._is_complete(upload):
                self._retry_later(upload.id, FIRST_RETRY / 100)

    async def close(self) -> None:
        for task in self._retries.values():
            task.cancel()
        if self._retries:
            await asyncio.wait(self._retries.values())

    async def _is_complete(self, upload: Upload) -> bool:
        try:
            if upload.kind is FINAL:
                return all(part is not None and part.state is FINISHED for part in await self._parts(upload))
            return (await self._storage.extent(upload)).offset == upload.length
        except TusError:
            return False  # whoever asks for it next is told

    async def _parts(self, final: Upload) -> list[Upload | None]:
        return [await self._records.load(id) for id in final.partials]

    # Finals that wait for their partials (concatenation-unfinished)

    async def _finish_finals(self, partial: str) -> None:
        for final in await self._records.waiting_for(partial):
            if await self._is_complete(final):
                self._retry_later(final.id, 0.0)

    async def _join_waiting(self, final: Upload) -> None:
        async with AsyncExitStack() as held:
            for id in sorted(set(final.partials)):
                await held.enter_async_context(self._backing.undisturbed(id))
            parts = [part for part in await self._parts(final) if part is not None and part.state is FINISHED]
            if len(parts) == len(final.partials):
                await self.join(final, parts, recorded=True)

    # Trying again

    def _retry_later(self, id: str, pause: float = FIRST_RETRY) -> None:
        if id not in self._retries:
            task = asyncio.create_task(self._retry(id, pause), name=f"finish {id}")
            self._retries[id] = task
            task.add_done_callback(lambda _: self._retries.pop(id, None))

    async def _retry(self, id: str, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            try:
                await self._retry_once(id)
                return
            except (UploadFinishing, UploadLocked, Unavailable, StorageFull):
                self._backing.instruments.background_failed("finish")
                pause = min(max(2 * pause, FIRST_RETRY), LAST_RETRY)
            except UploadFailed:
                return  # and recorded as such

    async def _retry_once(self, id: str) -> None:
        async with self._backing.undisturbed(id):
            upload = await self._records.load(id)
            if upload is None or upload.state is not RECEIVING or not await self._is_complete(upload):
                return
            if upload.kind is FINAL:
                await self._join_waiting(upload)
            else:
                await self.run(upload)
