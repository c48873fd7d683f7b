"""A private port on a real socket, in front of a real service over SQLite and a folder."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request

from tusd_py.database import Database
from tusd_py.hooks.events import Listeners
from tusd_py.locks.memory import MemoryLocks
from tusd_py.metrics import Metrics
from tusd_py.protocol.commands import Append, Create
from tusd_py.protocol.limits import Limits
from tusd_py.records.sqlite import SqliteRecords
from tusd_py.storage.body import Chunks
from tusd_py.storage.local import Durability, LocalStorage
from tusd_py.threads import Pool
from tusd_py.upload import Upload
from tusd_py.uploads.backing import Backing
from tusd_py.uploads.expiry import Retention, Sweep
from tusd_py.uploads.service import Progress, Uploads
from tusd_py.web import ops

Client = TestClient[Request, Application]

KEEPING = Retention(finished=3600.0)
LIMITS = Limits(("creation", "termination", "expiration"), expire_after=3600.0)


@dataclass
class Office:
    """The parts that the private port shows."""

    metrics: Metrics
    database: Database
    records: SqliteRecords
    storage: LocalStorage
    locks: MemoryLocks
    pool: Pool
    uploads: Uploads
    sweep: Sweep
    tokens: list[str] = field(default_factory=list)
    checks: dict[str, str] = field(default_factory=lambda: {"database": "ok", "folder": "ok"})

    async def readiness(self) -> dict[str, str]:
        return self.checks

    def application(self, *, trusted: bool = True, patience: float = 5.0) -> Application:
        return ops.application(
            metrics=self.metrics,
            readiness=self.readiness,
            uploads=self.uploads,
            records=self.records,
            sweep=self.sweep,
            tokens=lambda: self.tokens,
            trusted=trusted,
            patience=patience,
        )

    def body(self, *pieces: bytes) -> Chunks:
        return Chunks(pieces, self.pool, self.storage.guard)

    async def create(self, data: bytes, length: int | None, metadata: str | None = None) -> Progress:
        command = Create(length, metadata, partial=False, concat=None, checksum=None, body=len(data))
        return await self.uploads.create(command, self.body(data))

    async def append(self, id: str, offset: int, data: bytes) -> Progress:
        return await self.uploads.append(Append(id, offset, None, None, len(data)), self.body(data))

    async def record(self, upload: Upload) -> None:
        await self.records.create(upload)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Office]:
    """All of it, and closed again in the right order."""
    metrics, pool, syncs = Metrics(), Pool("bytes", 2), Pool("sync", 2)
    database = await Database.open(folder / "tusd.db", metrics)
    storage = LocalStorage(folder, durability=Durability.FINISH, byte_pool=pool, sync_pool=syncs, instruments=metrics)
    records, locks = SqliteRecords(database), MemoryLocks()
    backing = Backing(storage, records, locks, Listeners(metrics, metrics.hear), metrics)
    uploads = Uploads(backing, LIMITS, in_memory=partial(Chunks, pool=pool, guard=storage.guard))
    sweep = Sweep(
        backing, uploads.finisher, limits=lambda: uploads.limits, retention=lambda: KEEPING, started=time.time()
    )
    metrics.observe(open_connections=lambda: 3, receiving=lambda: len(uploads.writers), free_bytes=storage.free)
    async with AsyncExitStack() as closing:
        closing.push_async_callback(database.close)
        closing.callback(pool.close)
        closing.callback(syncs.close)
        closing.push_async_callback(storage.close)
        closing.push_async_callback(uploads.finisher.close)
        yield Office(metrics, database, records, storage, locks, pool, uploads, sweep)


@asynccontextmanager
async def served(application: Application) -> AsyncIterator[Client]:
    """The application on a socket of its own."""
    async with TestClient(TestServer(application)) as client:
        yield client


async def problem_of(
    client: Client, method: str, path: str, headers: Sequence[tuple[str, str]] = ()
) -> dict[str, object]:
    """What a request is told that has to fail; checked for the form that every error has."""
    async with client.request(method, path, headers=dict(headers)) as response:
        assert response.content_type == "application/problem+json"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        told: dict[str, object] = await response.json()
        assert set(told) == {"type", "title", "status", "code", "detail"}
        assert told["status"] == response.status
        return told
