"""request -> command -> service -> reply: the way of every request to an upload URL."""

from __future__ import annotations

import re
import time
from typing import Protocol, assert_never

from aiohttp.http import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import istr

from tusd_py.errors import NotFound, TusError
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
from tusd_py.upload import FINISHED, is_id
from tusd_py.uploads.service import Progress, Uploads
from tusd_py.web.answer import Answer, render
from tusd_py.web.body import BodyReader, RequestBody
from tusd_py.web.cors import Cors
from tusd_py.web.download import Downloads, Sending
from tusd_py.web.failures import failed, request_id, unexpected
from tusd_py.web.forwarded import Locations
from tusd_py.web.request import Request

# Spelt as multidict likes to be asked: it need not fold them.
ORIGIN = istr("Origin")
OVERRIDE = istr("X-HTTP-Method-Override")
REQUEST_ID = istr("X-Request-ID")
EXPECT = istr("Expect")


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
        downloads: Downloads,
        cors: Cors,
        locations: Locations,
        instruments: Instruments,
        log: RequestLog,
        *,
        base_path: str,
    ) -> None:
        self.cors = cors
        self.downloads = downloads
        self._uploads = uploads
        self._bodies = bodies
        self._locations = locations
        self._instruments = instruments
        self._log = log
        self._base_path = base_path
        self._length_of_base_path = len(base_path)
        self._creation_paths = (base_path, base_path.rstrip("/"), "*")

    def at_once(self, request: Request) -> bytes | None:
        """The answer to a HEAD that finds its upload known and at rest, which is almost every one; None if it has to go
        the ordinary way, which then begins from the beginning."""
        if request.method != "HEAD" or not request.keep_alive:
            return None
        exchange = Exchange(request)
        try:
            command = self._understand(exchange)
            progress = self._uploads.glance(command) if type(command) is Inspect else None
        except Exception:  # noqa: BLE001  # the ordinary way meets it again, and answers, logs and counts it
            return None
        if progress is None:
            return None
        self._instruments.requested("HEAD")
        return self._written(exchange, self._inspected(progress), keep_alive=True)

    async def __call__(self, request: Request) -> Answer:
        exchange = Exchange(request)
        try:
            try:
                command = self._understand(exchange)
                self._instruments.requested(exchange.method)
                reply = await self._perform(command, exchange)
            except TusError as error:
                reply = self._failed(error, exchange)
            except Exception as defect:  # noqa: BLE001  # the supervisor at the request edge
                reply = self._failed(unexpected(defect, exchange.id), exchange)
            answer = self._answer(exchange, reply)
            if exchange.sending is not None and exchange.length is not None:
                await exchange.sending.send(request, answer.take())
            elif exchange.body is not None and exchange.body.cut_off:
                await self._answer_now(exchange, answer)
            return answer
        finally:
            if exchange.body is not None:
                exchange.body.close()
            if exchange.sending is not None:
                exchange.sending.close()

    def _failed(self, error: TusError, exchange: Exchange) -> Reply:
        if error.created is not None:
            error.location = self._locations.url(exchange.request, error.created)
        return failed(error, exchange.method, exchange.request, self._instruments)

    def _understand(self, exchange: Exchange) -> Command:
        """The override comes before everything else that looks at the method (T13), then CORS, then the headers."""
        headers = exchange.request.headers
        exchange.method = tus.effective_method(exchange.method, headers.get(OVERRIDE))
        id = self._id_in(exchange.request.raw_path)
        if exchange.origin is not None:
            self.cors.check(exchange.origin)
        return tus.parse(exchange.method, id, headers, self._uploads.limits)

    def _id_in(self, raw_path: str) -> str | None:
        """The id in an upload URL, None for the creation URL. Nothing is decoded: what is not an id is not found."""
        if raw_path.startswith(self._base_path) and is_id(id := raw_path[self._length_of_base_path :]):
            return id
        if raw_path in self._creation_paths:
            return None
        path = raw_path.partition("?")[0]
        if not path.startswith("/") and path != "*":
            path = _AUTHORITY.sub("", path, count=1) or "/"  # absolute-form
        if path != raw_path:
            return self._id_in(path)
        raise NotFound

    async def _perform(self, command: Command, exchange: Exchange) -> Reply:
        uploads, request = self._uploads, exchange.request
        match command:
            case Inspect():
                return self._inspected(await uploads.inspect(command))
            case Append():
                progress = await uploads.append(command, self._body(exchange, command.body))
                return replies.appended(progress.offset, progress.expires)
            case Create():
                progress = await uploads.create(command, self._body(exchange, command.body))
                url = self._locations.url(request, progress.upload.id)
                return replies.created(url, progress.offset, progress.expires)
            case Concatenate():
                progress = await uploads.concatenate(command)
                offset = progress.offset if progress.upload.state is FINISHED else None
                url = self._locations.url(request, progress.upload.id)
                return replies.created(url, offset, progress.expires)
            case Terminate():
                await uploads.terminate(command)
                return replies.terminated()
            case Download():
                exchange.sending = self.downloads.prepare(await uploads.download(command), request)
                exchange.length = exchange.sending.length
                return exchange.sending.reply
            case Describe():
                return replies.described(uploads.limits)
            case Faulty():
                await uploads.refuse(command)
                raise command.fault
            case _:
                assert_never(command)

    def _inspected(self, progress: Progress) -> Reply:
        return replies.inspected(progress.upload, progress.offset, progress.expires, self._uploads.limits)

    def _body(self, exchange: Exchange, announced: int | None) -> Body:
        request = exchange.request
        expectation = request.headers.get(EXPECT)
        expects = expectation is not None and expectation.lower() == "100-continue" and request.version >= HttpVersion11
        exchange.body = self._bodies.read(request, announced, expects)
        return exchange.body

    # The answer

    def _answer(self, exchange: Exchange, reply: Reply) -> Answer:
        request = exchange.request
        keep_alive = request.keep_alive and not reply.close and not _leaves_a_mess(request)
        data = self._written(exchange, reply, keep_alive=keep_alive)
        if exchange.body is None:
            return Answer(data, keep_alive=keep_alive)
        return Answer(data, keep_alive=keep_alive, patience=exchange.body.patience)

    def _written(self, exchange: Exchange, reply: Reply, *, keep_alive: bool) -> bytes:
        """The answer as it is sent, and noted in the log."""
        cors = self.cors.lines(exchange.origin, preflight=exchange.method == "OPTIONS")
        also = f"{cors}X-Request-ID: {exchange.id}\r\n"
        data = render(reply, also, exchange.request, keep_alive=keep_alive, length=exchange.length)
        self._note(exchange, reply, len(data))
        return data

    async def _answer_now(self, exchange: Exchange, answer: Answer) -> None:
        """Send the head at once, because more has to be done after it."""
        try:
            await answer.send(exchange.request)
            if exchange.body is not None:
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


class Exchange:
    """One request on its way to its answer. `method` is the effective one (T12) as soon as that is known; `length` is
    that of a body that is sent after the head."""

    __slots__ = ("body", "id", "length", "method", "origin", "request", "sending", "started")

    def __init__(self, request: Request) -> None:
        headers = request.headers
        self.request = request
        self.method = request.method
        self.origin = headers.get(ORIGIN)
        self.id = request_id(headers.get(REQUEST_ID))
        self.started = time.perf_counter()
        self.body: RequestBody | None = None
        self.length: int | None = None
        self.sending: Sending | None = None


_AUTHORITY = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


def _leaves_a_mess(request: Request) -> bool:
    """Whether the connection must close: bytes of the body are still to come (A9), or aiohttp's parser would hand a
    trailer of this chunked body to the next request (A18, A19, T94)."""
    if request.content is EMPTY_PAYLOAD:
        return False
    return not request.content.is_eof() or "Transfer-Encoding" in request.headers
