"""What happens to an upload: screen - lock - load - rule - act - commit, for each command.

Nothing here knows HTTP, SQL or files. Deciding is protocol/rules.py's; this file puts the decisions in their order and
acts on them. Every method raises TusError and has then changed nothing but what the error says was kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import NamedTuple

from tusd_py.errors import (
    Dropped,
    MaxSizeExceeded,
    StorageFull,
    TusError,
    UploadFailed,
    UploadFinishing,
    UploadNotFound,
)
from tusd_py.hooks.events import UploadCreated, UploadInterrupted, UploadTerminated
from tusd_py.locks.base import StillWriting
from tusd_py.protocol import rules
from tusd_py.protocol.commands import Append, Concatenate, Create, Download, Faulty, Inspect, Terminate
from tusd_py.protocol.limits import Limits
from tusd_py.storage.base import Body, Ending, Extent, Measurable, Openable
from tusd_py.upload import FINAL, FINISHED, PARTIAL, RECEIVING, REGULAR, Upload, new_id
from tusd_py.uploads.backing import Backing
from tusd_py.uploads.concatenation import Concatenator
from tusd_py.uploads.endings import error_of
from tusd_py.uploads.finish import Finisher
from tusd_py.uploads.receive import InMemory, Keeper, Receiver
from tusd_py.uploads.writers import Writers, give_way, leave_alone

SMALL_BODY = 64 << 10  # 64 KiB: a small body is stored before its record is committed, a larger one after


Filling = Awaitable[tuple[Upload, int]]  # the upload and the bytes stored of it


class Progress(NamedTuple):
    """An upload and how far it is; `expires` in seconds since the epoch, None if it does not."""

    upload: Upload
    offset: int
    expires: float | None


class Uploads:
    """The service behind every edge. `reserve` is the free space, in bytes, that creations leave alone."""

    def __init__(self, backing: Backing, limits: Limits, *, in_memory: InMemory, reserve: int = 0) -> None:
        self.limits = limits
        self.reserve = reserve
        self.writers = Writers()
        self.finisher = Finisher(backing)
        self._backing = backing
        self._storage = backing.storage
        self._measurable = self._storage if isinstance(self._storage, Measurable) else None
        self._openable = self._storage if isinstance(self._storage, Openable) else None
        self._records = backing.records
        self._locks = backing.locks
        self._listeners = backing.listeners
        self._clock = backing.clock
        self._receiver = Receiver(self._storage, self.writers, in_memory)
        self._concatenator = Concatenator(backing, self.finisher)

    def stop(self) -> None:
        """End all bodies, those that begin from now on too; what came is kept."""
        self._receiver.stopping = True
        self.writers.let_go(Ending.STOPPING)

    # Create

    async def create(self, command: Create, body: Body) -> Progress:
        """T50, T70: a new upload, perhaps with its first bytes or all of them. An error after which the upload exists
        all the same carries its id and offset (D14)."""
        self._insist_on_room(command.length or 0)
        kind = PARTIAL if command.partial else REGULAR
        upload = Upload(new_id(), command.length, self._clock(), command.metadata, kind, command.concat)
        if command.body is not None and command.body <= SMALL_BODY:
            upload, offset = await self._create(command, upload, body, self._create_small)  # nobody knows its id yet
        else:
            async with self._locks.hold(upload.id, when_wanted=leave_alone, patience=self._backing.patience):
                upload, offset = await self._create(command, upload, body, self._create_large)
        progress = self._progress(upload, Extent(offset, self._clock()))
        if (error := self._cut_short(progress, body)) is not None:
            error.created, error.offset = upload.id, offset
            raise error
        return progress

    async def _create(
        self, command: Create, upload: Upload, body: Body, fill: Callable[[Create, Upload, Body], Filling]
    ) -> tuple[Upload, int]:
        """Make a place, fill it, and leave nothing behind when that fails."""
        upload = await self._storage.create(upload, bytes_follow=_brings_bytes(command))
        try:
            return await fill(command, upload, body)
        except UploadFinishing as wait:
            wait.created = upload.id
            raise
        except TusError:
            await self._discard(upload)
            raise
        except asyncio.CancelledError:
            if await self._records.load(upload.id) is None:  # else it can be resumed, or expires
                await self._storage.delete(upload)
            raise

    async def _create_small(self, command: Create, upload: Upload, body: Body) -> tuple[Upload, int]:
        """The bytes first, then one commit for the record, finished if it is: what thousands of phones send."""
        keeper = Keeper(self._backing, upload, recorded=False)
        offset = await self._receive_first(command, upload, body, keeper) if _brings_bytes(command) else 0
        if body.ended_by is not None and body.ended_by is Ending.DROPPED:
            raise Dropped  # nobody will ever know its URL
        if keeper.handle != upload.handle:
            upload = upload.kept_as(keeper.handle)
        if offset == upload.length:
            upload = await self.finisher.run(upload, recorded=False)
        else:
            await self._records.create(upload)
            self._listeners.tell(UploadCreated(upload))
        keeper.recorded = True
        return upload, offset

    async def _create_large(self, command: Create, upload: Upload, body: Body) -> tuple[Upload, int]:
        """The record first: a crash in the middle leaves an upload that can be resumed, not an orphan."""
        await self._records.create(upload)
        self._listeners.tell(UploadCreated(upload))
        offset = await self._receive_first(command, upload, body, Keeper(self._backing, upload, recorded=True))
        if offset == upload.length:
            upload = await self.finisher.run(upload)
        return upload, offset

    async def _receive_first(self, command: Create, upload: Upload, body: Body, keeper: Keeper) -> int:
        limited = body.at_most(rules.creation_room(command, self.limits))
        return await self._receiver.receive(upload, 0, limited, command.checksum, command.body, keeper)

    async def concatenate(self, command: Concatenate) -> Progress:
        """T102: a final upload; the same list gives the same one (T107)."""
        upload = await self._concatenator.concatenate(command, self.limits, self._insist_on_room)
        return await self._progress_of_final(upload)

    def _insist_on_room(self, length: int) -> None:
        """Refuse up front what cannot fit: for good if it never will, else until there is room (P40, T3)."""
        if self._measurable is None or self._measurable.free() >= length + self.reserve:
            return
        if length > self._measurable.capacity():
            raise MaxSizeExceeded("The upload is larger than the whole disk of this server.")
        raise StorageFull("The disk has no room for an upload of this size; try again later.")

    # Append

    async def append(self, command: Append, body: Body) -> Progress:
        """T21: the body at the offset; what arrives is kept, whatever happens to the client (T28)."""
        if self._locks.is_held(command.id):
            upload, extent = await self._look(command)
            rules.foresee(command, upload, extent.offset, self.limits)  # refused anyway: disturbs nobody (law 5)
        async with self._locks.hold(command.id, when_wanted=partial(give_way, body), patience=self._backing.patience):
            upload, extent = await self._look(command)
            upload, offset = await self._append(command, upload, extent.offset, body)
        touched = self._clock() if offset > extent.offset else extent.touched
        progress = self._progress(upload, Extent(offset, touched))
        if (error := self._cut_short(progress, body)) is not None:
            raise error
        return progress

    async def _append(self, command: Append, upload: Upload, at: int, body: Body) -> tuple[Upload, int]:
        room = rules.room(command, upload, at, self.limits)
        if room.length is not None:
            upload = await self._declare(upload, room.length)  # T65: before the bytes
        body = body.at_most(room.bytes)
        if upload.state is FINISHED:
            await _drain(body)
            return upload, at  # T34
        if _brings_bytes(command) or room.length is not None:  # else T33; a new length ends what does not count
            keeper = Keeper(self._backing, upload, recorded=True)
            try:
                at = await self._receiver.receive(upload, at, body, command.checksum, command.body, keeper)
            except TusError:
                if at == upload.length:  # the declared length completed it, whatever was wrong with the body
                    await self.finisher.run(upload)
                raise
        if at == upload.length:
            upload = await self.finisher.run(upload)
        return upload, at

    async def _declare(self, upload: Upload, length: int) -> Upload:
        declared = await self._records.declare_length(upload.id, length)
        if declared is None:
            raise UploadFailed
        return declared

    # Inspect, terminate, download

    def glance(self, command: Inspect) -> Progress | None:
        """T14 of an upload that is known and at rest: what `inspect` would say, without waiting for anything; None if
        that takes a closer look."""
        upload = self._records.known(command.id)
        if upload is None or (upload.state is RECEIVING and (upload.kind is FINAL or self._locks.is_held(command.id))):
            return None
        extent = self._storage.glance(upload)
        if extent is None or (upload.state is RECEIVING and extent.offset == upload.length):
            return None
        rules.screen(command, upload, extent.touched, self._clock(), self.limits)
        return self._progress(upload, extent)

    async def inspect(self, command: Inspect) -> Progress:
        """T14: the truth about the offset. A live writer is left alone; one that has gone silent is ended (law 5)."""
        upload, extent = await self._look(command)
        if upload.state is RECEIVING:
            if upload.kind is FINAL:
                return await self._progress_of_final(upload)
            if extent.offset == upload.length:
                return await self._inspect_alone(command, looking=False)
            if self._locks.is_held(command.id):
                return await self._inspect_beside(command, upload, extent)
        return self._progress(upload, extent)

    async def _inspect_beside(self, command: Inspect, upload: Upload, extent: Extent) -> Progress:
        """Somebody is at work on it: end a silent writer, and beside a live one tell what is written."""
        try:
            return await self._inspect_alone(command, looking=True)
        except StillWriting:
            return self._progress(upload, extent)

    async def _inspect_alone(self, command: Inspect, *, looking: bool) -> Progress:
        """Behind a writer, or a finish: an offset equal to the length is told only when it is done (P22)."""
        patience = self._backing.patience
        async with self._locks.hold(command.id, when_wanted=None, patience=patience, looking=looking):
            upload, extent = await self._look(command)
            if upload.state is RECEIVING and extent.offset == upload.length:
                upload = await self.finisher.run(upload)
            return self._progress(upload, extent)

    async def show(self, id: str) -> Progress:
        """What an operator sees: an upload in any state, without a lock and without disturbing a writer. The offset of
        one that has expired or failed is 0."""
        record = await self._records.load(id)
        if record is None:
            raise UploadNotFound
        if record.state is RECEIVING and record.kind is FINAL:
            return await self._progress_of_final(record)
        return self._progress(record, await self._storage.extent(record) if record.state in _ALIVE else _UNKNOWN)

    async def kept(self, upload: Upload) -> int | None:
        """How many bytes of it are kept, for a list: None where that cannot be told, or not by one look."""
        if upload.state is not RECEIVING:
            return upload.length if upload.state is FINISHED else None
        try:
            return None if upload.kind is FINAL else (await self._storage.extent(upload)).offset
        except TusError:
            return None

    async def terminate(self, command: Terminate) -> None:
        """T96: free it, finished or not, after its writer has stopped (T99)."""
        await self._look(command)
        async with self._backing.undisturbed(command.id):
            upload, _ = await self._look(command)
            await self._discard(upload)
        self._listeners.tell(UploadTerminated(upload))
        if upload.kind is PARTIAL:
            await self.finisher.orphan_finals(upload.id)

    async def download(self, command: Download) -> Upload:
        """A finished upload, whose bytes `read` then gives. No lock: finished bytes do not change (B4)."""
        upload, _ = await self._look(command)
        return upload

    def open(self, upload: Upload) -> int | None:
        """A descriptor of a finished upload's bytes, which the caller closes; None if the storage has none to offer."""
        return None if self._openable is None else self._openable.open(upload)

    def read(self, upload: Upload, start: int, stop: int) -> AsyncGenerator[memoryview, None]:
        """A finished upload's bytes in [start, stop)."""
        return self._storage.read(upload, start, stop)

    async def refuse(self, command: Faulty) -> None:
        """Raises what a request with wrong headers is told: of the upload first, then of the headers (T44)."""
        await self._look(command)

    # Shared

    async def _look(self, command: Append | Inspect | Terminate | Download | Faulty) -> tuple[Upload, Extent]:
        """The record and how far it is, screened: what can be refused without the lock is refused here."""
        record = await self._records.load(command.id)
        now, extent, touched = self._clock(), _UNKNOWN, 0.0
        if record is not None and record.state in _ALIVE:
            try:
                if record.kind is FINAL and record.state is RECEIVING:
                    extent = (await self.finisher.so_far(record))[1]
                else:
                    extent = await self._storage.extent(record)
            except UploadFailed:
                record = await self._records.load(command.id)
                if record is not None:
                    raise  # else another process has just terminated it
            else:  # expiry never touches a finish (law 4)
                touched = now if extent.offset == record.length else extent.touched
        return rules.screen(command, record, touched, now, self.limits), extent

    def _progress(self, upload: Upload, extent: Extent) -> Progress:
        return Progress(upload, extent.offset, rules.expires_at(upload, extent.touched, self.limits))

    async def _progress_of_final(self, upload: Upload) -> Progress:
        """T110, T119: before it is joined, its offset is what its partials have."""
        if upload.state is FINISHED:
            return self._progress(upload, await self._storage.extent(upload))
        return self._progress(*await self.finisher.so_far(upload))

    def _cut_short(self, progress: Progress, body: Body) -> TusError | None:
        """What the client of a body that ended early is told (law 2); None if the last byte of the upload had come."""
        ending = body.ended_by
        if ending is None or (progress.upload.state is FINISHED and ending is not Ending.TOO_LONG):
            return None
        error = error_of(ending, progress.upload.length)
        self._listeners.tell(UploadInterrupted(progress.upload, progress.offset, error.code))
        return error

    async def _discard(self, upload: Upload) -> None:
        """The record first, so that a crash leaves an orphan for the sweep; on a full disk the bytes must go first."""
        try:
            await self._records.remove(upload.id)
        except StorageFull:
            await self._storage.delete(upload)
            await self._records.remove(upload.id)
        await self._storage.delete(upload)


_ALIVE = (RECEIVING, FINISHED)
_UNKNOWN = Extent(0, 0.0)


def _brings_bytes(command: Create | Append) -> bool:
    """Whether there is a body to receive; a checksum of nothing is verified too (T89)."""
    return command.body != 0 or command.checksum is not None


async def _drain(body: Body) -> None:
    """Read a body that there is no room for: its first byte ends it with TOO_LONG."""
    async for _ in body:
        continue
