"""The composition root: Settings in, a running server out. The only file that names concrete back ends."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence

from aiohttp import web

from tusd_py import logs
from tusd_py.config import Settings
from tusd_py.database import Database
from tusd_py.datafolder import DataFolder
from tusd_py.errors import StartError, TusError
from tusd_py.hooks.events import Listeners
from tusd_py.locks.memory import MemoryLocks
from tusd_py.metrics import Metrics
from tusd_py.policies import (
    connection_limits,
    cors_of,
    limits_of,
    load_certificate,
    logs_requests,
    reloaded,
    tls_context,
)
from tusd_py.process import loop_factory, notify, raise_open_file_limit, reason_of, remove_old_socket
from tusd_py.records.sqlite import SqliteRecords
from tusd_py.storage.body import Chunks
from tusd_py.storage.local import Durability, LocalStorage
from tusd_py.threads import Pool
from tusd_py.uploads.backing import Backing
from tusd_py.uploads.expiry import Retention, Sweep
from tusd_py.uploads.service import Uploads
from tusd_py.web import ops, zero_copy
from tusd_py.web.body import BodyReader
from tusd_py.web.edge import Connections, EdgeServer
from tusd_py.web.forwarded import Locations
from tusd_py.web.handler import Handler
from tusd_py.web.private import PrivateRunner

log = logging.getLogger("tusd_py")

COLLECT_AFTER = (20_000, 20, 20)  # objects; a request makes few cycles, and each look costs as much as some requests
BACKLOG = 1024  # connections that wait to be accepted
READY_BELOW = 16 << 20  # 16 MiB: with less free space the server is not ready


def run(settings: Settings, reload: Callable[[], Settings]) -> int:
    """Serve until a signal says otherwise; returns the exit code. Raises StartError."""
    logs.configure(settings.log_format, settings.log_level)
    raise_open_file_limit()
    with asyncio.Runner(loop_factory=loop_factory(settings.event_loop)) as runner:
        return runner.run(_serve(settings, reload))


async def _serve(settings: Settings, reload: Callable[[], Settings]) -> int:
    server = await Server.start(settings)
    signals = Signals(server, reload)
    for line in server.greeting():
        print(line, flush=True)
    notify("READY=1")
    gc.collect()
    gc.freeze()  # what is there now stays: the collector need not look at it again
    gc.set_threshold(*COLLECT_AFTER)
    await signals.stopped.wait()
    notify("STOPPING=1")
    return await server.stop()


class Server:
    """A running server and all its parts. Make one with `start`, end it with `stop`."""

    def __init__(self, settings: Settings, data: DataFolder, database: Database, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.connections = Connections(connection_limits(settings))
        self._data = data
        self._database = database
        self._started = time.time()
        self._byte_pool = Pool("bytes", settings.byte_threads)
        self._sync_pool = Pool("sync", settings.sync_threads)
        self.storage = LocalStorage(
            data.path,
            durability=Durability(settings.durability),
            byte_pool=self._byte_pool,
            sync_pool=self._sync_pool,
            instruments=metrics,
        )
        self.records = SqliteRecords(database)
        self.locks = MemoryLocks()
        self._backing = Backing(
            self.storage,
            self.records,
            self.locks,
            Listeners(metrics, metrics.hear),
            metrics,
            patience=settings.finish_wait,
        )
        self.uploads = self._make_service()
        self._request_log = logs.RequestLog(sys.stderr, settings.log_format, on=logs_requests(settings))
        self.tls = tls_context(settings)
        self.handler = self._make_handler()
        self.edge: EdgeServer
        self._listeners_open: list[asyncio.Server] = []
        self._runners: list[web.AppRunner] = []
        self._sweeping: asyncio.Task[None] | None = None
        self.address = ""
        self.ops_address = ""

    @classmethod
    async def start(cls, settings: Settings) -> Server:
        """Everything in its order: the folder's lock first, the listening sockets last. Raises StartError."""
        data = DataFolder(settings.upload_dir)
        metrics = Metrics()
        database = await Database.open(data.database, metrics)
        try:
            server = cls(settings, data, database, metrics)
            await server._begin()
        except BaseException as error:
            await database.close()  # its threads would keep the process alive
            data.close()
            if isinstance(error, OSError):
                raise StartError(f"{error.filename or data.path} cannot be used: {reason_of(error)}.") from error
            raise
        return server

    async def _begin(self) -> None:
        self.metrics.observe(
            open_connections=lambda: self.connections.open,
            receiving=lambda: len(self.uploads.writers),
            free_bytes=self.storage.free,
        )
        await self._listen()
        await self.uploads.finisher.resume()
        self._sweeping = asyncio.create_task(self._make_sweep(), name="sweep")

    def greeting(self) -> Sequence[str]:
        """What is printed at the start; the last line is what tusd prints, and what scripts wait for."""
        lines = [f"Uploads are kept in: {self.storage.folder}"]
        if self.ops_address:
            lines.append(f"Metrics, readiness and API: http://{self.ops_address}/")
        return [*lines, f"You can now upload files to: {self.address}{self.settings.base_path}"]

    def reload(self, settings: Settings) -> None:
        """Take over what can change while running (policies.RELOADABLE); the rest is named in the log and stays as it
        was. Raises ConfigError and has then changed nothing."""
        settings, waiting = reloaded(self.settings, settings)
        if self.tls is not None:
            load_certificate(self.tls, settings)  # first, since it may fail
        self.settings = settings
        self.uploads.limits = limits_of(settings, self.storage)
        self.uploads.reserve = settings.free_space_reserve
        self.handler.cors = cors_of(settings)
        self.connections.limits = connection_limits(settings)
        logging.getLogger().setLevel(settings.log_level.upper())
        self._request_log.on = logs_requests(settings)
        if waiting:
            log.warning("restart-needed", extra={"settings": ",".join(waiting)})

    async def stop(self) -> int:
        """No new connections; bodies are ended, what came is kept and answered; all within shutdown_timeout."""
        patience = self.settings.shutdown_timeout
        try:
            async with asyncio.timeout(patience):
                await self._stop(patience)
        except TimeoutError:
            log.error("stop-took-too-long", extra={"seconds": patience})
            self._request_log.close()
            os._exit(1)  # threads may still sync; nothing acknowledged depends on them
        return 0

    async def _stop(self, patience: float) -> None:
        for listener in self._listeners_open:
            listener.close()
        if self.settings.unix_socket is not None:
            self.settings.unix_socket.unlink(missing_ok=True)
        self.uploads.stop()
        self.edge.pre_shutdown()
        await self.edge.shutdown(patience * 0.4)  # aiohttp waits so long twice: for handlers, then for their end
        for runner in self._runners:
            await runner.cleanup()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        await self.uploads.finisher.close()
        await self.storage.close()
        self._byte_pool.close()
        self._sync_pool.close()
        await self._database.close()
        self._request_log.close()
        self._data.close()

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
        locations = Locations(
            settings.base_path,
            public_url=settings.public_url,
            path_only=settings.path_only_location,
            trusted_proxies=settings.trusted_proxies,
        )
        return Handler(
            self.uploads,
            bodies,
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

    async def _make_sweep(self) -> None:
        sweep = Sweep(
            self._backing,
            self.uploads.finisher,
            limits=lambda: self.uploads.limits,
            retention=lambda: Retention(self.settings.keep_finished, self.settings.tombstones),
            started=self._started,
        )
        await sweep.run(lambda: self.settings.sweep_interval)

    async def readiness(self) -> dict[str, str]:
        """What an operator wants to know before sending traffic: a check's name and "ok", or a sentence."""
        return {"database": await self._database_check(), "folder": self._folder_check()}

    async def _database_check(self) -> str:
        try:
            await self.records.check()
        except TusError as error:
            return str(error)
        return "ok"

    def _folder_check(self) -> str:
        folder = self.storage.folder
        try:
            free = self.storage.free()
        except TusError as error:
            return str(error)
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"the folder {folder} cannot be written to"
        return "ok" if free >= READY_BELOW else f"only {free >> 20} MiB are free in {folder}"

    # Listening

    async def _listen(self) -> None:
        others = web.AppRunner(health_application(), handle_signals=False, access_log=None)
        await others.setup()
        self._runners.append(others)
        self.edge = EdgeServer(
            self.handler,
            cors=lambda: self.handler.cors,
            connections=self.connections,
            instruments=self.metrics,
            log=self._request_log,
            others=others.server,
            other_paths=frozenset(("/healthz",)),
        )
        await self._listen_for_operators()
        await self._listen_for_clients()

    async def _listen_for_clients(self) -> None:
        settings, loop = self.settings, asyncio.get_running_loop()
        try:
            if settings.unix_socket is not None:
                remove_old_socket(settings.unix_socket)
                path = str(settings.unix_socket)
                server = await loop.create_unix_server(self.edge, path, ssl=self.tls, backlog=BACKLOG)
                self.address = f"unix:{path}:"
            else:
                server = await loop.create_server(
                    self.edge, settings.host, settings.port, ssl=self.tls, backlog=BACKLOG, reuse_address=True
                )
                self.address = f"{'https' if self.tls else 'http'}://{spelt(server.sockets[0])}"
        except OSError as error:
            raise StartError(f"Cannot listen on {_wanted(settings)}: {reason_of(error)}.") from error
        self._listeners_open.append(server)

    async def _listen_for_operators(self) -> None:
        control = await self._ops_runner(trusted=True)
        await web.SockSite(control, self._data.control_socket()).start()
        wanted = self.settings.ops_listen
        if wanted is None:
            return
        private = await self._ops_runner(trusted=False)
        try:
            await web.TCPSite(private, wanted.host, wanted.port).start()
        except OSError as error:
            raise StartError(
                f"Cannot listen on {wanted.host}:{wanted.port} for metrics: {reason_of(error)}; "
                "choose another --ops-listen, or 'off'."
            ) from error
        host, port, *_ = private.addresses[0]
        self.ops_address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def _ops_runner(self, *, trusted: bool) -> web.AppRunner:
        application = ops.application(
            metrics=self.metrics,
            readiness=self.readiness,
            uploads=self.uploads,
            records=self.records,
            tokens=lambda: [token.get_secret_value() for token in self.settings.api_tokens],
            trusted=trusted,
        )
        runner = PrivateRunner(application)
        await runner.setup()
        self._runners.append(runner)
        return runner


class Signals:
    """SIGTERM and SIGINT stop the server, a second one ends it at once; SIGHUP reads the settings again."""

    def __init__(self, server: Server, reload: Callable[[], Settings]) -> None:
        self.stopped = asyncio.Event()
        self._server = server
        self._reload = reload
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._read_again)

    def _stop(self, number: signal.Signals) -> None:
        if self.stopped.is_set():
            os._exit(1)
        log.info("stopping", extra={"signal": number.name})
        self.stopped.set()

    def _read_again(self) -> None:
        notify("RELOADING=1")
        try:
            self._server.reload(self._reload())
            log.info("reloaded")
        except StartError as error:
            log.error("reload-failed", extra={"error": str(error)})
        notify("READY=1")


def health_application() -> web.Application:
    """What lives on the upload port beside uploads."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"}, headers={"Cache-Control": "no-store"})

    application = web.Application()
    application.router.add_get("/healthz", healthz)
    return application


def spelt(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _wanted(settings: Settings) -> str:
    return str(settings.unix_socket) if settings.unix_socket is not None else f"{settings.host}:{settings.port}"
