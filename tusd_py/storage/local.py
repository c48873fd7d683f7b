"""One file an upload: `uploads/<id>` in the data folder. The size of the file is the offset (law 1).

Files are opened relative to the folder's descriptor, never through a link, and only by ids that is_id accepted. What
lies in the folder under other names is not ours and is left alone. How durable the bytes are, and what a machine crash
takes back, is told in durability.py; how an unverified chunk is kept from counting, in floors.py.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path

from tusd_py.errors import StorageFull, TusError, Unavailable, UploadFailed
from tusd_py.instruments import Instruments
from tusd_py.storage.base import Body, Extent, Keep
from tusd_py.storage.body import NO_SPACE, LoopGuard
from tusd_py.storage.durability import BackgroundSync, GroupSync, Handle, boot_id, sync_file
from tusd_py.storage.floors import Floors
from tusd_py.threads import Pool
from tusd_py.upload import State, Upload, is_id

log = logging.getLogger("tusd_py.storage")

READ_BLOCK = 256 << 10  # 256 KiB
COPY_BLOCK = 256 << 20  # 256 MiB a hop: a descriptor is not needed by anybody else meanwhile
GROUP_BYTES = 1 << 20  # files up to 1 MiB join the group sync, larger ones have a pool of their own
FREE_FOR = 0.2  # seconds that an answer about free space is good for
MOST_AT_HAND = 256  # descriptors kept open between two steps of a request
LOST = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class Durability(StrEnum):
    """What an acknowledgement promises (law 1a)."""

    FINISH = "finish"  # finished uploads survive a machine crash, unfinished ones fall back a little
    ALWAYS = "always"  # every acknowledged byte survives a machine crash
    OS = "os"  # the operating system writes when it likes


class _Mapped:
    """`with _mapped:` foreign exceptions stop here (law 7)."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise _ours(error) from error


_mapped = _Mapped()


def _ours(error: OSError) -> TusError:
    if error.errno in LOST:
        return UploadFailed()
    if error.errno in NO_SPACE:
        return StorageFull()
    return Unavailable()


class _Attempt:
    kept = False

    def keep(self) -> None:
        self.kept = True


class LocalStorage:
    """Uploads as files of `data/uploads`. Can rewind, join and be opened (see storage/base.py for the laws)."""

    def __init__(
        self,
        data: Path,
        *,
        durability: Durability,
        byte_pool: Pool,
        sync_pool: Pool,
        instruments: Instruments,
        boot: str | None = None,
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
        self._floors = Floors(self._folder)
        self._attempts: set[str] = set()  # ids with an unverified chunk on its way
        self._group = GroupSync(self._folder, instruments, self.guard)
        self._background = BackgroundSync(
            self._folder, self._boot, sync_pool, instruments, self._floors.known, self._set_aside
        )
        self._at_hand: dict[str, int] = {}  # files that the next step of the same request would only open again
        self._free, self._free_at = 0, float("-inf")

    @property
    def folder(self) -> Path:
        return self._uploads

    def free(self) -> int:
        """Bytes that the file system still has for us, as it was at most a moment ago."""
        now = time.monotonic()
        if now - self._free_at > FREE_FOR:
            with _mapped:
                room = os.fstatvfs(self._folder)
            self._free, self._free_at = room.f_bavail * room.f_frsize, now
        return self._free

    # Storage

    async def create(self, upload: Upload, *, bytes_follow: bool = False) -> Upload:
        with _mapped:
            fd = self._open_new(upload.id)
        self._hand_on(upload.id, fd, wanted=bytes_follow)
        return upload.kept_as(self._new_handle)

    async def extent(self, upload: Upload) -> Extent:
        started = time.monotonic()
        if self.guard.allows(started):
            extent = self._extent(upload)
            self.guard.spent(started, time.monotonic())
            return extent
        return await self._bytes.run(self._extent, upload)

    async def append(self, upload: Upload, at: int, body: Body, keep: Keep) -> int:
        with _mapped:
            fd = self._at_hand.pop(upload.id, None)
            if fd is None:
                fd = self._open_at(upload, at)
            try:
                await self._take_over(upload, at, keep)
                offset = at + await self._pour(upload, fd, at, body, keep)
            except BaseException:
                os.close(fd)
                raise
        self._hand_on(upload.id, fd, wanted=offset == upload.length and self._joins_group(upload))
        return offset

    async def finish(self, upload: Upload) -> None:
        if self._durability is not Durability.OS:
            await self._make_durable(upload)
        self._background.forget(upload.id)

    async def read(self, upload: Upload, start: int, stop: int) -> AsyncIterator[memoryview]:
        fd = self.open(upload)
        try:
            while start < stop:
                with _mapped:
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
        with _mapped:
            await self._bytes.run(self._unlink, upload.id)
            self._floors.lift(upload.id)

    async def strays(self, before: float) -> AsyncIterator[str]:
        for name in await self._bytes.run(self._older_than, before):
            yield name

    async def close(self) -> None:
        await self._background.close()
        self._group.close()
        os.close(self._folder)

    # Rewindable, Openable, Joinable

    @asynccontextmanager
    async def tentative(self, upload: Upload, at: int) -> AsyncIterator[_Attempt]:
        attempt = _Attempt()
        with _mapped:
            self._floors.lay(upload.id, at)
        self._attempts.add(upload.id)
        try:
            yield attempt
        finally:
            self._attempts.discard(upload.id)
            with _mapped:
                if not attempt.kept:
                    await self._bytes.run(self._truncate, upload.id, at)
                self._floors.lift(upload.id)

    def open(self, upload: Upload) -> int:
        with _mapped:
            fd = os.open(upload.id, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._folder)
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
                raise UploadFailed
        return fd

    async def join(self, upload: Upload, parts: Sequence[Upload]) -> int:
        with _mapped:
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
            raise _ours(error) from error
        if not stat.S_ISREG(found.st_mode):
            raise UploadFailed
        if upload.state is State.FINISHED:
            if found.st_size != upload.length:
                raise UploadFailed
            return Extent(found.st_size, found.st_mtime)
        return Extent(self._counting(upload, found.st_size), found.st_mtime)

    def _counting(self, upload: Upload, size: int) -> int:
        """How many of the bytes in an unfinished file count (laws 1a and 1b)."""
        handle = Handle.parse(upload.handle)
        if size < handle.synced or (upload.length is not None and size > upload.length):
            raise UploadFailed  # somebody else shortened or lengthened the file
        if handle.boot != self._boot and self._durability is not Durability.OS:
            size = handle.synced
        floor = self._floors.of(upload.id)
        return size if floor is None else min(size, floor)

    def _missing(self, upload: Upload) -> Extent:
        """A file that a machine crash took with its folder entry may begin again; one that somebody deleted may not."""
        handle = Handle.parse(upload.handle)
        if upload.state is State.RECEIVING and handle.boot != self._boot and handle.synced == 0:
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

    async def _take_over(self, upload: Upload, at: int, keep: Keep) -> None:
        """After a machine crash the present life of the machine answers for the file, before it grows again."""
        if Handle.parse(upload.handle).boot != self._boot:
            await keep(str(Handle(self._boot, at)))

    def _hand_on(self, id: str, fd: int, *, wanted: bool) -> None:
        """Keep an open file for the next step, or close it."""
        if wanted and len(self._at_hand) < MOST_AT_HAND:
            self._at_hand[id] = fd
        else:
            os.close(fd)

    async def _pour(self, upload: Upload, fd: int, at: int, body: Body, keep: Keep) -> int:
        if self._durability is Durability.FINISH and not (body.at_hand and self._joins_group(upload)):
            self._background.writing(upload.id, at, Handle.parse(upload.handle).synced, body, keep)
        try:
            moved = await body.pour(fd, at)
        finally:
            self._background.wrote(upload.id, at + body.moved)
        if self._durability is Durability.FINISH and at + moved != upload.length:
            self._background.left(upload.id, at + moved, Handle.parse(upload.handle).synced, keep)
        if self._durability is Durability.ALWAYS and moved:
            await self._make_durable(upload)
            await keep(str(Handle(self._boot, at + moved)))
        return moved

    def _joins_group(self, upload: Upload) -> bool:
        return upload.length is not None and upload.length <= GROUP_BYTES

    async def _make_durable(self, upload: Upload) -> None:
        fd = self._at_hand.pop(upload.id, None)
        try:
            if self._joins_group(upload):
                await self._group.sync(upload.id, fd)
            else:
                await self._syncs.run(self._sync_with_entry, upload.id)
        except OSError as error:
            if error.errno not in LOST:
                self._set_aside(upload.id)
            raise UploadFailed from error
        finally:
            if fd is not None:
                os.close(fd)

    def _sync_with_entry(self, id: str) -> None:
        started = time.monotonic()
        sync_file(id, self._folder)
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
                    _copy_range, source, target, min(COPY_BLOCK, size - done), done, at + done
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
        except OSError:
            log.exception("quarantine-failed", extra={"id": id})

    def _older_than(self, before: float) -> list[str]:
        with os.scandir(self._folder) as entries:
            return [
                entry.name
                for entry in entries
                if is_id(entry.name)
                and entry.is_file(follow_symlinks=False)
                and entry.stat(follow_symlinks=False).st_mtime < before
            ]


def _copy_range(source: int, target: int, amount: int, at: int, to: int) -> int:
    """Copy inside the kernel, by reference where the file system can; returns the bytes copied, at least one."""
    try:
        copied = os.copy_file_range(source, target, amount, at, to)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        os.lseek(target, to, os.SEEK_SET)
        copied = os.sendfile(target, source, at, amount)
    if copied == 0:
        raise UploadFailed  # the source became shorter
    return copied
