"""The connections of the private port and the control socket: what is no request gets an answer in their own form."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tusd_py.errors import BadRequest, TusError
from tusd_py.web.api.problem import UNEXPECTED, answer_to

log = logging.getLogger("tusd_py.web")


class PrivateRunner(web.AppRunner):
    """Serves an application of operators. It keeps no access log."""

    def __init__(self, application: web.Application) -> None:
        super().__init__(application, handle_signals=False)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return PrivateServer(made.request_handler, request_factory=made.request_factory)


class PrivateServer(web.Server):
    """Makes a protocol object for every connection."""

    def __call__(self) -> RequestHandler:
        return PrivateConnection(self, loop=asyncio.get_running_loop(), access_log=None)  # type: ignore[arg-type]  # off


class PrivateConnection(RequestHandler):
    """One operator's connection."""

    __slots__ = ()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What the parser refuses (A13), or what escaped every other net, as problem details like all errors here."""
        if status < TusError.status:
            response = answer_to(BadRequest())
        else:
            log.error("ops-request-failed", exc_info=exc)
            response = answer_to(TusError(UNEXPECTED))
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.force_close()
        return response
