"""The upload port: aiohttp's low-level server, with what it lacks (A36-A39).

A time limit for request heads, limits on connections, and errors of the parser in our own form. What is not under the
base path and belongs to an ordinary Application goes there; everything else is the handler's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from aiohttp import web
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import ERROR, RequestHandler, _ErrInfo

from tusd_py.errors import BadRequest, Busy, TusError
from tusd_py.instruments import Instruments
from tusd_py.protocol import replies
from tusd_py.web import crowded
from tusd_py.web.answer import LINGER_TIME, Answer, render
from tusd_py.web.body import DROPS, LINGER_BYTES
from tusd_py.web.cors import Cors
from tusd_py.web.failures import request_id, unexpected
from tusd_py.web.handler import RequestLog
from tusd_py.web.request import Request

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


class RequestHandling(Protocol):
    """Whoever answers the requests of the upload port. It never raises, but for a client that is gone."""

    async def __call__(self, request: Request) -> Answer: ...

    def at_once(self, request: Request) -> bytes | None:
        """The whole answer to a request without a body that has to wait for nothing, after which the connection goes
        on; None, and nothing has happened, if it is not one."""


class EdgeServer(web.Server):
    """Makes a protocol object for every connection, and a request object for every request. `others` is the server of
    an ordinary Application, which answers on `other_paths`."""

    def __init__(
        self,
        handler: RequestHandling,
        *,
        cors: Callable[[], Cors],
        connections: Connections,
        instruments: Instruments,
        log: RequestLog,
        others: web.Server | None = None,
        other_paths: frozenset[str] = frozenset(),
        handler_cancellation: bool = False,
    ) -> None:
        super().__init__(handler, handler_cancellation=handler_cancellation)  # type: ignore[arg-type]  # called by us only
        self.handler = handler
        self.cors = cors
        self.connections_open = connections
        self.instruments = instruments
        self.log = log
        self.others = others
        self.other_paths = other_paths

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=asyncio.get_running_loop())


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

    async def start(self) -> None:
        """Serve this connection's requests, one after the other.

        It does what aiohttp's own loop does, without a task and a timer for each request, which small requests would
        feel: the handler runs in the connection's task, keep-alive has one timer a connection.
        What `data_received` has answered already never comes here.
        """
        self._task_handler = asyncio.current_task()
        while not self._force_close:
            if not self._messages:
                await self._next_message()
            message, payload = self._messages.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
            if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                self._resume_reading_if_drained()
            if not await self._serve(message, payload):
                break
        if not self._force_close and self.transport is not None:
            self.transport.close()

    async def _next_message(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _serve(self, message: RawRequestMessage | _ErrInfo, payload: StreamReader) -> bool:
        """Answer one request; whether the connection goes on."""
        task = cast("asyncio.Task[None]", self._task_handler)
        try:
            if isinstance(message, _ErrInfo):
                response: web.StreamResponse = await self._refuse(message, payload)
            elif message.path.partition("?")[0] in self._edge.other_paths:
                response = await self._serve_other(message, payload, task)
            else:
                request = Request(message, payload, self)
                self._current_request, self._request_in_progress = request, True  # type: ignore[assignment]  # to cancel
                try:
                    response = answer = await self._edge.handler(request)
                finally:
                    self._has_responded()
                if not answer.put(request):
                    await request.drain()
            self._keepalive = bool(response.keep_alive)
            if not payload.is_eof():
                await self._linger(payload, response.patience if isinstance(response, Answer) else LINGER_TIME)
        except ConnectionError:
            return False
        except BaseException:
            self.force_close()
            raise
        self._rest()
        return self._keepalive and not self._close and not self._force_close

    def _has_responded(self) -> None:
        self._current_request, self._request_in_progress = None, False
        if self._handler_waiter is not None:
            self._handler_waiter.set_result(None)

    async def _refuse(self, refusal: _ErrInfo, payload: StreamReader) -> Answer:
        """Answer what the parser would not take."""
        request = Request(ERROR, payload, self)
        answer = self.handle_error(request, refusal.status, refusal.exc)
        await answer.send(request)
        return answer

    async def _serve_other(
        self, message: RawRequestMessage, payload: StreamReader, task: asyncio.Task[None]
    ) -> web.StreamResponse:
        """Let the ordinary Application answer, in aiohttp's own way."""
        others = self._edge.others
        assert others is not None
        request = others.request_factory(message, payload, self, StreamWriter(self, self._loop), task)
        response, lost = await self._handle_request(request, None, others.request_handler)
        if lost:
            raise ConnectionResetError
        return response

    async def _linger(self, payload: StreamReader, patience: float) -> None:
        """Read on what the client still sends of a body that was refused, so that it sees the answer (A10, P11)."""
        read = 0
        try:
            async with asyncio.timeout(patience):
                while read < LINGER_BYTES and not payload.is_eof():
                    read += len(await payload.readany())
        except (*DROPS, TimeoutError):
            pass  # gone, or too slow: closed either way
        if not payload.is_eof():
            self.close()

    def _rest(self) -> None:
        """Between two requests; the timer that is there looks at the new time when it fires."""
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

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
        waiter, self._waiter = self._waiter, None  # our task need not be woken for what is answered here
        try:
            super().data_received(data)
        finally:
            self._waiter = waiter
        if self._request_count != before:
            self._unwatch_head()
        elif self._head_timer is None and data and self._current_request is None and not self._messages:
            self._watch_head()
        if waiter is not None and self._messages and not self._answer_at_once() and not waiter.done():
            waiter.set_result(None)

    def _answer_at_once(self) -> bool:
        """Answer the requests that have to wait for nothing, before the connection's task has even been told of them.
        Whether that was all of them."""
        while self._messages:
            message, payload = self._messages[0]
            if payload is not EMPTY_PAYLOAD or isinstance(message, _ErrInfo) or self._paused or self._buffer_paused:
                return False
            answer = self._edge.handler.at_once(Request(message, payload, self))
            transport = self.transport
            if answer is None or transport is None or self._parser is None:
                return False
            self._messages.popleft()
            self._parser.message_consumed()
            transport.write(answer)
        self._rest()
        return True

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
        self,
        request: web.BaseRequest | Request,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Answer:
        """What the parser refuses (A13), or what escaped every other net, in the form of all our errors."""
        error: TusError
        id = request_id(None)
        if status < 500:
            error = BadRequest("A header field is too long.") if isinstance(exc, LineTooLong) else BadRequest()
        else:
            error = unexpected(exc, id)
        self._edge.instruments.refused(error.status, error.code)
        reply = replies.failed(error, request.method == "HEAD", False)
        cors = self._edge.cors().lines(request.headers.get("Origin"), preflight=False)
        also = f"{cors}X-Request-ID: {id}\r\n"
        data = render(reply, also, request, keep_alive=False)
        method, path = ("-", "-") if status < TusError.status else (request.method, request.raw_path)
        self._edge.log.line(method, path, reply.status, 0.0, 0, len(data), self._client or "", id)
        return Answer(data, keep_alive=False)

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
        transport.write(crowded.ANSWER)
        transport.close()
