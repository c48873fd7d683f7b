"""What answers behind each door: the edge for uploads, an application for operators behind the other two."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from aiohttp import web

from tusd_py.doors import BACKLOG, Door, Doors
from tusd_py.web.edge import EdgeServer

Factory = Callable[[], asyncio.BaseProtocol]


class Front:
    """Takes connections in, from listening sockets of its own or handed over one by one."""

    def __init__(
        self,
        edge: EdgeServer,
        others: web.AppRunner,
        operators: Callable[[Door], web.AppRunner],
        tls: ssl.SSLContext | None,
    ) -> None:
        self.edge = edge
        self._runners = {Door.UPLOADS: others}
        self._operators = operators
        self._tls = tls
        self._listening: list[asyncio.Server] = []

    async def listen(self, doors: Doors) -> None:
        """Accept connections in this process."""
        loop = asyncio.get_running_loop()
        for door, listener in doors.all():
            self._listening.append(
                await loop.create_server(await self.factory(door), sock=listener, ssl=self.tls(door), backlog=BACKLOG)
            )

    async def factory(self, door: Door) -> Factory:
        """Makes the protocol for a connection through that door. What operators need is loaded when the first of them
        comes: of many processes few are ever asked."""
        if door is Door.UPLOADS:
            return self.edge
        if door not in self._runners:
            self._runners[door] = await _ready(self._operators(door))
        server = self._runners[door].server
        assert server is not None
        return server

    def tls(self, door: Door) -> ssl.SSLContext | None:
        return self._tls if door is Door.UPLOADS else None

    def refuse(self) -> None:
        """Nobody new from now on."""
        for listener in self._listening:
            listener.close()

    async def close(self, patience: float) -> None:
        """End idle connections at once, busy ones when they are answered, all after `patience` seconds."""
        self.edge.pre_shutdown()
        await self.edge.shutdown(patience * 0.4)  # aiohttp waits so long twice: for handlers, then for their end
        for runner in self._runners.values():
            await runner.cleanup()


async def _ready(runner: web.AppRunner) -> web.AppRunner:
    """To serve on connections that others accept."""
    await runner.setup()
    return runner


async def health_runner() -> web.AppRunner:
    """What lives on the upload port beside uploads."""
    return await _ready(web.AppRunner(_health_application(), handle_signals=False, access_log=None))


def _health_application() -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"}, headers={"Cache-Control": "no-store"})

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    return application
