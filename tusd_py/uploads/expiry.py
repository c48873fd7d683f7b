"""Which uploads are stale, and the sweep that removes them. Finished uploads are not covered by expiry (T78)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from tusd_py.errors import TusError, UploadFailed
from tusd_py.hooks.events import UploadExpired, UploadTerminated
from tusd_py.protocol import rules
from tusd_py.protocol.limits import Limits
from tusd_py.storage.base import Extent
from tusd_py.upload import Kind, State, Upload
from tusd_py.uploads.backing import Backing
from tusd_py.uploads.finish import Finisher
from tusd_py.uploads.swept import Swept

log = logging.getLogger("tusd_py.uploads")

BREATH = 100  # uploads looked at before others get the event loop
BRIEFLY = 1.0  # seconds that it waits for an upload; the next round comes back to it


@dataclass(frozen=True, slots=True)
class Retention:
    """Periods in seconds; None keeps for ever."""

    finished: float | None = None  # a policy of its own, off by default (I1)
    tombstones: float = 7 * 86400.0


def is_stale(upload: Upload, touched: float, complete: bool, now: float, limits: Limits) -> bool:
    """Whether an unfinished upload has expired. One whose bytes are complete is being finished: never (law 4)."""
    expires = rules.expires_at(upload, touched, limits)
    return expires is not None and now >= expires and not complete


class Sweep:
    """The rounds of cleaning up. `started` is when this server started: bytes without a record that were last written
    before are left over from a life before (see the order of writing in service.py)."""

    def __init__(
        self,
        backing: Backing,
        finisher: Finisher,
        *,
        limits: Callable[[], Limits],
        retention: Callable[[], Retention],
        started: float,
    ) -> None:
        self._backing = backing
        self._storage = backing.storage
        self._records = backing.records
        self._finisher = finisher
        self._limits = limits
        self._retention = retention
        self._started = started
        self._looked_for_orphans = False

    async def run(self, interval: Callable[[], float]) -> None:
        """For ever: a round, then a pause of `interval()` seconds. One round that fails does not stop the next."""
        while True:
            try:
                await self.round()
            except Exception:  # a supervisor of background work: logs, counts, tries again
                self._backing.instruments.background_failed("sweep")
                log.exception("sweep-failed")
            await asyncio.sleep(interval())

    async def round(self, *, dry: bool = False) -> Swept:
        """Once through all that may have to go; returns what went, or, if `dry`, what would go. Several rounds at once,
        here or in other processes, do no harm."""
        swept = Swept(dry)
        await self._expire(swept)
        await self._remove_orphans(swept)
        await self._retire(swept)
        return swept

    async def _expire(self, swept: Swept) -> None:
        if self._limits().expire_after is None:
            return
        seen = 0
        async for upload in self._records.scan(State.RECEIVING):
            if is_stale(
                upload, upload.created, False, self._backing.clock(), self._limits()
            ):  # cheap: before its file is asked
                await self._try_to_expire(upload, swept)
            seen += 1
            if seen % BREATH == 0:
                await asyncio.sleep(0)

    async def _try_to_expire(self, upload: Upload, swept: Swept) -> None:
        """One that cannot be removed does not keep the others; the next round tries again."""
        try:
            if self._backing.locks.is_held(upload.id) or not await self._is_stale(upload):
                return
            if swept.dry or await self._expire_one(upload):
                swept.expired.add(upload.id)
        except TusError as error:
            swept.failed.add(upload.id)
            log.warning("expire-failed", extra={"id": upload.id, "error": error.code})

    async def _expire_one(self, upload: Upload) -> bool:
        """Whether it was still stale once nobody else could work on it."""
        async with self._backing.undisturbed(upload.id, BRIEFLY):
            now_known = await self._records.load(upload.id)
            if now_known is None or now_known.state is not State.RECEIVING or not await self._is_stale(now_known):
                return False
            await self._records.end(upload.id, State.EXPIRED, self._backing.clock())
            log.info("upload-expired", extra={"id": upload.id})
            self._backing.listeners.tell(UploadExpired(upload))
            await self._storage.delete(upload)
        if upload.kind is Kind.PARTIAL:
            await self._finisher.orphan_finals(upload.id)
        return True

    async def _is_stale(self, upload: Upload) -> bool:
        try:
            extent = await self._extent(upload)
        except UploadFailed:
            return is_stale(upload, upload.created, False, self._backing.clock(), self._limits())
        return is_stale(upload, extent.touched, extent.offset == upload.length, self._backing.clock(), self._limits())

    async def _extent(self, upload: Upload) -> Extent:
        return (
            (await self._finisher.so_far(upload))[1]
            if upload.kind is Kind.FINAL
            else await self._storage.extent(upload)
        )

    async def _remove_orphans(self, swept: Swept) -> None:
        """Once is enough: only a life before this one can have left bytes behind that are older than the start. What a
        restore has found is not for us: its records may be in another backup."""
        if self._looked_for_orphans and not swept.dry:
            return
        async for id in self._storage.strays(self._started):
            if await self._records.load(id) is not None or self._backing.locks.is_held(id):
                continue
            if await self._records.spares(id):
                swept.spared.add(id)
                continue
            if not swept.dry:
                log.info("orphan-removed", extra={"id": id})
                await self._storage.delete(Upload(id, None, self._started))
            swept.left_over.add(id)
        self._looked_for_orphans = self._looked_for_orphans or not swept.dry

    async def _retire(self, swept: Swept) -> None:
        retention, now = self._retention(), self._backing.clock()
        for tombstone in (State.EXPIRED, State.FAILED):
            await self._forget(tombstone, now - retention.tombstones, swept)
        if retention.finished is not None:
            await self._forget(State.FINISHED, now - retention.finished, swept)

    async def _forget(self, state: State, before: float, swept: Swept) -> None:
        async for upload in self._records.scan(state):
            if upload.ended is None or upload.ended >= before:
                continue
            if swept.dry or await self._forget_one(upload):
                (swept.retired if state is State.FINISHED else swept.forgotten).add(upload.id)
            else:
                swept.failed.add(upload.id)

    async def _forget_one(self, upload: Upload) -> bool:
        """Whether it could be removed."""
        try:
            async with self._backing.undisturbed(upload.id, BRIEFLY):
                await self._records.remove(upload.id)
                await self._storage.delete(upload)
        except TusError as error:
            log.warning("retire-failed", extra={"id": upload.id, "error": error.code})
            return False
        if upload.state is State.FINISHED:
            self._backing.listeners.tell(UploadTerminated(upload))
        return True
