"""A final upload out of partial ones (T102-T122): nothing is copied through Python, each partial is locked once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack

from tusd_py.errors import TusError
from tusd_py.hooks.events import UploadCreated
from tusd_py.protocol import rules
from tusd_py.protocol.commands import Concatenate
from tusd_py.protocol.limits import Limits
from tusd_py.upload import Kind, State, Upload, new_id
from tusd_py.uploads.backing import Backing
from tusd_py.uploads.finish import Finisher

GRACE = 24 * 3600.0  # seconds in which the same list gives the same final upload (T107)

Part = tuple[Upload | None, int]  # and the bytes stored of it


class Concatenator:
    """Makes final uploads."""

    def __init__(self, backing: Backing, finisher: Finisher) -> None:
        self._backing = backing
        self._storage = backing.storage
        self._records = backing.records
        self._finisher = finisher

    async def concatenate(self, command: Concatenate, limits: Limits, insist_on_room: Callable[[int], None]) -> Upload:
        """T107: idempotent. Partials are locked in sorted order, so that two finals cannot wait for each other."""
        async with AsyncExitStack() as held:
            await self._hold(held, ["final " + " ".join(command.partials)])
            known = await self._records.final_of(command.partials, "", self._backing.clock() - GRACE)
            if known is not None:
                return known
            rules.concatenated(await self._parts(command.partials), limits)  # refused anyway: disturbs nobody
            await self._hold(held, sorted(set(command.partials)))
            parts = await self._parts(command.partials)
            length = rules.concatenated(parts, limits)
            insist_on_room(length or 0)
            return await self._make(command, length, [part for part, _ in parts if part is not None])

    async def _make(self, command: Concatenate, length: int | None, parts: Sequence[Upload]) -> Upload:
        upload = Upload(
            new_id(), length, self._backing.clock(), command.metadata, Kind.FINAL, command.concat, command.partials
        )
        upload = await self._storage.create(upload)
        try:
            if all(part.state is State.FINISHED for part in parts):
                return await self._finisher.join(upload, parts, recorded=False)
            await self._records.create(upload)
        except (TusError, asyncio.CancelledError):
            if await self._records.load(upload.id) is None:
                await self._storage.delete(upload)
            raise
        self._backing.listeners.tell(UploadCreated(upload))
        return upload

    async def _parts(self, ids: Iterable[str]) -> list[Part]:
        return [await self._part(id) for id in ids]

    async def _part(self, id: str) -> Part:
        record = await self._records.load(id)
        if record is None or record.state not in (State.RECEIVING, State.FINISHED):
            return record, 0
        return record, (await self._storage.extent(record)).offset

    async def _hold(self, held: AsyncExitStack, ids: Iterable[str]) -> None:
        for id in ids:
            await held.enter_async_context(self._backing.undisturbed(id))
