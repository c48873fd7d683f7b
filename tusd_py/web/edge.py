"""The upload port: aiohttp's low-level server, with what it lacks (A36-A39).

A time limit for request heads, limits on connections, and errors of the parser in our own form. What is not under the
base path and belongs to an ordinary Application goes there; everything else is the handler's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from tusd_py.errors import BadRequest, Busy, TusError
from tusd_py.instruments import Instruments
from tusd_py.protocol import replies
from tusd_py.web.answer import Answer, render
from tusd_py.web.cors import Cors
from tusd_py.web.failures import unexpected

HEADROOM = 4 << 10  # 4 KiB above our own limits, so that it is us who refuse a long field, with a proper answer (A12)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Times are seconds, sizes bytes; `per_client` 0 is without a limit."""

    head_timeout: float = 10.0
    keep_alive: float = 75.0
    connections: int = 10_000
    per_client: int = 0
    longest_field: int = 64 << 10


class Connections:
    """Who is connected: counts connections in all and from each client address."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.open = 0
        self._of_client: Counter[str] = Counter()

    def admit(self, client: str) -> bool:
        limits = self.limits
        if self.open >= limits.connections:
            return False
        if limits.per_client and client and self._of_client[client] >= limits.per_client:
            return False
        self.open += 1
        self._of_client[client] += 1
        return True

    def leave(self, client: str) -> None:
        self.open -= 1
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]


class EdgeServer(web.Server):
    """Makes a protocol object for every connection, and a request object for every request."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        cors: Callable[[], Cors],
        connections: Connections,
        instruments: Instruments,
        others: web.Server | None = None,
        other_paths: frozenset[str] = frozenset(),
        handler_cancellation: bool = False,
    ) -> None:
        super().__init__(self._dispatch, request_factory=self._make, handler_cancellation=handler_cancellation)
        self.cors = cors
        self.connections_open = connections
        self.instruments = instruments
        self._uploads = handler
        self._others = others
        self._other_paths = other_paths

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=asyncio.get_running_loop())

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._others is not None and isinstance(request, web.Request):
            return await self._others.request_handler(request)
        return await self._uploads(request)

    def _make(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        if self._others is not None and message.path.partition("?")[0] in self._other_paths:
            return self._others.request_factory(message, payload, protocol, writer, task)
        return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())


class Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ("_client", "_edge", "_head_timer")

    def __init__(self, edge: EdgeServer, loop: asyncio.AbstractEventLoop) -> None:
        limits = edge.connections_open.limits
        super().__init__(
            edge,
            loop=loop,
            keepalive_timeout=limits.keep_alive,
            access_log=None,  # type: ignore[arg-type]  # aiohttp tests it for truth; the handler writes our log
            max_line_size=limits.longest_field + HEADROOM,
            max_field_size=limits.longest_field + HEADROOM,
            auto_decompress=False,  # offsets count the bytes on the wire (A28)
        )
        self._edge = edge
        self._client: str | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        client = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._edge.connections_open.admit(client):
            self._turn_away(cast(asyncio.WriteTransport, transport))
            return
        self._client = client
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._client is not None:
            self._edge.connections_open.leave(self._client)
            self._client = None
        self._unwatch_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            self._unwatch_head()
        elif self._head_timer is None and data and self._current_request is None and not self._messages:
            self._watch_head()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp calls this after every read of a body, where there is almost never anything to resume."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio's contract, which aiohttp narrows
        """A client that has sent a whole request and closed its side is still answered."""
        request = self._current_request
        if request is None or not request.content.is_eof() or self.ssl_context is not None:
            return None
        self.close()
        return True

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What the parser refuses (A13), or what escaped every other net, in the form of all our errors."""
        error: TusError
        if status < 500:
            error = BadRequest("A header field is too long.") if isinstance(exc, LineTooLong) else BadRequest()
        else:
            error = unexpected("-")
        self._edge.instruments.refused(error.status, error.code)
        reply = replies.failed(error, request.method == "HEAD", False)
        also = self._edge.cors().headers(request.headers.get("Origin"), preflight=False)
        return Answer(render(reply, also, request, keep_alive=False), keep_alive=False)

    def _watch_head(self) -> None:
        self._head_timer = self._loop.call_later(self._edge.connections_open.limits.head_timeout, self._head_is_late)

    def _unwatch_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._current_request is None:
            self.force_close()

    def _turn_away(self, transport: asyncio.WriteTransport) -> None:
        """Answer before anything is read, and hang up."""
        self._force_close = True
        self._edge.instruments.refused(Busy.status, Busy.code)
        body = f"{Busy.code}: {Busy.sentence()}\n"
        head = (
            f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {Busy.retry_after}\r\nTus-Resumable: 1.0.0\r\n"
            f"Cache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        transport.write((head + body).encode("ascii"))
        transport.close()
