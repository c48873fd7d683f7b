"""Keeps SQLite's log small: its pages are copied into the database beside the writer, who only waits if that lags.

A checkpoint of the writer's own would make a hundred requests wait for the copying of megabytes, so SQLite's automatic
one is off. Where several processes write, each looks at the log after its own transactions, and whoever finds it
grown copies for all: the others see that the database file has been written to, which nothing but a copy does.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from tusd_py.migrations import BUSY_TIMEOUT, LOG_LIMIT, connect

COPY_EVERY: Final = LOG_LIMIT  # bytes the log may grow before its pages are copied into the database
MAX_WAL: Final = 64 << 20  # bytes; beyond them the writer stops for a moment and empties the log itself
EMPTYING_TIMEOUT: Final = 100  # ms that this moment may take while somebody reads


class Checkpoints:
    """Looks at the log after each transaction, in the writer's thread; `writing` is the writer's connection. A round
    that fails is told to `failed`, and the next one tries again."""

    def __init__(
        self, path: Path, writing: sqlite3.Connection, gate: AbstractContextManager[None], failed: Callable[[], None]
    ) -> None:
        self._wal = f"{path}-wal"
        self._copied = 0  # bytes of the log at the last copy
        self._db = writing
        self._gate = gate
        self._failed = failed
        self._copier = _Copier(path, failed)

    def tidy(self, may_wait: bool) -> bool:
        """Copy what has been written since the last time, if that is much; never raises. False if the log has grown so
        long that it must be waited for, and may not."""
        try:
            size = os.stat(self._wal).st_size
            if size > MAX_WAL and not may_wait:
                return False
            self._tidy(size)
        except (sqlite3.Error, OSError):
            self._failed()
        return True

    def _tidy(self, size: int) -> None:
        if size < self._copied:  # SQLite has begun the log anew
            self._copied = 0
        if size - self._copied <= COPY_EVERY:
            return
        if self._copier.was_overtaken():
            self._copied = size
        elif size > MAX_WAL:
            self._copied = size
            self._copier.wait()
            with self._gate:  # it keeps writers out: others must wait in the queue, not at SQLite's lock
                self._empty_wal()
        elif self._copier.begin():
            self._copied = size

    def _empty_wal(self) -> None:
        self._db.execute(f"PRAGMA busy_timeout = {EMPTYING_TIMEOUT}")
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")

    def close(self) -> None:
        """Waits for a copy that is running."""
        self._copier.close()


class _Copier:
    """Copies the log back into the database beside the writer, in a thread and a connection of its own."""

    def __init__(self, path: Path, failed: Callable[[], None]) -> None:
        self._db = connect(path)
        self._path = path
        self._seen = _written(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tusd-checkpoint")
        self._running: Future[None] | None = None
        self._failed = failed

    def was_overtaken(self) -> bool:
        """Whether another process has copied since this was last asked, or since this one copied."""
        if self._is_busy():
            return False
        seen, self._seen = self._seen, _written(self._path)
        return seen != self._seen

    def begin(self) -> bool:
        if self._is_busy():
            return False
        self._running = self._thread.submit(self._copy)
        return True

    def _is_busy(self) -> bool:
        return self._running is not None and not self._running.done()

    def wait(self) -> None:
        if self._running is not None:
            self._running.result()

    def _copy(self) -> None:
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # one at a time: it gives way to another's
            self._seen = _written(self._path)
        except (sqlite3.Error, OSError):
            self._failed()

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        self._db.close()


def _written(path: Path) -> int:
    return os.stat(path).st_mtime_ns
