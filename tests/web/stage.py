"""The whole edge on a real socket, over files, in a thread of its own: what a test looks at besides the answers."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from aiohttp import web

from tests.acceptance.wire import Answer, Fields, Verbs, Wire, eventually
from tests.storage.desk import descriptors
from tests.uploads.world import UNFINISHED
from tusd_py.hooks.events import Event, Listeners
from tusd_py.instruments import Silent
from tusd_py.locks.memory import MemoryLocks
from tusd_py.protocol.downloads import Offer
from tusd_py.protocol.limits import Limits
from tusd_py.records.memory import MemoryRecords
from tusd_py.storage.base import Storage
from tusd_py.storage.body import Chunks, LoopGuard
from tusd_py.storage.local import Durability, LocalStorage
from tusd_py.threads import Pool
from tusd_py.uploads.backing import Backing
from tusd_py.uploads.service import Uploads
from tusd_py.web.body import BodyReader
from tusd_py.web.cors import Cors
from tusd_py.web.download import Downloads
from tusd_py.web.edge import ConnectionLimits, Connections, EdgeServer
from tusd_py.web.forwarded import Locations
from tusd_py.web.handler import Handler

T = TypeVar("T")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
PATIENCE = 10.0  # seconds
uvloop.new_event_loop().close()  # the first one opens descriptors that the process keeps
CORS = Cors(enabled=True, origins=["*"], credentials=False, allow=(), expose=(), max_age=60)


class NoLog:
    def line(self, *_: object) -> None: ...


class Troubles(logging.Handler):
    """What no run may log."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


class Counting(Silent):
    """Counts the bytes that were received."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.bytes = 0

    def received(self, amount: int) -> None:
        with self._lock:
            self.bytes += amount


class Stage(Verbs):
    """A running edge. `run` and `call` do something on its loop."""

    files = "/files/"

    def __init__(
        self,
        folder: Path,
        loop: str = "uvloop",
        *,
        zero_copy: bool = True,
        idle_timeout: float = 5.0,
        minimum_rate: int = 0,
        limits: Limits = UNFINISHED,
        connections: ConnectionLimits | None = None,
        handler_cancellation: bool = False,
        tls: ssl.SSLContext | None = None,
        byte_threads: int = 4,
        byte_pool: Callable[[str, int], Pool] = Pool,
        locations: Locations | None = None,
        offer: Offer | None = None,
        storage: Callable[[], Storage] | None = None,
    ) -> None:
        self.folder = folder
        self.events: list[Event] = []
        self.instruments = Counting()
        self.byte_pool, self._sync_pool = byte_pool("bytes", byte_threads), Pool("sync", 2)
        self.locks = MemoryLocks()
        self.connections = Connections(connections or ConnectionLimits())
        self._limits = limits
        self._reader = partial(BodyReader, idle_timeout=idle_timeout, minimum_rate=minimum_rate, zero_copy=zero_copy)
        self._downloads = partial(Downloads, offer=offer or Offer(), idle_timeout=idle_timeout, sendfile=zero_copy)
        self._make_storage = storage or self._on_disk
        self._locations = locations or Locations("/files/", public_url=None, path_only=True, trusted_proxies=())
        self._handler_cancellation = handler_cancellation
        self._tls = tls
        self._wires: list[Wire] = []
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(LOOPS[loop],))
        self._thread.start()
        self._started.result(PATIENCE)

    # For tests

    def ask(self, method: str, target: str, fields: Fields | None = None, body: bytes | None = None) -> Answer:
        with Wire(self.address) as wire:
            return wire.ask(method, target, fields, body)

    def connect(self, patience: float = PATIENCE) -> Wire:
        wire = Wire(self.address, patience=patience)
        self._wires.append(wire)
        return wire

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def call(self, function: Callable[[], T]) -> T:
        async def called() -> T:
            return function()

        return self.run(called())

    def stored(self, path: str) -> bytes:
        """The bytes in the file of the upload at this path."""
        return (self.folder / "uploads" / path.rpartition("/")[2]).read_bytes()

    def is_at_rest(self) -> bool:
        """Whether no request is being served."""
        return self.call(lambda: self.locks.count() == 0 and len(self.uploads.writers) == 0)

    def comes_to_rest(self) -> None:
        eventually(self.is_at_rest, "all requests have come to their end")

    def is_empty(self) -> bool:
        return self.call(lambda: self.connections.open) == 0

    def close(self) -> None:
        for wire in self._wires:
            wire.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(2 * PATIENCE)
        assert not self._thread.is_alive()

    # The server

    def _run(self, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        try:
            server = await self._open()
        except BaseException as error:
            self._started.set_exception(error)
            raise
        self._started.set_result(None)
        await self._stop.wait()
        server.close()
        self.uploads.stop()
        await self.edge.shutdown(1.0)
        await self.uploads.finisher.close()
        await self.storage.close()
        self.byte_pool.close()
        self._sync_pool.close()

    async def _open(self) -> asyncio.Server:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.records = MemoryRecords()
        self.storage, guard = self._make_storage(), LoopGuard()
        backing = Backing(
            self.storage,
            self.records,
            self.locks,
            Listeners(self.instruments, self.events.append),
            self.instruments,
            patience=PATIENCE,
        )
        in_memory = partial(Chunks, pool=self.byte_pool, guard=guard)
        self.uploads = Uploads(backing, self._limits, in_memory=in_memory)
        handler = Handler(
            self.uploads,
            self._reader(self.byte_pool, guard, self.instruments),
            self._downloads(self.uploads, self.byte_pool, guard),
            CORS,
            self._locations,
            self.instruments,
            NoLog(),
            base_path="/files/",
        )
        self.edge = EdgeServer(
            handler,
            cors=lambda: CORS,
            connections=self.connections,
            instruments=self.instruments,
            log=NoLog(),
            others=await self._others(),
            other_paths=frozenset(("/other",)),
            handler_cancellation=self._handler_cancellation,
        )
        server = await self._loop.create_server(self.edge, "127.0.0.1", 0, ssl=self._tls)
        self.address: tuple[str, int] = server.sockets[0].getsockname()[:2]
        return server

    def _on_disk(self) -> Storage:
        return LocalStorage(
            self.folder,
            durability=Durability.OS,
            byte_pool=self.byte_pool,
            sync_pool=self._sync_pool,
            instruments=self.instruments,
        )

    async def _others(self) -> web.Server:
        async def other(request: web.Request) -> web.Response:
            return web.Response(text=f"{len(await request.read())}")

        application = web.Application()
        application.router.add_route("*", "/other", other)
        runner = web.AppRunner(application, handle_signals=False, access_log=None)
        await runner.setup()
        assert runner.server is not None
        return runner.server


@contextmanager
def staged(folder: Path, loop: str = "uvloop", **options: Any) -> Iterator[Stage]:
    """A stage; at its end nothing is held, nothing was logged as a trouble, and no descriptor is left."""
    troubles, before = Troubles(), descriptors()
    loggers = [logging.getLogger(name) for name in ("tusd_py", "aiohttp", "asyncio")]
    for logger in loggers:
        logger.addHandler(troubles)
    stage = Stage(folder, loop, **options)
    try:
        yield stage
        stage.comes_to_rest()
    finally:
        stage.close()
        for logger in loggers:
            logger.removeHandler(troubles)
    assert troubles.records == []
    assert not descriptors().items() - before.items()  # what others left may go meanwhile


def pattern(number: int, size: int) -> bytes:
    """Bytes that no other number has: each block of eight names its number and place."""
    words = b"".join(number.to_bytes(3, "big") + place.to_bytes(5, "big") for place in range(min(size // 8 + 1, 8192)))
    return (words * (size // len(words) + 1))[:size]


def random_bytes(size: int) -> bytes:
    return os.urandom(size)
