"""The gate in front of one database that several processes write: one transaction at a time, first come, first served.

Two flocks. Whoever comes takes `next`, waits for `commit`, lets `next` go, and after its COMMIT lets `commit` go: so
whoever has just been through goes to the back of the queue. With SQLite's own lock alone the waiting poll, and one of
them starves.

Laws:

* A Turnstile is made in the process that uses it, never before a fork: a child shares the locks of an open file
  description that it inherits. It is used by one thread at a time.
* The kernel lets go of both locks when a process dies, however it dies; SQLite then takes its transaction back.
* Whoever has a lock says so in its file: its pid, and since when. A process that is stopped in the gate, or at the
  front of the queue, keeps everybody else out: whoever watches over the processes asks a `Watch` once a second and
  kills who stands in the way for HOLD_AT_MOST.
* Nobody waits here with a limit, since flock knows none: database.py gives up a batch that waits for too long, and
  nothing of it is then written.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from pathlib import Path
from time import monotonic_ns
from typing import Final, NamedTuple

HOLD_AT_MOST: Final = 10.0  # seconds; a transaction takes milliseconds
NEXT, COMMIT = "next", "commit"

_WORDS: Final = struct.Struct("=QQ")
_PID, _SINCE = 0, 1  # the holder's, 0 while there is none; nanoseconds of the monotonic clock, which a host has one of


class Turnstile:
    """A context manager that blocks its thread until it is its turn. Raises OSError where the files cannot be used."""

    def __init__(self, folder: Path) -> None:
        self._next = _Lock(folder / NEXT)
        self._commit = _Lock(folder / COMMIT)

    def __enter__(self) -> None:
        self._next.take()
        try:
            self._commit.take()
        finally:
            self._next.let_go()

    def enter_now(self) -> bool:
        """Go through if nobody is there; who waits already comes first."""
        if not self._next.take_now():
            return False
        try:
            return self._commit.take_now()
        finally:
            self._next.let_go()

    def __exit__(self, *_: object) -> None:
        self._commit.let_go()

    def close(self) -> None:
        """Outside of the gate only."""
        self._next.close()
        self._commit.close()


class Holder(NamedTuple):
    pid: int
    seconds: float  # so long it has stood in the way


class Watch:
    """Tells who keeps the others out, for whoever watches over the processes; ask about once a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._front = (0, 0)
        self._front_seen = 0  # nanoseconds: since then the same process was seen at the front of a gate that is free

    def holder(self) -> Holder | None:
        """Who holds the gate, or stays at the front of the queue although the gate is free; None if nobody does.

        Kill it only if its pid is that of a process you know. A process stopped in the very instant between taking a
        lock and saying so is not seen, so whoever watches must also notice one that answers nothing at all.
        """
        now = monotonic_ns()
        if (held := _holding(self._folder / COMMIT)) is not None:
            pid, since = held
            self._front = (0, 0)
            return Holder(pid, (now - since) / 1e9) if pid else None
        front = _holding(self._folder / NEXT) or (0, 0)
        if front != self._front:
            self._front, self._front_seen = front, now
        return Holder(front[_PID], (now - self._front_seen) / 1e9) if front[_PID] else None


class _Lock:
    """A flock whose file names its holder."""

    def __init__(self, path: Path) -> None:
        self._pid = os.getpid()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.posix_fallocate(self._fd, 0, _WORDS.size)  # a full disk is told of now, not by SIGBUS later
        self._map = mmap.mmap(self._fd, _WORDS.size)
        self._words = memoryview(self._map).cast("Q")

    def take(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._sign()

    def take_now(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._sign()
        return True

    def _sign(self) -> None:
        self._words[_SINCE] = monotonic_ns()
        self._words[_PID] = self._pid

    def let_go(self) -> None:
        self._words[_PID] = 0
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        self._words.release()
        self._map.close()
        os.close(self._fd)


def _holding(path: Path) -> tuple[int, int] | None:
    """Pid and since when; None if it is free. The pid is 0 while the holder has not said it, which takes an instant."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        words = os.read(fd, _WORDS.size)
        if len(words) < _WORDS.size or not _is_locked(fd):
            return None
    finally:
        os.close(fd)
    pid, since = _WORDS.unpack(words)
    return (pid, since) if pid and _lives(pid) else (0, 0)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False  # closing the descriptor lets go again; what the file says is of one that died


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True
