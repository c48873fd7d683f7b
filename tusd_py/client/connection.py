"""The only place that speaks HTTP: a request in, an Answer out, or Lost. aiohttp's exceptions stop here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from functools import lru_cache
from types import TracebackType
from typing import Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from tusd_py.client.answers import Answer
from tusd_py.client.failures import Refused, SendError
from tusd_py.client.sources import Source

PIECE = 1 << 20  # bytes read from a file at once
MOST_READ = 4096  # bytes of an answer that are looked at


class Lost(Exception):
    """No answer came; the server may have got any part of the request. The message says why."""


class Body:
    """The bytes of one request, as they are pulled by the connection."""

    def __init__(self, source: Source, start: int, size: int, moved: Callable[[int], None]) -> None:
        self.size = size
        self.sent = 0
        self.failure: SendError | None = None  # of the source, which aiohttp would hide
        self.pulled: Callable[[], None] | None = None  # told with every piece
        self._source = source
        self._start = start
        self._moved = moved

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.sent < self.size:
            start = self._start + self.sent
            try:
                piece = await self._source.read(start, min(start + PIECE, self._start + self.size))
            except SendError as error:
                self.failure = error
                raise
            self.sent += len(piece)
            self._moved(start + len(piece))
            if self.pulled is not None:
                self.pulled()
            yield piece


class Connection:
    """Requests to one server. The bearer token goes nowhere else, wherever the server says that an upload is."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], bearer: str | None, silence: float) -> None:
        self._origin = URL(endpoint).origin()
        self._headers = {"Tus-Resumable": "1.0.0", **headers}
        self._secret = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        self._silence = silence
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Uploads bound themselves; what takes long is bounded by silence, not by a total.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(self, method: str, url: str, fields: Mapping[str, str], body: Body | None = None) -> Answer:
        """One request. Raises Lost, Refused for a certificate that cannot be trusted, what the source raises."""
        try:
            return await self._ask(method, url, fields, body)
        except TimeoutError as error:
            raise Lost(f"nothing moved for {self._silence:g} seconds") from error
        except aiohttp.ClientConnectorCertificateError as error:
            why = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
            raise Refused(f"the server's certificate cannot be trusted: {why}", 0) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise Refused(f"{url} is no URL to send to", 0) from error
        except (aiohttp.ClientError, OSError) as error:
            if body is not None and body.failure is not None:
                raise body.failure from error
            raise Lost(_why(error)) from error

    async def _ask(self, method: str, url: str, fields: Mapping[str, str], body: Body | None) -> Answer:
        assert self._session is not None
        origin = URL(url).origin()
        headers = {**self._headers, **fields}
        if origin == self._origin:
            headers |= self._secret
        if body is not None:
            headers["Content-Length"] = str(body.size)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._silence) as limit:
            if body is not None:
                body.pulled = lambda: limit.reschedule(loop.time() + self._silence)
            data = body if body is not None and body.size else None
            response = await self._session.request(
                method, url, headers=headers, data=data, allow_redirects=False, proxy=proxy_for(origin)
            )
            try:
                text = await response.content.read(MOST_READ)
            finally:
                if body is not None and body.sent < body.size:
                    response.close()  # answered early: the rest would never be read
                else:
                    response.release()
        lowered = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, lowered, text.decode("utf-8", "replace"))


@lru_cache(maxsize=64)
def proxy_for(origin: URL) -> str | None:
    """What the environment says (https_proxy, no_proxy …), as for curl."""
    proxy = None if proxy_bypass(str(origin.host)) else getproxies().get(origin.scheme)
    return proxy if proxy and proxy.startswith(("http://", "https://")) else None


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"there is no address for {error.host}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"no encrypted connection to {error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientConnectorError):
        why = f": {os.strerror(error.errno)}" if error.errno else ""
        return f"cannot connect to {error.host}:{error.port}{why}"
    return "the connection was lost"
