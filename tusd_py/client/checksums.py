"""A chunk whose checksum goes with it: read and hashed before its first byte is sent."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode

from tusd_py.client.sources import Source


class CheckedChunk:
    """The bytes [start, stop) of a source, in memory; a source itself, but only of these."""

    def __init__(self, start: int, data: bytes, field: str) -> None:
        self.field = field  # Upload-Checksum
        self._start = start
        self._data = data

    @classmethod
    async def take(cls, source: Source, start: int, stop: int, algorithm: str) -> CheckedChunk:
        data = await source.read(start, stop)
        return cls(start, data, await asyncio.to_thread(checksum, data, algorithm))

    async def read(self, start: int, stop: int) -> bytes:
        return self._data[start - self._start : stop - self._start]

    async def more(self, offset: int) -> tuple[int, bool]:
        raise AssertionError("a chunk is complete")


def checksum(data: bytes, algorithm: str) -> str:
    """The value of Upload-Checksum (T86)."""
    digest = hashlib.new(algorithm, data, usedforsecurity=False).digest()
    return f"{algorithm} {b64encode(digest).decode('ascii')}"
