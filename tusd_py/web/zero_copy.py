"""The same bytes, never entering Python: socket -> pipe -> file by splice(2), in a few threads that hold no GIL.

Everything that touches aiohttp's private attributes lives in this file. `available` looks at the start whether they
are there and whether the upload folder's file system can be spliced into; if not, bodies go the ordinary way.

How a body is taken over: reading is paused, what aiohttp has buffered is handed out (until its parser holds nothing
more, so that all other bytes of the body are still in the socket), then bytes are spliced in hops of up to 16 MiB. On
EAGAIN a *duplicate* of the socket's descriptor is watched, since the loop refuses to watch its own twice. After the
last byte aiohttp's parser, which still waits for the body, is replaced by a fresh one with the same limits, and reading
resumes: keep-alive and pipelining go on as if nothing had been.

Laws: a pipe belongs to a thread, not to an upload (a user may have few), is empty at the end of each hop, and is closed
rather than used again after any error, for bytes left in it would land in the next upload.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
import tempfile
import threading
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from aiohttp.http import HttpRequestParser
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from tusd_py.storage.body import NO_SPACE
from tusd_py.web.request import Request

log = logging.getLogger("tusd_py.web")

THRESHOLD = 256 << 10  # 256 KiB still to come: below, the ordinary way is cheaper
HOP = 16 << 20  # 16 MiB at most in one thread hop, so that a push is heard within milliseconds
PIPE_SIZE = 1 << 20  # 1 MiB, where the user's quota allows it
F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032  # named in fcntl only from Python 3.10 on some builds
SPLICE_F_MOVE, SPLICE_F_NONBLOCK = 1, 2  # linux/splice.h; named in os only from Python 3.12 on
WITHOUT_WAITING = SPLICE_F_MOVE | SPLICE_F_NONBLOCK
PRIVATE = ("_parser", "_read_bufsize", "_max_msg_queue_size", "max_line_size", "max_field_size", "max_headers")


class Rest(Enum):
    """Why a hop ended."""

    MORE = "more"  # the hop is full, the socket may have more
    DRY = "dry"  # the socket has nothing at present
    OVER = "over"  # the client went away
    FULL = "full"  # the disk is full


class Hop(NamedTuple):
    moved: int
    rest: Rest


class _Pipe:
    """A thread's pipe, with the size the system granted; it ends with its thread."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe2(os.O_CLOEXEC)
        try:
            fcntl.fcntl(self.write, F_SETPIPE_SZ, PIPE_SIZE)
        except PermissionError:
            pass  # the user's pipe quota is used up; any size works
        self.size = fcntl.fcntl(self.write, F_GETPIPE_SZ)

    def close(self) -> None:
        for end in (self.read, self.write):
            if end >= 0:
                os.close(end)
        self.read = self.write = -1

    __del__ = close


_of_thread = threading.local()


def _pipe() -> _Pipe:
    pipe: _Pipe | None = getattr(_of_thread, "pipe", None)
    if pipe is None:
        pipe = _of_thread.pipe = _Pipe()
    return pipe


def _throw_away(pipe: _Pipe) -> None:
    pipe.close()
    _of_thread.pipe = None


def hop(source: int, target: int, at: int | None, most: int) -> Hop:
    """Move up to `most` bytes from the socket `source` to `target`, to offset `at` or, if None, wherever it stands.

    Never waits for the socket. Raises OSError for what the disk says, other than being full.
    """
    pipe = _pipe()
    moved = 0
    while moved < most:
        try:
            inside = os.splice(source, pipe.write, min(most - moved, pipe.size), flags=WITHOUT_WAITING)
        except BlockingIOError:
            return Hop(moved, Rest.DRY)
        except ConnectionError:
            return Hop(moved, Rest.OVER)
        except OSError as error:
            _throw_away(pipe)
            log.debug("socket-failed", extra={"error": str(error)})
            return Hop(moved, Rest.OVER)
        if inside == 0:
            return Hop(moved, Rest.OVER)
        try:
            moved += _empty(pipe, inside, target, None if at is None else at + moved)
        except _DiskFull as full:
            return Hop(moved + full.moved, Rest.FULL)
    return Hop(moved, Rest.MORE)


class _DiskFull(Exception):
    def __init__(self, moved: int) -> None:
        self.moved = moved


def _empty(pipe: _Pipe, inside: int, target: int, at: int | None) -> int:
    """Move what is inside the pipe to the target; returns `inside`."""
    done = 0
    try:
        while done < inside:
            offset = None if at is None else at + done
            done += os.splice(pipe.read, target, inside - done, offset_dst=offset, flags=SPLICE_F_MOVE)
    except OSError as error:
        _throw_away(pipe)
        if error.errno in NO_SPACE:
            raise _DiskFull(done) from error
        raise
    return done


class Takeover:
    """A request's socket, taken over from aiohttp for the rest of its body. Close it when done."""

    __slots__ = ("_buffered", "_payload", "_protocol", "_transport", "socket")

    def __init__(self, request: Request) -> None:
        transport = request.transport
        assert transport is not None
        self._payload = request.content
        self._protocol = request.protocol
        self._transport = transport
        self._buffered = self._pause()
        self.socket = os.dup(transport.get_extra_info("socket").fileno())

    def _pause(self) -> list[bytes]:
        """Stop reading; returns what has been read. Each read_nowait lets the parser go on with what it holds itself
        and resumes the transport, so only an empty one means that all the rest is in the socket."""
        buffered = []
        while piece := self._payload.read_nowait():
            buffered.append(piece)
        self._transport.pause_reading()
        return buffered

    def take_buffered(self) -> list[bytes]:
        """What aiohttp had read before the takeover."""
        buffered, self._buffered = self._buffered, []
        return buffered

    async def readable(self) -> None:
        """Wait until the socket has bytes or is over."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self.socket, _set, future)
        try:
            await future
        finally:
            loop.remove_reader(self.socket)

    def give_back(self) -> None:
        """All bytes of the body are out of the socket: let aiohttp go on with the next request."""
        protocol = self._protocol
        if not self._payload.is_eof():  # else the parser saw the end itself and may be in the next head already
            if protocol.transport is not None:
                protocol._parser = _fresh_parser(protocol)
            self._payload.feed_eof()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def abandon(self) -> None:
        """The body ended early: nothing more is read from this connection by aiohttp, which closes it."""
        self._protocol.close()
        self._payload.feed_eof()
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def close(self) -> None:
        os.close(self.socket)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fresh_parser(protocol: RequestHandler) -> HttpRequestParser:
    return HttpRequestParser(
        protocol,
        asyncio.get_running_loop(),
        protocol._read_bufsize,
        max_line_size=protocol.max_line_size,
        max_field_size=protocol.max_field_size,
        max_headers=protocol.max_headers,
        payload_exception=RequestPayloadError,
        auto_decompress=False,
        max_msg_queue_size=protocol._max_msg_queue_size,
    )


def suits(request: Request) -> bool:
    """Whether this request's connection is a plain socket that can be taken over."""
    transport = request.transport
    return transport is not None and transport.get_extra_info("sslcontext") is None


def available(folder: Path) -> str | None:
    """Why bodies cannot be spliced into `folder`, or None if they can. Called once at the start."""
    if not hasattr(os, "splice"):
        return "this system has no splice(2)"
    missing = [name for name in PRIVATE if not _has(name)]
    if missing:
        return f"this aiohttp lacks {', '.join(missing)}"
    try:
        _try_splice(folder)
    except OSError as error:
        return f"splice into {folder} does not work: {error.strerror}"
    return None


def _has(name: str) -> bool:
    return any(name in getattr(cls, "__slots__", ()) or hasattr(cls, name) for cls in RequestHandler.__mro__)


def _try_splice(folder: Path) -> None:
    """A real splice, because a file system without it must be known before bytes are taken from a client."""
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryFile(dir=folder) as file:
        ours.setblocking(False)
        theirs.send(b"splice")
        if hop(ours.fileno(), file.fileno(), 0, 6) != Hop(6, Rest.MORE):
            raise OSError(0, "bytes were lost")
