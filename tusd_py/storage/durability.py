"""When bytes are durable: the handle that says so, the group sync of small files and the background sync of big ones.

Theory. A *process* that dies leaves the page cache, and so every byte, intact. A *machine* that dies loses whatever was
not synced, and may keep a file's new size without its bytes. Law 1a therefore keeps in the upload's record a handle:
the boot id of the machine's life in which the bytes were written, and `synced`, the offset up to which they were known
to be on the disk in that life. As long as the boot id is the present one, the size of the file is the truth; after a
machine crash an unfinished file falls back to `synced`. Finished uploads were synced before their record said so.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from tusd_py.errors import TusError, UploadLocked
from tusd_py.instruments import Instruments
from tusd_py.storage.base import Body, Keep
from tusd_py.storage.body import LoopGuard
from tusd_py.storage.floors import Floors
from tusd_py.threads import Pool, Steadfast

log = logging.getLogger("tusd_py.storage")

SYNC_EVERY = 64 << 20  # 64 MiB of new bytes
SYNC_WHEN_SILENT = 2.0  # seconds
TICK = 0.2  # seconds between two looks at what is being written
INSTANT_SYNC = 0.00005  # seconds: below, a thread hop costs more than the sync
SLOW_SYNC = 0.0002  # seconds: from here on several threads sync a batch faster than one
BATCH_THREADS = 8
UNTRIED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES)  # from open, before a sync: nothing is lost


class Handle(NamedTuple):
    """What a local upload's record remembers of its file: `boot/synced`."""

    boot: str
    synced: int

    @staticmethod
    @lru_cache(maxsize=4096)  # new uploads all have the same
    def parse(text: str) -> Handle:
        boot, _, synced = text.partition("/")
        return Handle(boot, int(synced or 0))

    def __str__(self) -> str:
        return f"{self.boot}/{self.synced}"


def boot_id() -> str:
    """Which life of the machine this is. Where the system has no boot id, a constant: then no crash can be told."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else "unknown"


def sync_file(name: str, folder: int) -> None:
    """fdatasync a file of the folder. Raises OSError; a failed sync must never be tried a second time (law 7)."""
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


class _Waiting(NamedTuple):
    fd: int
    future: asyncio.Future[None]


class GroupSync:
    """Syncs small files in batches: whatever waits goes into one hop, and the folder is synced once for all of them.

    Where a sync takes no longer than a system call (tmpfs, a disk whose cache survives), the hop into a thread would
    cost many times that, so there it is done at once; LoopGuard sends it back to the threads when that proves wrong.
    """

    def __init__(self, folder: int, instruments: Instruments, guard: LoopGuard) -> None:
        self._folder = folder
        self._instruments = instruments
        self._guard = guard
        self._conductor = ThreadPoolExecutor(1, thread_name_prefix="tusd-group-sync")
        self._threads = ThreadPoolExecutor(BATCH_THREADS, thread_name_prefix="tusd-group-sync")
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._usual = SLOW_SYNC  # seconds a sync takes, smoothed

    def sync_at_once(self, fd: int) -> bool:
        """What `sync` does, where nobody has to wait for it; False, and nothing is done, elsewhere. Raises OSError."""
        if self._usual >= INSTANT_SYNC or not self._guard.allows(started := time.monotonic()):
            return False
        os.fdatasync(fd)
        os.fsync(self._folder)
        ended = time.monotonic()
        self._guard.spent(started, ended)
        self._note(ended - started, 1)
        return True

    async def sync(self, fd: int) -> None:
        """Returns when the file that is open as `fd`, and its entry in the folder, are durable. Raises OSError."""
        future: Steadfast[None] = Steadfast(loop=asyncio.get_running_loop())
        self._waiting.append(_Waiting(fd, future))
        if not self._busy:
            self._send()
        await future

    def _note(self, took: float, files: int) -> None:
        self._usual += (took / files - self._usual) / 8
        self._instruments.synced(took)

    def _send(self) -> None:
        batch, self._waiting = self._waiting, []
        self._busy = True
        loop = asyncio.get_running_loop()
        self._conductor.submit(self._work, batch, loop)

    def _work(self, batch: list[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        started = time.monotonic()
        outcomes = self._sync_all(batch)
        try:
            os.fsync(self._folder)
        except OSError as error:
            outcomes = [error] * len(batch)
        self._note(time.monotonic() - started, len(batch))
        loop.call_soon_threadsafe(self._done, batch, outcomes)

    def _sync_all(self, batch: list[_Waiting]) -> list[OSError | None]:
        if len(batch) > 1 and self._usual > SLOW_SYNC:
            return list(self._threads.map(self._sync_one, batch))
        return [self._sync_one(waiting) for waiting in batch]

    def _sync_one(self, waiting: _Waiting) -> OSError | None:
        try:
            os.fdatasync(waiting.fd)
        except OSError as error:
            return error
        return None

    def _done(self, batch: list[_Waiting], outcomes: list[OSError | None]) -> None:
        self._busy = False
        if self._waiting:
            self._send()
        for waiting, error in zip(batch, outcomes, strict=True):
            if error is None:
                waiting.future.set_result(None)
            else:
                waiting.future.set_exception(error)

    def close(self) -> None:
        self._conductor.shutdown(wait=True)
        self._threads.shutdown(wait=True)


@dataclass(slots=True)
class _Watch:
    """An unfinished file that has bytes which a machine crash would lose."""

    keep: Keep
    synced: int
    start: int  # where the body began
    body: Body | None  # while one is being written
    offset: int  # as last seen
    moved_at: float  # when it last grew
    syncing: asyncio.Task[None] | None = None  # on its way, or done
    refused: bool = False  # somebody else had the upload

    @property
    def busy(self) -> bool:
        return self.syncing is not None and not self.syncing.done()

    def look(self, now: float) -> None:
        offset = self.offset if self.body is None else self.start + self.body.moved
        if offset != self.offset:
            self.offset, self.moved_at = offset, now

    def due(self, now: float) -> bool:
        unsynced = self.offset - self.synced
        return unsynced >= SYNC_EVERY or (unsynced > 0 and now - self.moved_at >= SYNC_WHEN_SILENT)


class BackgroundSync:
    """Moves `synced` on behind the writers (law 1a): every 64 MiB, 2 s after an upload falls silent, at a clean stop.

    `damaged` is told of a file whose sync failed: its bytes can no longer be trusted (law 7).
    """

    def __init__(
        self,
        folder: int,
        boot: str,
        pool: Pool,
        instruments: Instruments,
        floors: Floors,
        damaged: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._boot = boot
        self._pool = pool
        self._instruments = instruments
        self._floors = floors
        self._damaged = damaged
        self._watches: dict[str, _Watch] = {}
        self._task: asyncio.Task[None] | None = None
        self._rounds: set[asyncio.Task[None]] = set()  # syncs on their way

    def writing(self, id: str, start: int, synced: int, body: Body, keep: Keep) -> None:
        """A body begins to arrive."""
        known = self._watches.get(id)
        watch = self._watches[id] = _Watch(keep, synced, start, body, start, _now())
        if known is not None:
            watch.synced, watch.syncing = known.synced, known.syncing
        self._start()

    def wrote(self, id: str, offset: int) -> None:
        """The body of the watch has ended at `offset`."""
        watch = self._watches.get(id)
        if watch is not None:
            watch.body, watch.offset, watch.moved_at = None, offset, _now()

    def left(self, id: str, offset: int, synced: int, keep: Keep) -> None:
        """A body ended at `offset` and the upload is not complete: if nobody watches it yet, somebody has to."""
        if id not in self._watches:
            self._watches[id] = _Watch(keep, synced, offset, None, offset, _now())
            self._start()

    async def caught_up(self, id: str, offset: int) -> None:
        """All up to `offset` is synced, and its writer records that next: after what is on its way has been recorded,
        which is less."""
        watch = self._watches.get(id)
        if watch is None:
            return
        if watch.syncing is not None:
            await asyncio.wait([watch.syncing])
        watch.synced = offset

    def rewound(self, id: str, at: int) -> None:
        """The bytes from `at` on are taken back (law 1b)."""
        watch = self._watches.get(id)
        if watch is not None:
            watch.offset = at

    def forget(self, id: str) -> None:
        """It is finished, deleted or damaged."""
        self._watches.pop(id, None)

    async def close(self) -> None:
        """Sync all that is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._rounds:
            await asyncio.wait(self._rounds)  # their threads use the folder (law 10)
        await asyncio.gather(*(self._sync(id, watch) for id, watch in list(self._watches.items())))

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="background-sync")

    async def _run(self) -> None:
        while self._watches:
            await asyncio.sleep(TICK)
            now = _now()
            for id, watch in list(self._watches.items()):
                watch.look(now)
                if watch.due(now) and not watch.busy:
                    watch.syncing = task = asyncio.create_task(self._sync(id, watch))
                    self._rounds.add(task)
                    task.add_done_callback(self._rounds.discard)
                elif watch.body is None and watch.synced >= watch.offset:
                    self._watches.pop(id)

    async def _sync(self, id: str, watch: _Watch) -> None:
        watch.look(_now())
        floor = self._floors.of(id)
        offset = watch.offset if floor is None else min(watch.offset, floor)
        if offset <= watch.synced:
            return
        try:
            written = await self._pool.run(self._sync_file, id, watch.synced == 0)
            await watch.keep(str(Handle(self._boot, offset)), partial(self._still, id, watch, offset, written))
            watch.synced = offset
        except FileNotFoundError:
            self.forget(id)
        except UploadLocked:
            self._refused(id, watch)
        except OSError as error:
            if error.errno in UNTRIED:
                self._instruments.background_failed("sync")
                return
            log.exception("sync-failed", extra={"id": id})
            self.forget(id)
            self._damaged(id)
        except TusError as error:  # the record could not be written: `synced` stays behind and is tried again
            self._instruments.background_failed("sync")
            log.warning("sync-not-recorded", extra={"id": id, "error": error.code})

    def _still(self, id: str, watch: _Watch, offset: int, written: int) -> bool:
        """Under the lock: whether what was synced is what lies there up to `offset`. If another process has written to
        the file since, that one watches it from now on."""
        try:
            found = os.stat(id, dir_fd=self._folder, follow_symlinks=False)
        except OSError:
            found = None
        floor = self._floors.of(id)
        unchanged = found is not None and found.st_mtime_ns == written and found.st_size >= offset
        if unchanged and (floor is None or floor >= offset):
            return True
        self._leave(id, watch)
        return False

    def _refused(self, id: str, watch: _Watch) -> None:
        """Somebody else is at work on it: once, perhaps for a moment; when it happens again, that one writes, and
        watches it."""
        if watch.refused:
            self._leave(id, watch)
        watch.refused, watch.moved_at = True, _now()

    def _leave(self, id: str, watch: _Watch) -> None:
        if self._watches.get(id) is watch:
            self.forget(id)

    def _sync_file(self, id: str, entry_too: bool) -> int:
        """Returns when the file had last been written to before, in ns."""
        started = time.monotonic()
        written = os.stat(id, dir_fd=self._folder, follow_symlinks=False).st_mtime_ns
        sync_file(id, self._folder)
        if entry_too:
            os.fsync(self._folder)
        self._instruments.synced(time.monotonic() - started)
        return written


def _now() -> float:
    """By the event loop's clock, as its timers are."""
    return asyncio.get_running_loop().time()
