"""The SQLite file: one writer that commits whatever waits in one transaction, and a connection for readers.

A durable commit costs a sync of the disk, so nobody gets one alone. Requests that wait are collected on the event
loop; whenever the writer's thread is idle, all of them go to it in one hop and become one transaction, and while that
one works, more collect. Under load this is a hundred requests a sync; alone, a request waits for nobody.

Laws:

* `commit` returns when its writes are durable (WAL, synchronous=FULL), or raises and has then changed nothing. One
  request's statements succeed or fail together; a request that fails takes no other with it. Only a COMMIT that fails
  fails everybody in it.
* `landed` callbacks run on the event loop in the order of the commits: who keeps copies of rows keeps them right there.
* A caller that is cancelled hears of it when its transaction has ended (law 10).
* No reader keeps a snapshot open, and the WAL is copied back outside the writer, so it stays small.
* sqlite3's exceptions stop here (law 7): StorageFull, Conflict or Unavailable, with the cause chained.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Final

import aiosqlite

from tusd_py.errors import StartError, TusError, Unavailable
from tusd_py.instruments import Instruments
from tusd_py.migrations import advice
from tusd_py.threads import Steadfast
from tusd_py.transactions import Conflict, Outcome, Result, Statement, Writer, ours

__all__ = ["MAX_WAITING", "Conflict", "Database", "Landed", "Result", "Statement"]  # what everybody else needs of it

MAX_WAITING: Final = 10_000  # requests; beyond them the disk is so far behind that clients had better come back
FEW: Final = 8  # requests

Landed = Callable[[list[Result]], None]


class Database:
    """Belongs to the event loop that opened it."""

    def __init__(
        self, writer: Writer, thread: ThreadPoolExecutor, reader: aiosqlite.Connection, instruments: Instruments
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._thread = thread
        self._batches: SimpleQueue[list[_Request] | None] = SimpleQueue()
        thread.submit(self._run)
        self._reader = reader
        self._instruments = instruments
        self._waiting: list[_Request] = []
        self._busy = False
        self._closing = False
        self._drained = asyncio.Event()
        self._drained.set()

    @classmethod
    async def open(
        cls, path: Path, instruments: Instruments, gate: AbstractContextManager[Any] | None = None
    ) -> Database:
        """Open or create the file and bring its schema up to date; errors.StartError says why that cannot be.

        Every write transaction, from before BEGIN until after COMMIT, runs inside `gate`, in the writer's thread: where
        several processes share the file, that is their turnstile.
        """
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix="tusd-database")

        def untidy() -> None:
            loop.call_soon_threadsafe(instruments.background_failed, "checkpoint")

        try:
            writer = await asyncio.wrap_future(thread.submit(Writer, path, gate or nullcontext(), untidy))
            reader = await aiosqlite.connect(path, isolation_level=None)
            await reader.execute_fetchall("PRAGMA query_only = ON")
        except (sqlite3.Error, OSError) as error:
            thread.shutdown()
            raise StartError(f"The database {path} cannot be opened ({error}); {advice(error)}.") from error
        except StartError:
            thread.shutdown()
            raise
        return cls(writer, thread, reader, instruments)

    async def commit(self, statements: Sequence[Statement], landed: Landed | None = None) -> list[Result]:
        """Run the statements as one transaction; returns a result each once they are durable."""
        if self._closing or len(self._waiting) >= MAX_WAITING:
            raise Unavailable("The database is stopping." if self._closing else "Too many writes wait for the disk.")
        request = _Request(statements, landed, Steadfast(loop=self._loop))
        self._waiting.append(request)
        if not self._busy:
            self._busy = True
            self._drained.clear()
            self._loop.call_soon(self._gather)
        return await request.future

    async def read(self, statement: Statement) -> list[tuple[Any, ...]]:
        """All rows of a query, fetched to the last in one hop: an unfinished cursor would freeze a snapshot."""
        try:
            rows: Iterable[Any] = await self._reader.execute_fetchall(statement.sql, statement.parameters)
            return list(rows)
        except (sqlite3.Error, ValueError) as error:  # ValueError: it is closed
            raise ours(error) from error

    async def check(self) -> None:
        """A write that changes nothing, to the disk and back; raises what a commit would raise."""
        await self.commit([Statement(f"PRAGMA user_version = {self._writer.version}")])

    async def close(self) -> None:
        """Finish what waits, copy the log back and let go of the file. What comes later is Unavailable."""
        if self._closing:
            return
        self._closing = True
        await self._drained.wait()
        await self._reader.close()
        self._batches.put(None)
        await asyncio.wrap_future(self._thread.submit(self._writer.close))
        self._thread.shutdown()

    def _gather(self) -> None:
        """Whoever comes in this turn of the loop still joins, and while they are few also whoever comes in the next: a
        hop and a transaction are cheaper for each when more share them."""
        if len(self._waiting) < FEW:
            self._loop.call_soon(self._send)
        else:
            self._send()

    def _send(self) -> None:
        batch, self._waiting = self._waiting, []
        self._batches.put(batch)

    def _run(self) -> None:
        """The writer's thread, until it is told to end. A plain queue carries the batches: an executor would make a
        future for each."""
        while (batch := self._batches.get()) is not None:
            began = perf_counter()
            outcomes = self._writer.commit([request.statements for request in batch])
            self._loop.call_soon_threadsafe(self._land, batch, outcomes, perf_counter() - began)
            self._writer.tidy()

    def _land(self, batch: list[_Request], outcomes: list[Outcome], seconds: float) -> None:
        landed = 0
        for request, outcome in zip(batch, outcomes, strict=True):
            landed += request.land(outcome)
        if landed:
            self._instruments.committed(landed, seconds)
        if self._waiting:
            self._loop.call_soon(self._gather)
        else:
            self._busy = False
            self._drained.set()


class _Request:
    __slots__ = ("future", "landed", "statements")

    def __init__(
        self, statements: Sequence[Statement], landed: Landed | None, future: asyncio.Future[list[Result]]
    ) -> None:
        self.statements = statements
        self.landed = landed
        self.future = future

    def land(self, outcome: Outcome) -> bool:
        """Tell the caller; whether its writes are in the database."""
        if isinstance(outcome, TusError):
            if not self.future.done():
                self.future.set_exception(outcome)
            return False
        if self.landed is not None:
            self.landed(outcome)
        if not self.future.done():
            self.future.set_result(outcome)
        return True
