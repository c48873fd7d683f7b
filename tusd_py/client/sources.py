"""Where the bytes come from: a file, which can be read again from anywhere, or a stream, which cannot."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from tusd_py.client.failures import Misanswered, SourceChanged, SourceUnreadable

WINDOW = 16 << 20  # bytes of a stream that are kept until the server has them


class Source(Protocol):
    """Bytes by their place in the upload."""

    async def read(self, start: int, stop: int) -> bytes:
        """Just these bytes. Raises SourceChanged or SourceUnreadable."""

    async def more(self, offset: int) -> tuple[int, bool]:
        """Get more, forgetting what is before `offset`; returns where the bytes end now, and whether for good."""


class Identity(NamedTuple):
    """What makes a file the same one as before: a change of any of it is another file."""

    path: str
    size: int  # bytes
    changed: int  # ns since the epoch
    inode: int


class File:
    """A file that must not change while it is sent. Use it as a context; several tasks may read at once."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        try:
            self._file = self._path.open("rb", buffering=0)
        except OSError as error:
            raise SourceUnreadable(f"{self._path} cannot be read: {error.strerror}") from error
        self.identity = self._identify()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def part(self, start: int) -> Source:
        """The file from `start` on, as the source of an upload of its own."""
        return _Part(self, start)

    async def read(self, start: int, stop: int) -> bytes:
        return await asyncio.to_thread(self._read, start, stop)

    def check(self) -> None:
        """Raises SourceChanged if this is no longer the file that was opened."""
        if self._identify() != self.identity:
            raise SourceChanged(f"{self._path} was changed while it was being sent; send it again")

    def _read(self, start: int, stop: int) -> bytes:
        pieces = []
        while start < stop:
            try:
                piece = os.pread(self._file.fileno(), stop - start, start)
            except OSError as error:
                raise SourceUnreadable(f"{self._path} cannot be read: {error.strerror}") from error
            if not piece:
                raise SourceChanged(f"{self._path} became shorter while it was being sent")
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces) if len(pieces) > 1 else pieces[0] if pieces else b""

    def _identify(self) -> Identity:
        status = os.fstat(self._file.fileno())
        return Identity(str(self._path.absolute()), status.st_size, status.st_mtime_ns, status.st_ino)


class _Part:
    def __init__(self, file: File, start: int) -> None:
        self._file = file
        self._start = start

    async def read(self, start: int, stop: int) -> bytes:
        return await self._file.read(self._start + start, self._start + stop)

    async def more(self, offset: int) -> tuple[int, bool]:
        raise AssertionError("the length of a file is known")


class Stream:
    """Bytes that come once. What the server has not acknowledged is kept: at most WINDOW bytes and one piece."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._kept = bytearray()
        self._start = 0

    async def read(self, start: int, stop: int) -> bytes:
        if start < self._start:
            raise Misanswered("the server lost bytes that it had acknowledged, and a stream cannot give them again")
        return bytes(self._kept[start - self._start : stop - self._start])

    async def more(self, offset: int) -> tuple[int, bool]:
        del self._kept[: offset - self._start]
        self._start = offset
        complete = False
        while len(self._kept) < WINDOW and not complete:
            piece = await anext(self._pieces, None)
            complete = piece is None
            self._kept += piece or b""
        return self._start + len(self._kept), complete
