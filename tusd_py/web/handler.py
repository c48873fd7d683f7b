"""request -> command -> service -> reply: the way of every request to an upload URL."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import aclosing
from typing import Protocol, assert_never

from aiohttp import web
from aiohttp.http import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD

from tusd_py.errors import NotFound, RangeNotSatisfiable, TusError
from tusd_py.instruments import Instruments
from tusd_py.protocol import replies, tus
from tusd_py.protocol.commands import (
    Append,
    Command,
    Concatenate,
    Create,
    Describe,
    Download,
    Faulty,
    Inspect,
    Terminate,
)
from tusd_py.protocol.replies import Reply
from tusd_py.storage.base import Body
from tusd_py.upload import State, Upload, is_id
from tusd_py.uploads.service import Uploads
from tusd_py.web.answer import Answer, render
from tusd_py.web.body import BodyReader, RequestBody
from tusd_py.web.cors import Cors
from tusd_py.web.failures import failed, request_id, unexpected
from tusd_py.web.forwarded import Locations


class RequestLog(Protocol):
    """Where a line goes for every answered request."""

    def line(
        self, method: str, path: str, status: int, seconds: float, received: int, sent: int, peer: str, request_id: str
    ) -> None: ...


class Handler:
    """Handles the requests of the upload port. `base_path` begins and ends with a slash."""

    def __init__(
        self,
        uploads: Uploads,
        bodies: BodyReader,
        cors: Cors,
        locations: Locations,
        instruments: Instruments,
        log: RequestLog,
        *,
        base_path: str,
    ) -> None:
        self.cors = cors
        self._uploads = uploads
        self._bodies = bodies
        self._locations = locations
        self._instruments = instruments
        self._log = log
        self._base_path = base_path
        self._creation_paths = (base_path, base_path.rstrip("/"), "*")

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        exchange = Exchange(request)
        try:
            try:
                reply = await self._perform(self._understand(exchange), exchange)
            except TusError as error:
                reply = self._failed(error, exchange)
            except Exception as defect:  # noqa: BLE001  # the supervisor at the request edge
                reply = self._failed(unexpected(defect, exchange.id), exchange)
            answer = self._answer(exchange, reply)
            if exchange.stream is not None or (exchange.body is not None and exchange.body.cut_off):
                await self._answer_now(exchange, answer)
            return answer
        finally:
            if exchange.body is not None:
                exchange.body.close()

    def _failed(self, error: TusError, exchange: Exchange) -> Reply:
        if error.created is not None:
            error.location = self._locations.url(exchange.request, error.created)
        return failed(error, exchange.method, exchange.request, self._instruments)

    def _understand(self, exchange: Exchange) -> Command:
        """The override comes before everything else that looks at the method (T13), then CORS, then the headers."""
        headers = exchange.request.headers
        exchange.method = tus.effective_method(exchange.method, headers.get("X-HTTP-Method-Override"))
        id = self._id_in(exchange.request.raw_path)
        if exchange.origin is not None:
            self.cors.check(exchange.origin)
        command = tus.parse(exchange.method, id, headers.items(), self._uploads.limits)
        self._instruments.requested(exchange.method)
        return command

    def _id_in(self, raw_path: str) -> str | None:
        """The id in an upload URL, None for the creation URL. Nothing is decoded: what is not an id is not found."""
        path = raw_path.partition("?")[0]
        if not path.startswith("/") and path != "*":
            path = _AUTHORITY.sub("", path, count=1) or "/"  # absolute-form
        id = path.removeprefix(self._base_path)
        if len(id) != len(path) and is_id(id):
            return id
        if path in self._creation_paths:
            return None
        raise NotFound

    async def _perform(self, command: Command, exchange: Exchange) -> Reply:
        uploads, request = self._uploads, exchange.request
        match command:
            case Inspect():
                progress = await uploads.inspect(command)
                return replies.inspected(progress.upload, progress.offset, progress.expires, uploads.limits)
            case Append():
                progress = await uploads.append(command, self._body(exchange, command.body))
                return replies.appended(progress.offset, progress.expires)
            case Create():
                progress = await uploads.create(command, self._body(exchange, command.body))
                url = self._locations.url(request, progress.upload.id)
                return replies.created(url, progress.offset, progress.expires)
            case Concatenate():
                progress = await uploads.concatenate(command)
                offset = progress.offset if progress.upload.state is State.FINISHED else None
                url = self._locations.url(request, progress.upload.id)
                return replies.created(url, offset, progress.expires)
            case Terminate():
                await uploads.terminate(command)
                return replies.terminated()
            case Download():
                return await self._download(await uploads.download(command), exchange)
            case Describe():
                return replies.described(uploads.limits)
            case Faulty():
                await uploads.refuse(command)
                raise command.fault
            case _:
                assert_never(command)

    def _body(self, exchange: Exchange, announced: int | None) -> Body:
        request = exchange.request
        expects = request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11
        exchange.body = self._bodies.read(request, announced, expects)
        return exchange.body

    # The answer

    def _answer(self, exchange: Exchange, reply: Reply) -> Answer:
        request = exchange.request
        cors = self.cors.lines(exchange.origin, preflight=exchange.method == "OPTIONS")
        also = f"{cors}X-Request-ID: {exchange.id}\r\n"
        keep_alive = request.keep_alive and not reply.close and not _leaves_a_mess(request)
        data = render(reply, also, request, keep_alive=keep_alive, length=exchange.length)
        self._note(exchange, reply, len(data))
        if exchange.body is None:
            return Answer(data, keep_alive=keep_alive)
        return Answer(data, keep_alive=keep_alive, patience=exchange.body.patience)

    async def _answer_now(self, exchange: Exchange, answer: Answer) -> None:
        """Send the head at once, because more has to be done after it."""
        try:
            await answer.prepare(exchange.request)
            if exchange.stream is not None:
                await self._stream(exchange)
            elif exchange.body is not None:
                await exchange.body.linger()
        except (ConnectionError, TimeoutError):
            exchange.request.protocol.force_close()  # nobody is listening

    def _note(self, exchange: Exchange, reply: Reply, sent: int) -> None:
        self._log.line(
            exchange.method,
            exchange.request.raw_path,
            reply.status,
            time.perf_counter() - exchange.started,
            0 if exchange.body is None else exchange.body.moved,
            sent if exchange.length is None else exchange.length,
            self._locations.client(exchange.request),
            exchange.id,
        )

    # Downloads

    async def _download(self, upload: Upload, exchange: Exchange) -> Reply:
        """A finished upload, or the one range of it that was asked for; never shown in a browser (G6)."""
        size = upload.length or 0
        start, stop = byte_range(exchange.request.headers.get("Range"), size)
        headers = [
            ("Tus-Resumable", tus.VERSION),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Type", "application/octet-stream"),
            ("Content-Disposition", "attachment"),
            ("Accept-Ranges", "bytes"),
        ]
        partial = stop - start != size
        if partial:
            headers.append(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
        exchange.length = stop - start
        exchange.stream = (upload, start, stop)
        return Reply(206 if partial else 200, tuple(headers))

    async def _stream(self, exchange: Exchange) -> None:
        assert exchange.stream is not None
        request = exchange.request
        if request.method == "HEAD":
            return
        async with aclosing(self._uploads.read(*exchange.stream)) as pieces:
            async for piece in pieces:
                if request.transport is None:
                    raise ConnectionResetError
                request.transport.write(piece)
                async with asyncio.timeout(self._bodies.idle_timeout):
                    await request.writer.drain()


class Exchange:
    """One request on its way to its answer. `method` is the effective one (T12) as soon as that is known; `stream` and
    `length` are of a body that is streamed after the head."""

    __slots__ = ("body", "id", "length", "method", "origin", "request", "started", "stream")

    def __init__(self, request: web.BaseRequest) -> None:
        headers = request.headers
        self.request = request
        self.method = request.method
        self.origin = headers.get("Origin")
        self.id = request_id(headers.get("X-Request-ID"))
        self.started = time.perf_counter()
        self.body: RequestBody | None = None
        self.length: int | None = None
        self.stream: tuple[Upload, int, int] | None = None


_AUTHORITY = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


def byte_range(field: str | None, size: int) -> tuple[int, int]:
    """[start, stop) of a Range field; a field that is not one plain byte range is ignored (RFC 9110 section 14.2).

    Raises RangeNotSatisfiable if it lies outside.
    """
    match = _RANGE.fullmatch(field or "")
    if match is None or match[0] == "bytes=-":
        return 0, size
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), size if not last else min(size, int(last) + 1)
        if last and int(last) < int(first):
            return 0, size
    if start >= stop:
        raise RangeNotSatisfiable(size=size)
    return start, stop


def _leaves_a_mess(request: web.BaseRequest) -> bool:
    """Whether the connection must close: bytes of the body are still to come (A9), or aiohttp's parser would hand a
    trailer of this chunked body to the next request (A18, A19, T94)."""
    if request.content is EMPTY_PAYLOAD:
        return False
    return not request.content.is_eof() or "Transfer-Encoding" in request.headers
