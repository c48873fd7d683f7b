"""The composition root: Settings in, a server out. The only file that names concrete back ends.

A Server serves whatever connections its Front is given; alone.py lets it listen, processes/worker.py hands them over.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
import logging
import os
import sys
from collections.abc import Callable, Coroutine

from aiohttp import web

from tusd_py import logs
from tusd_py.database import Database
from tusd_py.doors import Door
from tusd_py.errors import StartError
from tusd_py.front import Front, health_runner
from tusd_py.hooks.events import Listeners
from tusd_py.metrics import Metrics
from tusd_py.policies import (
    connection_limits,
    cors_of,
    limits_of,
    load_certificate,
    logs_requests,
    offer_of,
    tls_context,
)
from tusd_py.process import reason_of
from tusd_py.readiness import Readiness
from tusd_py.records.sqlite import SqliteRecords
from tusd_py.settings import Settings
from tusd_py.sharing import Sharing
from tusd_py.storage.body import Chunks
from tusd_py.storage.local import Durability, LocalStorage
from tusd_py.surroundings import Surroundings
from tusd_py.threads import Pool
from tusd_py.uploads.backing import Backing
from tusd_py.uploads.expiry import Retention, Sweep
from tusd_py.uploads.service import Uploads
from tusd_py.web import zero_copy
from tusd_py.web.body import BodyReader
from tusd_py.web.download import Downloads
from tusd_py.web.edge import ConnectionLimits, Connections, EdgeServer
from tusd_py.web.forwarded import Locations
from tusd_py.web.handler import Handler

log = logging.getLogger("tusd_py")

COLLECT_AFTER = (20_000, 20, 20)  # objects; a request makes few cycles, and each look costs as much as some requests
LEAST_THREADS = 2  # so that one slow disk operation does not hold up the next
RECORDS_CACHED = 10_000  # in all processes together


def settle_down() -> None:
    """What is there now stays: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


class Server:
    """A server and all its parts. Make one with `start`, give its `front` connections, end it with `stop`."""

    def __init__(
        self, settings: Settings, around: Surroundings, sharing: Sharing, database: Database, metrics: Metrics
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.connections = Connections(_limits_here(settings, around))
        self._around = around
        self._sharing = sharing
        self._database = database
        self._byte_pool = Pool("bytes", around.share(settings.byte_threads, LEAST_THREADS))
        self._sync_pool = Pool("sync", around.share(settings.sync_threads, LEAST_THREADS))
        self.storage = LocalStorage(
            around.data.path,
            durability=Durability(settings.durability),
            byte_pool=self._byte_pool,
            sync_pool=self._sync_pool,
            instruments=metrics,
            stamps=sharing.stamps,
        )
        self.records = SqliteRecords(database, around.share(RECORDS_CACHED), sharing.stamps)
        self._backing = Backing(
            self.storage,
            self.records,
            sharing.locks,
            Listeners(metrics, metrics.hear),
            metrics,
            patience=settings.finish_wait,
        )
        self.uploads = self._make_service()
        self.sweeper = self._make_sweep()
        self._request_log = logs.RequestLog(
            sys.stderr, settings.log_format, on=logs_requests(settings), process=around.name
        )
        self.tls = tls_context(settings)
        self.handler = self._make_handler()
        self.front: Front
        self._background: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(
        cls, settings: Settings, around: Surroundings, share: Callable[[Surroundings], Sharing] = Sharing.of
    ) -> Server:
        """Everything but the sockets, in its order. Raises StartError."""
        try:
            sharing = share(around)
        except OSError as error:
            raise StartError(f"{error.filename} cannot be used: {reason_of(error)}.") from error
        metrics = Metrics(sharing.sheet)
        database = await Database.open(around.data.database, metrics, sharing.gate)
        try:
            server = cls(settings, around, sharing, database, metrics)
            server.front = await server._make_front()
        except BaseException as error:
            await database.close()  # its threads would keep the process alive
            if isinstance(error, OSError):
                raise StartError(f"{error.filename or around.data.path} cannot be used: {reason_of(error)}.") from error
            raise
        metrics.observe(
            open_connections=lambda: server.connections.open,
            receiving=lambda: len(server.uploads.writers),
            free_bytes=server.storage.free,
        )
        if not around.alone:
            server.begin(metrics.keep_fresh(), "gauges")
        return server

    async def resume(self) -> None:
        """Finish what is complete and was left unfinished (law 4). Background work: by one process at a time."""
        await self.uploads.finisher.resume()

    async def sweep(self) -> None:
        """Clean up for ever. Background work: by one process at a time."""
        await self.sweeper.run(lambda: self.settings.sweep_interval)

    def begin(self, work: Coroutine[None, None, None], name: str) -> None:
        """Do it beside serving, until it ends or the server stops."""
        task = asyncio.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def reload(self, settings: Settings) -> None:
        """Take over what can change while running (settings.reloaded has said what). Raises ConfigError and has then
        changed nothing."""
        if self.tls is not None:
            load_certificate(self.tls, settings)  # first, since it may fail
        self.settings = settings
        self.uploads.limits = limits_of(settings, self.storage)
        self.uploads.reserve = settings.free_space_reserve
        self.handler.cors = cors_of(settings)
        self.handler.downloads.offer = offer_of(settings)
        self.connections.limits = _limits_here(settings, self._around)
        logging.getLogger().setLevel(settings.log_level.upper())
        self._request_log.on = logs_requests(settings)

    async def stop(self, within: float | None = None) -> int:
        """Bodies are ended, what came is kept and answered; all `within` so many seconds, or shutdown_timeout."""
        patience = self.settings.shutdown_timeout if within is None else within
        try:
            async with asyncio.timeout(patience):
                await self._stop(patience)
        except TimeoutError:
            log.error("stop-took-too-long", extra={"seconds": patience})
            self._request_log.close()
            os._exit(1)  # threads may still sync; nothing acknowledged depends on them
        return 0

    async def _stop(self, patience: float) -> None:
        self.uploads.stop()
        await self.front.close(patience)
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        await self.uploads.finisher.close()
        await self.storage.close()
        self._byte_pool.close()
        self._sync_pool.close()
        await self._database.close()
        self._sharing.close()
        self._request_log.close()

    # Parts

    def _make_service(self) -> Uploads:
        in_memory = functools.partial(Chunks, pool=self._byte_pool, guard=self.storage.guard)
        return Uploads(
            self._backing,
            limits_of(self.settings, self.storage),
            in_memory=in_memory,
            reserve=self.settings.free_space_reserve,
        )

    def _make_handler(self) -> Handler:
        settings = self.settings
        bodies = BodyReader(
            self._byte_pool,
            self.storage.guard,
            self.metrics,
            idle_timeout=settings.idle_timeout,
            minimum_rate=settings.minimum_rate,
            zero_copy=self._can_splice(),
        )
        downloads = Downloads(
            self.uploads,
            self._byte_pool,
            self.storage.guard,
            offer_of(settings),
            idle_timeout=settings.idle_timeout,
            sendfile=settings.zero_copy,
        )
        locations = Locations(
            settings.base_path,
            public_url=settings.public_url,
            path_only=settings.path_only_location,
            trusted_proxies=settings.trusted_proxies,
        )
        return Handler(
            self.uploads,
            bodies,
            downloads,
            cors_of(settings),
            locations,
            self.metrics,
            self._request_log,
            base_path=settings.base_path,
        )

    def _can_splice(self) -> bool:
        if not self.settings.zero_copy or self.tls is not None:
            return False
        obstacle = zero_copy.available(self.storage.folder)
        if obstacle is not None:
            log.warning("zero-copy-off", extra={"reason": obstacle})
        return obstacle is None

    def _make_sweep(self) -> Sweep:
        return Sweep(
            self._backing,
            self.uploads.finisher,
            limits=lambda: self.uploads.limits,
            retention=lambda: Retention(self.settings.keep_finished, self.settings.tombstones),
            started=self._around.started,
        )

    async def _make_front(self) -> Front:
        others = await health_runner()
        edge = EdgeServer(
            self.handler,
            cors=lambda: self.handler.cors,
            connections=self.connections,
            instruments=self.metrics,
            log=self._request_log,
            others=others.server,
            other_paths=frozenset(("/healthz",)),
        )
        return Front(edge, others, self._operators, self.tls)

    def _operators(self, door: Door) -> web.AppRunner:
        from tusd_py.web import ops  # when the first operator comes (see Front)
        from tusd_py.web.private import PrivateRunner

        application = ops.application(
            metrics=self.metrics,
            readiness=Readiness(self.records, self.storage),
            uploads=self.uploads,
            records=self.records,
            sweep=self.sweeper,
            tokens=lambda: self.settings.api_tokens,
            trusted=door is Door.CONTROL,
        )
        return PrivateRunner(application)


def _limits_here(settings: Settings, around: Surroundings) -> ConnectionLimits:
    """The parent of many processes counts their connections; alone, this one does."""
    limits = connection_limits(settings)
    return limits if around.alone else dataclasses.replace(limits, connections=sys.maxsize, per_client=0)
