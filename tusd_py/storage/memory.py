"""The twin of local.py that keeps bytes in memory: for tests, trials and as the shortest example of a back end."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from tusd_py.errors import Unavailable, UploadFailed
from tusd_py.storage.base import Body, Extent, Keep
from tusd_py.upload import Upload


class _Attempt:
    kept = False

    def keep(self) -> None:
        self.kept = True


class MemoryStorage:
    """Uploads as bytearrays. Nothing survives the process, so nothing is promised beyond it."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._bytes: dict[str, bytearray] = {}
        self._touched: dict[str, float] = {}
        self._floors: dict[str, int] = {}

    async def create(self, upload: Upload, *, bytes_follow: bool = False) -> Upload:
        if upload.id in self._bytes:
            raise Unavailable("An upload with this id exists already.")
        self._bytes[upload.id] = bytearray()
        self._touched[upload.id] = self._clock()
        return upload

    async def extent(self, upload: Upload) -> Extent:
        return self.glance(upload)

    def glance(self, upload: Upload) -> Extent:
        stored = self._stored(upload)
        return Extent(self._floors.get(upload.id, len(stored)), self._touched[upload.id])

    async def append(self, upload: Upload, at: int, body: Body, keep: Keep) -> int:
        stored = self._stored(upload)
        async for piece in body:
            stored += piece
            self._touched[upload.id] = self._clock()
        return len(stored)

    async def finish(self, upload: Upload) -> None:
        self._stored(upload)

    async def read(self, upload: Upload, start: int, stop: int) -> AsyncGenerator[memoryview, None]:
        yield memoryview(bytes(self._stored(upload)[start:stop]))

    async def delete(self, upload: Upload) -> None:
        self._bytes.pop(upload.id, None)
        self._touched.pop(upload.id, None)

    async def strays(self, before: float) -> AsyncIterator[str]:
        for id, touched in list(self._touched.items()):
            if touched < before:
                yield id

    async def close(self) -> None:
        self._bytes.clear()

    @asynccontextmanager
    async def tentative(self, upload: Upload, at: int) -> AsyncIterator[_Attempt]:
        attempt = _Attempt()
        self._floors[upload.id] = at
        try:
            yield attempt
        finally:
            if not attempt.kept:
                del self._stored(upload)[at:]
            del self._floors[upload.id]

    async def join(self, upload: Upload, parts: Sequence[Upload]) -> int:
        joined = bytearray().join(self._stored(part) for part in parts)
        self._bytes[upload.id] = joined
        self._touched[upload.id] = self._clock()
        return len(joined)

    def _stored(self, upload: Upload) -> bytearray:
        try:
            return self._bytes[upload.id]
        except KeyError:
            raise UploadFailed from None
