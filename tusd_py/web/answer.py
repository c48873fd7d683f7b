"""A Reply on the wire: one write for head and body, without the header objects of a web framework."""

from __future__ import annotations

import time
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_exceptions import ClientConnectionResetError
from aiohttp.http import HttpVersion10

from tusd_py import __version__
from tusd_py.protocol.fields import http_date
from tusd_py.protocol.replies import Reply
from tusd_py.web.request import Request

_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {460: "Checksum Mismatch"}  # T47
_STATUS_LINES = {status: f"HTTP/1.1 {status} {phrase}\r\n" for status, phrase in _PHRASES.items()}
LINGER_TIME = 10.0  # seconds: how long a refused body is read on, so that the client sees the answer
_WITHOUT_LENGTH = (204, 304)


class _Clock:
    """The lines that all answers of one second share."""

    second = 0
    lines = ""

    @classmethod
    def now(cls) -> str:
        second = int(time.time())
        if second != cls.second:
            cls.second = second
            cls.lines = f"Date: {http_date(second)}\r\nServer: tusd-py/{__version__}\r\n"
        return cls.lines


def render(
    reply: Reply, also: str, request: Request | web.BaseRequest, *, keep_alive: bool, length: int | None = None
) -> bytes:
    """The bytes of the whole response; `also` are more header lines. Framing follows the method on the wire, not the
    one that overrides it (T12); `length` is announced in place of the body's when the body is sent separately."""
    on_head = request.method == "HEAD"
    framing = ""
    if reply.status not in _WITHOUT_LENGTH and not on_head:
        framing = f"Content-Length: {len(reply.body) if length is None else length}\r\n"
    if not keep_alive:
        framing += "Connection: close\r\n"
    elif request.version == HttpVersion10:
        framing += "Connection: keep-alive\r\n"
    head = f"{_STATUS_LINES[reply.status]}{_Clock.now()}{reply.lines}{also}{framing}\r\n".encode("ascii")
    return head if on_head else head + reply.body


class Answer(web.StreamResponse):
    """Bytes that are ready, written once, by whoever sends it first. `patience` is how many seconds a client may go on
    sending a body that was refused. Nothing of the parent's is used; it is one, because aiohttp asks us for answers to
    what goes wrong in its own loop, and sends them in its own way."""

    def __init__(self, data: bytes, *, keep_alive: bool, patience: float = LINGER_TIME) -> None:
        self._data: bytes | None = data
        self._keep_alive = keep_alive
        self.patience = patience

    def take(self) -> bytes:
        """The bytes, for one who sends them in a way of his own."""
        data, self._data = self._data, None
        return data or b""

    async def send(self, request: Request) -> None:
        """Raises ConnectionError if the client is gone."""
        if not self.put(request):
            await request.drain()

    def put(self, request: Request) -> bool:
        """Whether the client takes what it is sent; if not, wait for `request.drain`. Raises ConnectionError if it is
        gone."""
        data, self._data = self._data, None
        if data is None:
            return True
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client went away")
        transport.write(data)
        return not request.protocol.writing_paused

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """aiohttp's own way."""
        if self._data is not None and request.transport is not None:
            request.transport.write(self._data)
        self._data = None
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything was written by prepare."""
