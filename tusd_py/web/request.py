"""What arrived: one request as aiohttp's parser gave it, and the connection on which it came.

aiohttp's own request object knows cookies, forms and match results, which nobody asks for here.
"""

from __future__ import annotations

import asyncio

from aiohttp.http import HttpVersion, RawRequestMessage, StreamWriter
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDictProxy


class Request:
    """`raw_path` is the target as it was sent, `content` the body as it comes. `keep_alive` is what the client wishes
    for the connection."""

    __slots__ = ("content", "headers", "keep_alive", "method", "protocol", "raw_path", "version")

    def __init__(self, message: RawRequestMessage, content: StreamReader, protocol: RequestHandler) -> None:
        self.method: str = message.method
        self.raw_path: str = message.path
        self.version: HttpVersion = message.version
        self.headers: CIMultiDictProxy[str] = message.headers
        self.keep_alive: bool = not message.should_close
        self.content = content
        self.protocol = protocol

    @property
    def transport(self) -> asyncio.Transport | None:
        """None once the client is gone."""
        return self.protocol.transport

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written. Raises ConnectionError if it is gone."""
        await StreamWriter(self.protocol, asyncio.get_running_loop()).drain()

    def _cancel(self, reason: BaseException) -> None:
        """What aiohttp's protocol calls when the connection is lost in the middle of a request."""
        self.content.set_exception(reason)
