"""What processes tell each other about a lock: datagrams from slot to slot.

Nobody relies on one that was sent: the receiver's queue holds ten (net.unix.max_dgram_qlen), and a process may die
with notes unread. Whoever waits looks again by itself (host.py).
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

_NOTE = struct.Struct("=BBqQ")
AT_ONCE = 64  # notes read before others get the event loop


class Word(IntEnum):
    WANT = 1  # I want this lock
    LOOK = 2  # likewise, if you have been silent
    FREE = 3  # I do not hold it, or no longer
    BUSY = 4  # I am at work and do not give way to one who looks


class Note(NamedTuple):
    word: int
    slot: int  # of the sender
    arrival: int  # when who asks came, in ns of the monotonic clock, which all processes share
    key: int


class Post:
    """One process's letter box, and the way to the others'."""

    def __init__(self, folder: Path, slot: int, read: Callable[[Note], None]) -> None:
        """Must be called on the event loop, by the owner of the slot. Raises OSError."""
        self._name = f"{slot}.sock"
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._unlink()  # left by a process that had this slot before
        self._socket.bind(self._address(slot))
        self._loop.add_reader(self._socket, self._arrived)

    def send(self, slot: int, note: Note) -> bool:
        """Whether it is in the other's letter box, which is full or gone if not."""
        try:
            self._socket.sendto(_NOTE.pack(*note), self._address(slot))
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._unlink()
        self._socket.close()
        os.close(self._folder)

    def _address(self, slot: int) -> str:
        return f"/proc/self/fd/{self._folder}/{slot}.sock"  # the path of a socket has at most 108 bytes

    def _unlink(self) -> None:
        try:
            os.unlink(self._name, dir_fd=self._folder)
        except FileNotFoundError:
            return

    def _arrived(self) -> None:
        for _ in range(AT_ONCE):
            try:
                data = self._socket.recv(_NOTE.size)
            except BlockingIOError:
                return
            if len(data) == _NOTE.size:
                self._read(Note(*_NOTE.unpack(data)))
