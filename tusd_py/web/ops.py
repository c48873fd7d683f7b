"""The private port: /metrics, /readyz, /healthz and the API under /api/v1. Also what the control socket speaks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tusd_py.errors import TusError
from tusd_py.metrics import Metrics
from tusd_py.records.base import Records
from tusd_py.upload import State
from tusd_py.uploads.expiry import Sweep
from tusd_py.uploads.service import Uploads
from tusd_py.web.api import openapi
from tusd_py.web.api.access import bearers_only
from tusd_py.web.api.endpoint import AnyEndpoint
from tusd_py.web.api.problem import UNEXPECTED, answer_to, answer_to_framework
from tusd_py.web.api.sweep import SweepResource
from tusd_py.web.api.uploads import UploadResource

log = logging.getLogger("tusd_py.web")

API = "/api/v1"
PATIENCE = 5.0  # seconds that a probe waits for the checks

Checks = dict[str, str]


def application(
    *,
    metrics: Metrics,
    readiness: Callable[[], Awaitable[Checks]],
    uploads: Uploads,
    records: Records,
    sweep: Sweep,
    tokens: Callable[[], Sequence[str]],
    trusted: bool,
    patience: float = PATIENCE,
) -> web.Application:
    """`readiness` gives the name of each check with "ok" or a sentence. `trusted` is the control socket's, where the
    file's permissions have already said who may: the API then asks for no token."""
    app = web.Application(middlewares=[_supervised(metrics)])
    probe = _Probe(readiness, patience)
    app.router.add_get("/metrics", partial(_metrics, metrics, records))
    app.router.add_get("/readyz", probe.answer)
    app.router.add_get("/healthz", _healthz)
    app.on_cleanup.append(probe.close)
    endpoints = (*UploadResource(uploads, records).endpoints(), *SweepResource(sweep).endpoints())
    app.add_subapp(API, _api(endpoints, [] if trusted else [bearers_only(tokens)]))
    return app


def _api(endpoints: Sequence[AnyEndpoint], guards: Sequence[Middleware]) -> web.Application:
    """An application of its own, so that the guards stand before all that it answers, an unknown path too."""
    document = openapi.describe(endpoints, API)

    async def describe(_: web.Request) -> web.Response:
        return web.json_response(document)

    api = web.Application(middlewares=guards)
    api.router.add_get("/openapi.json", describe)
    for endpoint in endpoints:
        api.router.add_route(endpoint.method, endpoint.path, endpoint.handle)
    return api


def _supervised(metrics: Metrics) -> Middleware:
    """The supervisor of this edge: every error becomes an answer, an unexpected one with its traceback in the log."""

    @web.middleware
    async def supervise(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = answer_to_framework(error)
        except TusError as error:
            response = answer_to(error)
        except Exception:
            log.exception("ops-request-failed", extra={"method": request.method, "path": request.path})
            metrics.refused(TusError.status, TusError.code)
            response = answer_to(TusError(UNEXPECTED))
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return supervise


async def _healthz(_: web.Request) -> web.Response:
    """The process answers; whether it can do its work is /readyz."""
    return web.json_response({"status": "ok"})


async def _metrics(metrics: Metrics, records: Records, _: web.Request) -> web.Response:
    try:
        open_uploads = await records.count(State.RECEIVING)
    except TusError:  # the other figures are wanted most when the database is in trouble
        open_uploads = None
    body, content_type = metrics.exposition(open_uploads)
    return web.Response(body=body, headers={"Content-Type": content_type})


class _Probe:
    """Readiness with an end: a disk that hangs holds its thread, and the hop outlives every cancellation (law 10), so
    nobody waits for it longer than `patience` seconds, and all who ask meanwhile share one round of checks."""

    def __init__(self, readiness: Callable[[], Awaitable[Checks]], patience: float) -> None:
        self._readiness = readiness
        self._patience = patience
        self._round: asyncio.Task[Checks] | None = None

    async def answer(self, _: web.Request) -> web.Response:
        checks = await self._checks()
        ready = all(said == "ok" for said in checks.values())
        status = "ready" if ready else "not ready"
        return web.json_response({"status": status, "checks": checks}, status=200 if ready else 503)

    async def close(self, _: web.Application) -> None:
        if self._round is not None:
            self._round.cancel()

    async def _checks(self) -> Checks:
        if self._round is None or self._round.done():
            self._round = asyncio.create_task(self._run(), name="readiness")
        round = self._round
        await asyncio.wait([round], timeout=self._patience)
        return round.result() if round.done() else {"checks": f"no result within {self._patience:g} s"}

    async def _run(self) -> Checks:
        return await self._readiness()
