"""Stamps: how a process learns that what it remembers of an upload is out of date, without asking anybody.

A file of 2^16 words, mapped into every process; an upload's id says which word is its own, and it shares it with few
others. Whoever changes anything that is remembered puts a value there that never was there before. Whoever remembers
something notes the word *before* reading it, and may use it as long as the word is the same. So a look costs no system
call, and a word that changes for the sake of another upload costs one needless reading.

A value is never used twice: each life of a process counts up from 62 random bits. Words are eight bytes, aligned, and
stored by one instruction each; what has to be seen before a change is done by then, because files and the database are
changed by system calls.
"""

from __future__ import annotations

import mmap
import os
import secrets
from pathlib import Path
from zlib import crc32

WORDS = 1 << 16
_SIZE = WORDS * 8


class Stamps:
    """The words of one data folder, shared by its processes."""

    def __init__(self, path: Path) -> None:
        """Map the file, and make it if it is not there. Raises OSError."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, _SIZE)  # no word of a file that is there already is lost
            self._map = mmap.mmap(fd, _SIZE)
        finally:
            os.close(fd)
        self._words = memoryview(self._map).cast("Q")
        self._last = secrets.randbits(62)

    def of(self, id: str) -> int:
        """The word of an upload. Ids are random, so that the cheapest of hashes spreads them."""
        return self._words[crc32(id.encode()) & WORDS - 1]

    def change(self, id: str) -> None:
        """What anybody remembers of this upload is good no longer. To be called after the change, and before its author
        tells anybody of it."""
        self._last += 1
        self._words[crc32(id.encode()) & WORDS - 1] = self._last

    def change_all(self) -> None:
        """Nothing that anybody remembers is good any longer: a process has died, perhaps between a change and its
        stamp."""
        self._last += 1
        for number in range(WORDS):
            self._words[number] = self._last

    def close(self) -> None:
        self._words.release()
        self._map.close()
