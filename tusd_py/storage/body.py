"""A body as a stream of chunks, and the ordinary way of its bytes into a file.

`Stream` is what every body shares: the limit, the digest, the polite end. A subclass says only how bytes arrive:
`Chunks` has them in memory (contract tests, verified small chunks), web/body.py takes them from a request.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import AsyncIterator, Iterable

from tusd_py.storage.base import Digest, Ending
from tusd_py.threads import Pool

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
INLINE_BYTES = 64 << 10  # 64 KiB: written on the loop in less time than a hop into a thread takes
INLINE_HASH = 16 << 10  # 16 KiB: likewise
SLOW_INLINE = 0.005  # seconds: an inline write that takes longer than this
SLOW_IN_A_ROW = 3
VERY_SLOW_INLINE = 0.05  # seconds: once is enough
REST_AFTER_SLOW = 5.0  # seconds without inline writes after that
NOTHING = memoryview(b"")


class LoopGuard:
    """Keeps slow disks off the event loop: after slow inline calls, calls go through threads for some seconds.

    One slow call may be the scheduler's or another thread's doing; a slow disk shows in several in a row.
    """

    __slots__ = ("_resting_until", "_slow")

    def __init__(self) -> None:
        self._resting_until = 0.0
        self._slow = 0

    def allows(self, now: float) -> bool:
        return now >= self._resting_until

    def spent(self, started: float, ended: float) -> None:
        if ended - started <= SLOW_INLINE:
            self._slow = 0
            return
        self._slow += 1
        if self._slow >= SLOW_IN_A_ROW or ended - started > VERY_SLOW_INLINE:
            self._slow = 0
            self._resting_until = ended + REST_AFTER_SLOW


def write_at(fd: int, data: bytes | memoryview, at: int, digest: Digest | None = None) -> int:
    """Write all of `data` at offset `at`, or as much as the disk has room for; returns the bytes written.

    Raises OSError for everything but a full disk.
    """
    size = len(data)
    done = 0
    while done < size:
        try:
            done += os.pwrite(fd, memoryview(data)[done:] if done else data, at + done)
        except OSError as error:
            if error.errno in NO_SPACE:
                break
            raise
    if digest is not None:
        digest.update(memoryview(data)[:done])
    return done


class Stream:
    """A Body over bytes that arrive one piece after the other (see storage/base.Body for its laws).

    A limited body of unknown length keeps back the one byte that would fill its room until it knows whether the body
    ends there: a body that turns out to be too long must not complete an upload that it is refused for (D13).
    """

    __slots__ = (
        "_accepted",
        "_digest",
        "_guard",
        "_held_back",
        "_pool",
        "_room",
        "_wanted",
        "ended_by",
        "moved",
        "silent_since",
    )

    def __init__(self, pool: Pool, guard: LoopGuard) -> None:
        self.ended_by: Ending | None = None
        self.moved = 0
        self.silent_since: float | None = None
        self._pool = pool
        self._guard = guard
        self._room: int | None = None
        self._accepted = 0  # bytes let into the room, moved or about to be
        self._held_back = NOTHING
        self._digest: Digest | None = None
        self._wanted: Ending | None = None

    # What a subclass says

    async def _arrive(self) -> bytes | memoryview:
        """The next bytes; empty at the end, after _end(why) if it came early."""
        raise NotImplementedError

    def _complete(self) -> bool:
        """Whether all bytes of this body are known to have arrived."""
        raise NotImplementedError

    def _wake(self) -> None:
        """End a wait in _arrive, if there can be one: somebody wants the body to end."""

    # What everybody calls

    @property
    def at_hand(self) -> bool:
        return self._complete()

    def at_most(self, room: int | None) -> Stream:
        self._room = room
        return self

    def hashed(self, digest: Digest) -> Stream:
        self._digest = digest
        return self

    def let_go(self, why: Ending) -> None:
        if self.ended_by is None and self._wanted is None and not self._complete():
            self._wanted = why
            self._wake()

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        while len(piece := await self._take()):
            await self._hash(piece)
            yield piece
            self.moved += len(piece)

    async def pour(self, fd: int, at: int) -> int:
        start = self.moved
        while len(piece := await self._take()):
            written = await self._write(fd, piece, at + self.moved - start)
            self.moved += written
            if written < len(piece):
                self._end(Ending.FULL)
                break  # a byte that is held back belongs behind those that did not fit
        return self.moved - start

    # The pieces of it

    def _end(self, why: Ending) -> None:
        if self.ended_by is None:
            self.ended_by = why

    async def _take(self) -> memoryview:
        """The next bytes that there is room for; empty at the end."""
        if self.ended_by is None and self._wanted is not None and not self._complete():
            self._end(self._wanted)
        if self.ended_by is not None or self._complete():
            return self._release()
        if self._room is None:
            return memoryview(await self._arrive())
        return await self._take_limited(self._room)

    async def _take_limited(self, room: int) -> memoryview:
        while piece := memoryview(await self._arrive()):
            left = room - self._accepted
            if len(piece) > left or self._held_back:
                self._held_back = NOTHING
                self._end(Ending.TOO_LONG)
                piece = piece[: max(0, left - 1)]
            elif len(piece) == left and not self._complete():
                self._held_back, piece = piece[-1:], piece[:-1]
                if not piece:
                    continue
            self._accepted += len(piece)
            return piece
        return self._release()

    def _release(self) -> memoryview:
        held, self._held_back = self._held_back, NOTHING
        return held

    async def _hash(self, piece: memoryview) -> None:
        if self._digest is None:
            return
        if len(piece) <= INLINE_HASH:
            self._digest.update(piece)
        else:
            await self._pool.run(self._digest.update, piece)

    async def _write(self, fd: int, piece: memoryview, at: int) -> int:
        started = time.monotonic()
        if len(piece) > INLINE_BYTES or self._digest is not None or not self._guard.allows(started):
            return await self._pool.run(write_at, fd, piece, at, self._digest)
        written = write_at(fd, piece, at)
        self._guard.spent(started, time.monotonic())
        return written


class Chunks(Stream):
    """A Body over bytes that are in memory already."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: Iterable[bytes | memoryview], pool: Pool, guard: LoopGuard) -> None:
        super().__init__(pool, guard)
        self._chunks = [chunk for chunk in chunks if chunk]
        self._chunks.reverse()

    async def _arrive(self) -> bytes | memoryview:
        return self._chunks.pop() if self._chunks else b""

    def _complete(self) -> bool:
        return not self._chunks
