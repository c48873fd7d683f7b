"""What the kernel keeps: who of the processes of this host holds which upload.

A lock is one byte range of one of 64 files (the kernel walks a list for each file, so the lists stay short), taken
through an open file description, so that nothing but its own process's end or release frees it, and `kill -9` does.
An id's hash says which file and which offset. F_OFD_GETLK tells the length of the range in the way but no process
(l_pid is -1): therefore the *length* names the holder, as its slot + 1. Places are 256 bytes apart, because the kernel
merges ranges that touch.

A process claims a slot for its life by such a lock too. Open all this in the process that uses it: a child that
inherited the files would share their locks. Linux, and file systems of the host itself; not NFS.
"""

from __future__ import annotations

import fcntl
import os
import struct
from hashlib import blake2b
from pathlib import Path

from tusd_py.errors import StartError, Unavailable

FILES = 64
APART = 256  # bytes between two places, and so more than there are slots
SLOTS = 255
_FLOCK = struct.Struct("hhqqi4x")  # struct flock on 64-bit Linux: type, whence, start, length, pid


def key_of(name: str) -> int:
    """64 bits of hash. Two names with the same key would be one lock; 58 bits of it count."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


class Ranges:
    """The lock files of one folder, and this process's slot. Opening it may raise OSError; the rest Unavailable."""

    def __init__(self, folder: Path) -> None:
        self._files = [_opened(folder / f"{number:02x}") for number in range(FILES)]
        self._slots = _opened(folder / "slots")
        self.slot = self._claim()

    def take(self, key: int) -> bool:
        """Lock it for this process, unless another has it."""
        return _locked(self._files[key % FILES], _start(key), self.slot + 1)

    def release(self, key: int) -> None:
        _fcntl(self._files[key % FILES], fcntl.F_OFD_SETLK, fcntl.F_UNLCK, _start(key), APART)

    def holder(self, key: int) -> int | None:
        """The slot of the other process that has it at this moment."""
        told = _fcntl(self._files[key % FILES], fcntl.F_OFD_GETLK, fcntl.F_WRLCK, _start(key), 1)
        return None if told is None or told[0] == fcntl.F_UNLCK else told[1] - 1

    def close(self) -> None:
        for fd in (*self._files, self._slots):
            os.close(fd)

    def _claim(self) -> int:
        for slot in range(SLOTS):
            if _locked(self._slots, 2 * slot, 1):
                return slot
        raise StartError(f"More than {SLOTS} processes use one upload folder.")


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _start(key: int) -> int:
    return (key // FILES & (1 << 52) - 1) * APART


def _locked(fd: int, start: int, length: int) -> bool:
    return _fcntl(fd, fcntl.F_OFD_SETLK, fcntl.F_WRLCK, start, length) is not None


def _fcntl(fd: int, command: int, kind: int, start: int, length: int) -> tuple[int, int] | None:
    """Ask the kernel; returns the kind and the length of the lock that it tells of, None if one is in the way."""
    try:
        told = fcntl.fcntl(fd, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    except BlockingIOError:
        return None
    except OSError as error:  # for instance ENOLCK
        raise Unavailable from error
    kind, _, _, length, _ = _FLOCK.unpack(told)
    return kind, length
