"""A finished upload on its way to a client.

On a plain socket, and where the storage has an open file to offer, bytes go by sendfile: what the transport still has
is flushed, then head and bytes are written to a *duplicate* of the socket, which the loop lets us watch; nobody else
writes meanwhile, since a connection's requests are answered one after the other. All else goes through the transport.

No lock is held. The file is open before the head is sent, so an upload may be deleted while it is read. A client may be
as slow as it likes; one that takes nothing at all for `idle_timeout` is hung up on.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import socket
import termios
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from aiohttp.client_exceptions import ClientConnectionResetError

from tusd_py.errors import TusError
from tusd_py.protocol.downloads import Delivery, Offer, deliver
from tusd_py.protocol.ranges import Span
from tusd_py.protocol.replies import Reply
from tusd_py.storage.body import INLINE_BYTES, LoopGuard
from tusd_py.threads import Pool
from tusd_py.upload import Upload
from tusd_py.uploads.service import Uploads
from tusd_py.web import zero_copy
from tusd_py.web.request import Request
from tusd_py.web.sendfile import Parcel, Rest, hop, size_of

log = logging.getLogger("tusd_py.web")

BLOCK = 256 << 10  # 256 KiB: read at once where bytes go through Python


class Downloads:
    """What all downloads of a server share. `idle_timeout` is seconds."""

    def __init__(
        self, uploads: Uploads, byte_pool: Pool, guard: LoopGuard, offer: Offer, *, idle_timeout: float, sendfile: bool
    ) -> None:
        self.offer = offer
        self.byte_pool = byte_pool
        self.guard = guard
        self.idle_timeout = idle_timeout
        self.sendfile = sendfile
        self._uploads = uploads

    def prepare(self, upload: Upload, request: Request) -> Sending:
        """Decide what is sent, and open it. Raises TusError."""
        delivery = deliver(upload, request.headers, self.offer, _boundary)
        if not delivery.length or request.method == "HEAD":  # a method may be overridden, framing may not (T12)
            return Sending(self, upload, delivery, None, None)
        return Sending(self, upload, delivery, delivery.length, self._uploads.open(upload))

    def read(self, upload: Upload, file: int | None, span: Span) -> AsyncGenerator[bytes | memoryview, None]:
        """The bytes of a span, by the descriptor if there is one."""
        return self._uploads.read(upload, *span) if file is None else self._read_open(file, span)

    async def _read_open(self, file: int, span: Span) -> AsyncGenerator[bytes | memoryview, None]:
        at = span.start
        while at < span.stop:
            piece = await self.byte_pool.run(os.pread, file, min(BLOCK, span.stop - at), at)
            if not piece:
                raise OSError("the file ends too early")
            yield piece
            at += len(piece)


class Sending:
    """One answer to a GET. `length` is that of what follows the head, None if nothing does. Close it when done."""

    __slots__ = ("_delivery", "_file", "_server", "_upload", "length")

    def __init__(
        self, server: Downloads, upload: Upload, delivery: Delivery, length: int | None, file: int | None
    ) -> None:
        self.length = length
        self._server = server
        self._upload = upload
        self._delivery = delivery
        self._file = file

    @property
    def reply(self) -> Reply:
        return self._delivery.reply

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    async def send(self, request: Request, head: bytes) -> None:
        """Send head and bytes. When that cannot be brought to its end, the connection is cut, so that nobody takes what
        came for the whole."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client went away")
        try:
            await self._send(request, Parcel((head, *self._delivery.pieces)))
        except (OSError, TusError) as error:  # TimeoutError and ConnectionError are OSErrors
            if not isinstance(error, ConnectionError | TimeoutError):
                log.warning("download-failed", extra={"id": self._upload.id, "error": str(error)})
            transport.abort()
            request.protocol.force_close()

    async def _send(self, request: Request, parcel: Parcel) -> None:
        if self._file is not None and self._server.sendfile and zero_copy.suits(request):
            await self._send_by_kernel(request, self._file, parcel)
        if parcel:
            await self._send_through_transport(request, parcel)

    async def _send_by_kernel(self, request: Request, file: int, parcel: Parcel) -> None:
        """Ends early, having sent nothing of a file, if it cannot be sent in this way."""
        await _flush(request, self._server.idle_timeout)
        with _duplicate(request) as outlet:
            while (rest := await self._hop(outlet, file, parcel)) in (Rest.FULL, Rest.MORE):
                if rest is Rest.FULL:
                    await _room(outlet, request, self._server.idle_timeout)
        if rest is Rest.SHORT:
            raise OSError("the file ends too early")

    async def _hop(self, outlet: socket.socket, file: int, parcel: Parcel) -> Rest:
        """A little that is at hand is sent in less time than a hop into a thread takes."""
        started = time.monotonic()
        if parcel.size > INLINE_BYTES or not self._server.guard.allows(started):
            return await self._server.byte_pool.run(hop, outlet, file, parcel)
        rest = hop(outlet, file, parcel, moment=0)
        self._server.guard.spent(started, time.monotonic())
        return rest

    async def _send_through_transport(self, request: Request, parcel: Parcel) -> None:
        while parcel:
            piece = parcel.first
            parcel.sent(size_of(piece))
            if isinstance(piece, bytes):
                await self._write(request, piece)
                continue
            async with aclosing(self._server.read(self._upload, self._file, piece)) as blocks:
                async for block in blocks:
                    await self._write(request, block)

    async def _write(self, request: Request, data: bytes | memoryview) -> None:
        if request.transport is None:
            raise ConnectionResetError
        request.transport.write(data)
        if request.protocol.writing_paused:
            await _drained(request, self._server.idle_timeout)


def _boundary() -> str:
    return secrets.token_hex(16)


async def _flush(request: Request, idle_timeout: float) -> None:
    """Wait until the transport has nothing left of earlier answers: what we write goes behind them."""
    transport = request.transport
    assert transport is not None
    if transport.get_write_buffer_size() == 0:
        return
    transport.set_write_buffer_limits(0)
    try:
        await _drained(request, idle_timeout)
    finally:
        transport.set_write_buffer_limits()
    if transport.get_write_buffer_size():
        raise ConnectionResetError  # lost before it was flushed


def _duplicate(request: Request) -> socket.socket:
    """Of the socket of a connection, which stays open as long as this."""
    transport = request.transport
    assert transport is not None
    own = cast(socket.socket, transport.get_extra_info("socket"))
    return socket.socket(own.family, own.type, own.proto, fileno=os.dup(own.fileno()))


async def _drained(request: Request, idle_timeout: float) -> None:
    """Wait until the transport takes bytes."""
    task = asyncio.ensure_future(request.drain())
    try:
        await _patiently(task, request, idle_timeout)
    finally:
        task.cancel()


async def _room(outlet: socket.socket, request: Request, idle_timeout: float) -> None:
    """Wait until the socket takes bytes, or its client is gone."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.add_writer(outlet.fileno(), _set, future)
    try:
        await _patiently(future, request, idle_timeout)
    finally:
        loop.remove_writer(outlet.fileno())


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _patiently(future: asyncio.Future[None], request: Request, idle_timeout: float) -> None:
    """Wait for a client. Raises TimeoutError once it has taken nothing for `idle_timeout`, ConnectionError if it is
    gone. How much it has not taken is asked of the socket: a large buffer has room for more only after a long while."""
    unsent = _unsent(request)
    while not (await asyncio.wait((future,), timeout=idle_timeout))[0]:
        before, unsent = unsent, _unsent(request)
        if unsent >= before:
            raise TimeoutError
    await future
    if request.transport is None or request.transport.is_closing():
        raise ConnectionResetError


def _unsent(request: Request) -> int:
    """Bytes that were written and not yet taken by the client's side. Raises ConnectionError if it is gone."""
    transport = request.transport
    if transport is None or transport.is_closing():  # its descriptor may be another's by now
        raise ConnectionResetError
    count = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return transport.get_write_buffer_size() + int.from_bytes(count, "little")
