"""A request's bytes, ending cleanly: whatever goes wrong, the storage sees the end of the input (law 2)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp.http import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from tusd_py.instruments import Instruments
from tusd_py.storage.base import Ending
from tusd_py.storage.body import INLINE_BYTES, LoopGuard, Stream, write_at
from tusd_py.threads import Pool
from tusd_py.web import zero_copy
from tusd_py.web.answer import LINGER_TIME
from tusd_py.web.request import Request
from tusd_py.web.zero_copy import HOP, Hop, Rest, Takeover

T = TypeVar("T")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
RATE_WINDOW = 10.0  # seconds over which the minimum rate is taken
LINGER_BYTES = 16 << 20  # 16 MiB: how far a refused body is read on, so that the client sees the answer
SHORT_LINGER = 1.0  # seconds, for a client that is silent anyway, and when the server is stopping
DROPS = (OSError, RequestPayloadError, HttpProcessingError)


@dataclass(frozen=True, slots=True)
class BodyReader:
    """What all bodies of a server share. `idle_timeout` is seconds, `minimum_rate` bytes a second (0: none)."""

    byte_pool: Pool
    guard: LoopGuard
    instruments: Instruments
    idle_timeout: float = 60.0
    minimum_rate: int = 0
    zero_copy: bool = True

    def read(self, request: Request, announced: int | None, expects_continue: bool) -> RequestBody:
        """`announced` is the body's Content-Length, None for a chunked body."""
        return RequestBody(self, request, announced, expects_continue)


class RequestBody(Stream):
    """The Body of one request, by the ordinary way or, where that is possible and worth it, without a copy."""

    __slots__ = ("_expects_continue", "_left", "_rate_mark", "_request", "_server", "_takeover", "_timeout")

    def __init__(self, server: BodyReader, request: Request, announced: int | None, expects_continue: bool) -> None:
        super().__init__(server.byte_pool, server.guard)
        self._server = server
        self._request = request
        self._left = announced  # bytes that are still to come; None: the end is seen when it comes
        self._expects_continue = expects_continue
        self._timeout: asyncio.Timeout | None = None
        self._rate_mark = (0.0, 0)
        self._takeover: Takeover | None = None

    async def pour(self, fd: int, at: int) -> int:
        if self._is_small():
            return self._pour_small(fd, at)
        if self._can_be_spliced():
            return await self._pour_spliced(fd, at)
        return await super().pour(fd, at)

    @property
    def patience(self) -> float:
        """How many seconds the client may go on sending after its body was ended early."""
        return SHORT_LINGER if self.ended_by in (Ending.IDLE, Ending.STOPPING) else LINGER_TIME

    @property
    def cut_off(self) -> bool:
        """Whether a spliced body ended early, whoever's fault it was, and its client may still be sending."""
        return self._takeover is not None and bool(self._left) and self.ended_by is not Ending.DROPPED

    async def linger(self) -> None:
        """After an early answer, take what the client still sends, or it would see a reset in place of the answer.
        Where aiohttp's parser is in charge, the connection itself does so."""
        if self._takeover is None:
            return
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            async with asyncio.timeout(self.patience):
                await self._pour_away(self._takeover, null)
        except TimeoutError:
            return
        finally:
            os.close(null)

    def close(self) -> None:
        """Let go of the socket. Call it once the answer is written."""
        if self._takeover is not None:
            self._takeover.close()
            self._takeover = None

    @property
    def at_hand(self) -> bool:
        return self._request.content.is_eof()

    # What Stream asks for

    def _complete(self) -> bool:
        return self._request.content.at_eof() if self._left is None else self._left == 0

    def _wake(self) -> None:
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def _arrive(self) -> bytes:
        if self._left == 0:
            return b""  # whatever happens to the connection now, the body is complete (A23)
        self._invite()
        try:
            piece = await self._read()
        except DROPS:
            piece = self._came_before()
            if not piece:
                self._end(Ending.DROPPED)
                return b""
        self._account(len(piece))
        if not piece and self._left:
            self._end(Ending.DROPPED)
        return piece

    def _came_before(self) -> bytes:
        """What aiohttp had read when the connection broke, before anybody asked for it, and now keeps to itself."""
        unread = self._request.content._buffer  # noqa: SLF001  # there is no other way to it
        came = b"".join(unread)
        unread.clear()
        return came

    async def _read(self) -> bytes:
        content = self._request.content
        piece = content.read_nowait()
        if piece or content.at_eof():
            return piece
        if self._request.transport is None:
            raise ConnectionResetError
        return await self._patiently(content.readany()) or b""

    # Waiting

    async def _patiently(self, arrival: Awaitable[T]) -> T | None:
        """What arrives; None when the idle timeout or somebody who wants the upload comes first."""
        self.silent_since = time.monotonic()
        try:
            async with asyncio.timeout(self._server.idle_timeout) as self._timeout:
                return await arrival
        except TimeoutError:
            if self._timeout is None or not self._timeout.expired():
                raise  # the connection's own time-out
            self._end(self._wanted or Ending.IDLE)
            return None
        finally:
            self.silent_since = None
            self._timeout = None

    def _account(self, amount: int) -> None:
        if self._left is not None:
            self._left -= amount
        self._server.instruments.received(amount)
        if self._server.minimum_rate:
            self._check_rate(amount)

    def _check_rate(self, amount: int) -> None:
        now = time.monotonic()
        since, seen = self._rate_mark
        if since == 0.0:
            self._rate_mark = (now, 0)
        elif now - since < RATE_WINDOW:
            self._rate_mark = (since, seen + amount)
        elif seen + amount < self._server.minimum_rate * (now - since):
            self._wanted = self._wanted or Ending.IDLE
        else:
            self._rate_mark = (now, 0)

    def _invite(self) -> None:
        """Send 100 Continue, once, when every check has been passed and the body is wanted (T45, A36)."""
        if self._expects_continue and self._request.transport is not None:
            self._expects_continue = False
            self._request.transport.write(CONTINUE)

    # A small body that is there already: into the page cache at once, where a thread hop would cost more than the rest

    def _is_small(self) -> bool:
        return (
            self._left is not None
            and self._left <= INLINE_BYTES
            and self._digest is None
            and self._wanted is None
            and (self._room is None or self._left <= self._room - self._accepted)
            and self._request.content.is_eof()
            and self._guard.allows(time.monotonic())
        )

    def _pour_small(self, fd: int, at: int) -> int:
        try:
            piece = self._request.content.read_nowait()
        except DROPS:
            piece = self._came_before()
        self._account(len(piece))
        started = time.monotonic()
        written = write_at(fd, piece, at)
        self._guard.spent(started, time.monotonic())
        self.moved += written
        if written < len(piece):
            self._end(Ending.FULL)
        return written

    # The zero-copy way

    def _can_be_spliced(self) -> bool:
        return (
            self._server.zero_copy
            and self._digest is None
            and self._left is not None
            and self._left > zero_copy.THRESHOLD
            and (self._room is None or self._left <= self._room - self._accepted)
            and zero_copy.suits(self._request)
        )

    async def _pour_spliced(self, fd: int, at: int) -> int:
        start = self.moved
        self._invite()
        try:
            takeover = self._takeover = Takeover(self._request)
        except DROPS:
            return await super().pour(fd, at)  # what came before is kept
        try:
            await self._put_buffered(takeover, fd, at)
            while self._left and self.ended_by is None:
                await self._splice(takeover, fd, at + self.moved - start)
        finally:
            self._part_from(takeover)
        return self.moved - start

    async def _put_buffered(self, takeover: Takeover, fd: int, at: int) -> None:
        pieces = takeover.take_buffered()
        for piece in pieces:
            written = await self._write(fd, memoryview(piece), at)
            at += written
            self.moved += written
            self._account(len(piece))
            if written < len(piece):
                self._end(Ending.FULL)
                return

    async def _splice(self, takeover: Takeover, fd: int, at: int) -> None:
        """One round: a little on the loop, and if the socket has more than that, a hop into a thread."""
        if self._wanted is not None:
            self._end(self._wanted)
            return
        rest = Rest.MORE
        if self._guard.allows(started := time.monotonic()):
            little = zero_copy.hop(takeover.socket, fd, at, min(self._left or 0, INLINE_BYTES))
            self._guard.spent(started, time.monotonic())
            rest = self._moved(little)
            at += little.moved
        if rest is Rest.MORE and self._left:
            rest = self._moved(await self._pool.run(zero_copy.hop, takeover.socket, fd, at, min(self._left, HOP)))
        if rest is Rest.DRY and self._left and self._wanted is None:  # it may be wanted since the hop began
            await self._patiently(takeover.readable())

    def _moved(self, hop: Hop) -> Rest:
        self.moved += hop.moved
        self._account(hop.moved)
        if hop.rest is Rest.OVER and self._left:
            self._end(Ending.DROPPED)
        elif hop.rest is Rest.FULL:
            self._end(Ending.FULL)
        return hop.rest

    def _part_from(self, takeover: Takeover) -> None:
        if self._left == 0 and self.ended_by is None:
            takeover.give_back()
        else:
            takeover.abandon()

    async def _pour_away(self, takeover: Takeover, null: int) -> None:
        poured = 0
        while poured < LINGER_BYTES:
            hop = await self._pool.run(zero_copy.hop, takeover.socket, null, None, HOP)
            poured += hop.moved
            if hop.rest is Rest.OVER:
                return
            if hop.rest is Rest.DRY:
                await takeover.readable()
