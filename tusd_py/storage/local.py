"""One file an upload: `uploads/<id>` in the data folder. The size of the file is the offset (law 1).

Files are opened relative to the folder's descriptor, never through a link, and only by ids that is_id accepted. What
lies in the folder under other names is not ours and is left alone. How durable the bytes are, and what a machine crash
takes back, is told in durability.py; how an unverified chunk is kept from counting, in floors.py.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path

from tusd_py.errors import UploadFailed
from tusd_py.instruments import Instruments
from tusd_py.stamps import Stamps
from tusd_py.storage import copying
from tusd_py.storage.base import Body, Extent, Keep
from tusd_py.storage.body import LoopGuard
from tusd_py.storage.durability import BackgroundSync, GroupSync, Handle, boot_id
from tusd_py.storage.floors import Floors, SharedFloors
from tusd_py.storage.foreign import mapped, ours
from tusd_py.storage.room import Room
from tusd_py.storage.strays import older_than
from tusd_py.threads import Pool
from tusd_py.upload import FINISHED, RECEIVING, Upload

log = logging.getLogger("tusd_py.storage")

READ_BLOCK = 256 << 10  # 256 KiB
GROUP_BYTES = 1 << 20  # files up to 1 MiB join the group sync, larger ones have a pool of their own
MOST_AT_HAND = 256  # descriptors kept open between two steps of a request


class Durability(StrEnum):
    """What an acknowledgement promises (law 1a)."""

    FINISH = "finish"  # finished uploads survive a machine crash, unfinished ones fall back a little
    ALWAYS = "always"  # every acknowledged byte survives a machine crash
    OS = "os"  # the operating system writes when it likes


FINISH, ALWAYS, OS = Durability  # see upload.py


class _Attempt:
    kept = False
    acknowledge: Callable[[], Awaitable[None]] | None = None  # what waits for the verdict

    def keep(self) -> None:
        self.kept = True


class LocalStorage:
    """Uploads as files of `data/uploads`. Can rewind, join and be opened (see storage/base.py for the laws). Processes
    that share the folder share `stamps` too."""

    def __init__(
        self,
        data: Path,
        *,
        durability: Durability,
        byte_pool: Pool,
        sync_pool: Pool,
        instruments: Instruments,
        boot: str | None = None,
        stamps: Stamps | None = None,
    ) -> None:
        self._uploads = data / "uploads"
        self._quarantine = data / "quarantine"
        self._uploads.mkdir(parents=True, exist_ok=True)
        self.guard = LoopGuard()
        self._folder = os.open(self._uploads, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._durability = durability
        self._bytes = byte_pool
        self._syncs = sync_pool
        self._instruments = instruments
        self._boot = boot or boot_id()
        self._new_handle = str(Handle(self._boot, 0))
        self._stamps = stamps
        self._look = self._extent if stamps is None else self._extent_beside_others
        self._floors = Floors(self._folder) if stamps is None else SharedFloors(self._folder, stamps)
        self._attempts: dict[str, _Attempt] = {}  # by id: an unverified chunk is on its way
        self._group = GroupSync(self._folder, instruments, self.guard)
        self._background = BackgroundSync(
            self._folder, self._boot, sync_pool, instruments, self._floors, self._set_aside
        )
        self._at_hand: dict[str, int] = {}  # files that the next step of the same request would only open again
        self._room = Room(self._folder)

    @property
    def folder(self) -> Path:
        return self._uploads

    def free(self) -> int:
        """Bytes that the file system still has for us, as it was at most a moment ago."""
        return self._room.free()

    def capacity(self) -> int:
        """Bytes of the whole file system."""
        return self._room.capacity()

    # Storage

    async def create(self, upload: Upload, *, bytes_follow: bool = False) -> Upload:
        try:
            fd = self._open_new(upload.id)
        except OSError as error:
            raise ours(error) from error
        self._hand_on(upload.id, fd, wanted=bytes_follow)
        return upload.kept_as(self._new_handle)

    async def extent(self, upload: Upload) -> Extent:
        extent = self.glance(upload)
        return await self._bytes.run(self._look, upload) if extent is None else extent

    def glance(self, upload: Upload) -> Extent | None:
        started = time.monotonic()
        if not self.guard.allows(started):
            return None
        extent = self._look(upload)
        self.guard.spent(started, time.monotonic())
        return extent

    async def append(self, upload: Upload, at: int, body: Body, keep: Keep) -> int:
        fd = self._at_hand.pop(upload.id, None)
        if fd is None:
            with mapped:
                fd = self._open_at(upload, at)
        try:
            if Handle.parse(upload.handle).boot != self._boot:
                await self._take_over(at, keep)
            offset = at + await self._pour(upload, fd, at, body, keep)
        except OSError as error:
            os.close(fd)
            raise ours(error) from error
        except BaseException:
            os.close(fd)
            raise
        self._hand_on(upload.id, fd, wanted=offset == upload.length and upload.id not in self._attempts)
        return offset

    async def finish(self, upload: Upload) -> None:
        fd = self._at_hand.pop(upload.id, None)
        if fd is None:
            assert upload.length is not None
            with mapped:
                fd = self._open_at(upload, upload.length)  # a tail that does not count must not outlive the finish
        try:
            if self._durability is not OS:
                await self._make_durable(upload, fd)
        finally:
            os.close(fd)
        self._background.forget(upload.id)

    async def read(self, upload: Upload, start: int, stop: int) -> AsyncGenerator[memoryview, None]:
        fd = self.open(upload)
        try:
            while start < stop:
                with mapped:
                    piece = await self._bytes.run(os.pread, fd, min(READ_BLOCK, stop - start), start)
                if not piece:
                    raise UploadFailed
                yield memoryview(piece)
                start += len(piece)
        finally:
            os.close(fd)

    async def delete(self, upload: Upload) -> None:
        self._background.forget(upload.id)
        if (fd := self._at_hand.pop(upload.id, None)) is not None:
            os.close(fd)
        with mapped:
            await self._bytes.run(self._unlink, upload.id)
            self._floors.lift(upload.id)

    async def strays(self, before: float) -> AsyncIterator[str]:
        with mapped:
            names = await self._bytes.run(older_than, self._folder, before)
        for name in names:
            yield name

    async def close(self) -> None:
        await self._background.close()
        self._group.close()
        while self._at_hand:  # of requests that were cancelled
            os.close(self._at_hand.popitem()[1])
        os.close(self._folder)

    # Rewindable, Openable, Joinable

    @asynccontextmanager
    async def tentative(self, upload: Upload, at: int) -> AsyncIterator[_Attempt]:
        attempt = _Attempt()
        with mapped:
            self._floors.lay(upload.id, at)
        self._attempts[upload.id] = attempt
        try:
            yield attempt
        finally:
            del self._attempts[upload.id]
            with mapped:
                if not attempt.kept:
                    self._background.rewound(upload.id, at)
                    await self._bytes.run(self._truncate, upload.id, at)
                self._floors.lift(upload.id)
        if attempt.kept and attempt.acknowledge is not None:
            await attempt.acknowledge()

    def open(self, upload: Upload) -> int:
        with mapped:
            fd = os.open(upload.id, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._folder)
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
                raise UploadFailed
        return fd

    async def join(self, upload: Upload, parts: Sequence[Upload]) -> int:
        with mapped:
            target = self._open_at(upload, 0)
            try:
                size = 0
                for part in parts:
                    size += await self._copy(part, target, size)
                return size
            finally:
                os.close(target)

    # Looking

    def _extent(self, upload: Upload) -> Extent:
        try:
            found = os.stat(upload.id, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return self._missing(upload)
        except OSError as error:
            raise ours(error) from error
        if not stat.S_ISREG(found.st_mode):
            raise UploadFailed
        if upload.state is FINISHED:
            if found.st_size != upload.length:
                raise UploadFailed
            return Extent(found.st_size, found.st_mtime)
        return Extent(self._counting(upload, found.st_size), found.st_mtime)

    def _extent_beside_others(self, upload: Upload) -> Extent:
        """Again if a floor was laid or lifted between the two looks that it takes."""
        assert self._stamps is not None
        while True:
            stamp = self._stamps.of(upload.id)
            extent = self._extent(upload)
            if self._stamps.of(upload.id) == stamp:
                return extent

    def _counting(self, upload: Upload, size: int) -> int:
        """How many of the bytes in an unfinished file count (laws 1a and 1b)."""
        boot, synced = Handle.parse(upload.handle)
        if size < synced:
            raise UploadFailed  # somebody else shortened the file
        if (floor := self._floors.of(upload.id)) is not None:
            size = min(size, max(floor, synced))  # a floor below `synced` was lifted; a machine crash undid that
        if self._durability is ALWAYS or (boot != self._boot and self._durability is FINISH):
            size = synced
        if upload.length is not None and size > upload.length:
            raise UploadFailed  # somebody else lengthened it
        return size

    def _missing(self, upload: Upload) -> Extent:
        """A file that a machine crash took with its folder entry may begin again; one that somebody deleted may not."""
        handle = Handle.parse(upload.handle)
        if upload.state is RECEIVING and handle.boot != self._boot and handle.synced == 0:
            return Extent(0, upload.created)
        raise UploadFailed

    # Writing

    def _open_new(self, id: str) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(id, flags, 0o664, dir_fd=self._folder)

    def _open_at(self, upload: Upload, at: int) -> int:
        """Open for writing at `at`: what lies beyond it does not count (laws 1a and 1b) and is cut off."""
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        if Handle.parse(upload.handle).boot != self._boot and at == 0:
            flags |= os.O_CREAT
        fd = os.open(upload.id, flags, 0o664, dir_fd=self._folder)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size < at:
                raise UploadFailed
            if found.st_size > at:
                os.ftruncate(fd, at)
            if upload.id not in self._attempts:
                self._floors.lift(upload.id)  # left over from an attempt that died
        except BaseException:
            os.close(fd)
            raise
        return fd

    async def _take_over(self, at: int, keep: Keep) -> None:
        """After a machine crash the present life of the machine answers for the file, before it grows again."""
        await keep(str(Handle(self._boot, at)))

    def _hand_on(self, id: str, fd: int, *, wanted: bool) -> None:
        """Keep an open file for the next step, or close it."""
        if wanted and len(self._at_hand) < MOST_AT_HAND:
            self._at_hand[id] = fd
        else:
            os.close(fd)

    async def _pour(self, upload: Upload, fd: int, at: int, body: Body, keep: Keep) -> int:
        if self._durability is not OS and not (body.at_hand and self._joins_group(upload)):
            self._background.writing(upload.id, at, Handle.parse(upload.handle).synced, body, keep)
        try:
            moved = await body.pour(fd, at)
        finally:
            self._background.wrote(upload.id, at + body.moved)
        if self._durability is FINISH and at + moved != upload.length:
            self._background.left(upload.id, at + moved, Handle.parse(upload.handle).synced, keep)
        if self._durability is ALWAYS and moved:
            await self._make_durable(upload, fd)
            await self._acknowledge(upload.id, partial(self._promise, upload.id, at + moved, keep))
        return moved

    async def _promise(self, id: str, offset: int, keep: Keep) -> None:
        await self._background.caught_up(id, offset)
        await keep(str(Handle(self._boot, offset)))

    async def _acknowledge(self, id: str, acknowledge: Callable[[], Awaitable[None]]) -> None:
        """Record what is synced, or leave it to the verdict that is still to come (law 1b)."""
        if (attempt := self._attempts.get(id)) is None:
            await acknowledge()
        else:
            attempt.acknowledge = acknowledge

    def _joins_group(self, upload: Upload) -> bool:
        return upload.length is not None and upload.length <= GROUP_BYTES

    async def _make_durable(self, upload: Upload, fd: int) -> None:
        try:
            if self._joins_group(upload):
                if not self._group.sync_at_once(fd):
                    await self._group.sync(fd)
            else:
                await self._syncs.run(self._sync_with_entry, fd)
        except OSError as error:
            self._set_aside(upload.id)
            raise UploadFailed from error

    def _sync_with_entry(self, fd: int) -> None:
        started = time.monotonic()
        os.fdatasync(fd)
        os.fsync(self._folder)
        self._instruments.synced(time.monotonic() - started)

    async def _copy(self, part: Upload, target: int, at: int) -> int:
        source = self.open(part)
        try:
            size = os.fstat(source).st_size
            if size != part.length:
                raise UploadFailed
            done = 0
            while done < size:
                done += await self._bytes.run(
                    copying.copy_range, source, target, min(copying.BLOCK, size - done), done, at + done
                )
            return size
        finally:
            os.close(source)

    # Removing

    def _unlink(self, id: str) -> None:
        try:
            os.unlink(id, dir_fd=self._folder)
        except FileNotFoundError:
            return

    def _truncate(self, id: str, size: int) -> None:
        fd = os.open(id, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._folder)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    def _set_aside(self, id: str) -> None:
        """A failed sync is final: a second one would lie (law 7). The bytes go into quarantine, the upload is 410."""
        self._quarantine.mkdir(exist_ok=True)
        try:
            os.rename(self._uploads / id, self._quarantine / id)
        except FileNotFoundError:
            return  # deleted meanwhile
        except OSError:
            log.exception("quarantine-failed", extra={"id": id})
