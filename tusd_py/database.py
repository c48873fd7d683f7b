"""The SQLite file: one writer that commits whatever waits in one transaction, and a connection for readers.

A durable commit costs a sync of the disk, so nobody gets one alone. Requests that wait are collected on the event
loop; whenever the writer's thread is idle, all of them go to it in one hop and become one transaction, and while that
one works, more collect. Under load this is a hundred requests a sync; alone, a request waits for nobody. Where the disk
answers at once, the hop costs more than the transaction, and small batches are committed on the loop (pace.py).

Laws:

* `commit` returns when its writes are durable (WAL, synchronous=FULL), or raises and has then changed nothing. One
  request's statements succeed or fail together; a request that fails takes no other with it. Only a COMMIT that fails
  fails everybody in it.
* `landed` callbacks run on the event loop in the order of the commits: who keeps copies of rows keeps them right there.
* A caller that is cancelled hears of it when its transaction has ended (law 10).
* No reader keeps a snapshot open, and the WAL is copied back outside the writer, so it stays small.
* sqlite3's exceptions stop here (law 7): StorageFull, Conflict or Unavailable, with the cause chained.
* Where several processes write, a request waits for the gate for `patience` at most: a batch that has not begun by then
  is given up, whoever is in it or comes while the gate stays shut is told Unavailable, and nothing of it is written.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from time import perf_counter
from typing import Any, Final

import aiosqlite

from tusd_py.errors import StartError, TusError, Unavailable
from tusd_py.instruments import Instruments
from tusd_py.migrations import advice
from tusd_py.pace import Pace
from tusd_py.threads import Steadfast
from tusd_py.transactions import Conflict, Gate, OpenGate, Outcome, Result, Statement, Writer, ours

__all__ = ["MAX_WAITING", "Conflict", "Database", "Landed", "Result", "Statement"]  # what everybody else needs of it

MAX_WAITING: Final = 10_000  # requests; beyond them the disk is so far behind that clients had better come back
FEW: Final = 8  # requests
TURNS: Final = 30  # of the loop that a batch waits for the gate before a thread waits for it
AT_ONCE: Final = 32  # requests in a transaction that the loop may wait for
GATE_PATIENCE: Final = 15.0  # seconds; who holds the gate for 10 is killed, so that most who wait never hear of it
WATCH_EVERY: Final = 0.1  # of this patience

Landed = Callable[[list[Result]], None]


class Database:
    """Belongs to the event loop that opened it."""

    def __init__(
        self,
        writer: Writer,
        thread: ThreadPoolExecutor,
        reader: aiosqlite.Connection,
        instruments: Instruments,
        patience: float | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer = writer
        self._thread = thread
        self._batches: SimpleQueue[_Batch | None] = SimpleQueue()
        thread.submit(self._run)
        self._reader = reader
        self._instruments = instruments
        self._patience = patience
        self._waiting: list[_Request] = []
        self._pace = Pace()
        self._turns = 0  # of the loop, since somebody else was found in the way
        self._sent: _Batch | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._busy = False
        self._refusal: str | None = None
        self._closing = False
        self._drained = asyncio.Event()
        self._drained.set()

    @classmethod
    async def open(
        cls,
        path: Path,
        instruments: Instruments,
        gate: Gate | None = None,
        *,
        patience: float = GATE_PATIENCE,
    ) -> Database:
        """Open or create the file and bring its schema up to date; errors.StartError says why that cannot be.

        Every write transaction, from before BEGIN until after COMMIT, and so the migrations, runs inside `gate`: where
        several processes share the file, that is their turnstile. For `patience` seconds a request waits for it; there
        is no limit to how long opening does.
        """
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix="tusd-database")

        def untidy() -> None:
            loop.call_soon_threadsafe(instruments.background_failed, "checkpoint")

        try:
            writer = await asyncio.wrap_future(thread.submit(Writer, path, gate or OpenGate(), untidy))
            reader = await aiosqlite.connect(path, isolation_level=None)
            await reader.execute_fetchall("PRAGMA query_only = ON")
        except (sqlite3.Error, OSError) as error:
            thread.shutdown()
            raise StartError(f"The database {path} cannot be opened ({error}); {advice(error)}.") from error
        except StartError:
            thread.shutdown()
            raise
        return cls(writer, thread, reader, instruments, None if gate is None else patience)

    async def commit(self, statements: Sequence[Statement], landed: Landed | None = None) -> list[Result]:
        """Run the statements as one transaction; returns a result each once they are durable."""
        if self._refusal is not None or len(self._waiting) >= MAX_WAITING:
            raise Unavailable(self._refusal or "Too many writes wait for the disk.")
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
        self._refusal = "The database is stopping."
        await self._drained.wait()
        if self._watch is not None:
            self._watch.cancel()
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
        if self._pace.at_once and len(self._waiting) <= AT_ONCE:
            if self._commit_at_once(self._waiting):
                self._turns = 0
                return
            self._turns += 1
            if self._turns < TURNS:  # others are at work meanwhile, and some of them may join
                self._loop.call_soon(self._send)
                return
        self._turns = 0
        requests, self._waiting = self._waiting, []
        self._sent = _Batch(requests)
        self._batches.put(self._sent)
        if self._patience is not None and self._watch is None:
            self._watch = self._loop.call_later(WATCH_EVERY * self._patience, self._look, self._patience)

    def _commit_at_once(self, requests: list[_Request]) -> bool:
        """On the loop, while the writer's thread has nothing to do; False if somebody else is in the way."""
        began = perf_counter()
        outcomes = self._writer.commit_at_once([request.statements for request in requests])
        if outcomes is None:
            return False
        seconds = perf_counter() - began
        self._waiting = []
        self._pace.took_at_once(seconds)
        if not self._writer.tidy(may_wait=False):
            self._pace.rest()  # the thread has time for it
        self._tell(requests, outcomes, seconds)
        self._go_on()
        return True

    def _run(self) -> None:
        """The writer's thread, until it is told to end. A plain queue carries the batches: an executor would make a
        future for each."""
        while (batch := self._batches.get()) is not None:
            began = perf_counter()
            outcomes = self._writer.commit([request.statements for request in batch.requests], batch.claim)
            seconds = perf_counter() - began
            self._writer.tidy()  # before anybody is told: afterwards the connection may be used on the loop
            self._loop.call_soon_threadsafe(self._land, batch, outcomes, seconds)

    def _land(self, batch: _Batch, outcomes: list[Outcome], seconds: float) -> None:
        self._pace.took(seconds)
        if batch.given_up:
            self._refusal = "The database is stopping." if self._closing else None
        else:
            self._tell(batch.requests, outcomes, seconds)
        self._go_on()

    def _tell(self, requests: list[_Request], outcomes: list[Outcome], seconds: float) -> None:
        landed = 0
        for request, outcome in zip(requests, outcomes, strict=True):
            landed += request.land(outcome)
        if landed:
            self._instruments.committed(landed, seconds)

    def _go_on(self) -> None:
        if self._waiting:
            self._loop.call_soon(self._gather)
        else:
            self._busy = False
            self._drained.set()

    def _look(self, patience: float) -> None:
        """From time to time while there is work: is the gate shut for too long?"""
        self._watch = None
        if self._busy and self._sent is not None:
            if perf_counter() - self._sent.sent > patience and self._sent.claim():
                self._give_up(self._sent)
            self._watch = self._loop.call_later(WATCH_EVERY * patience, self._look, patience)

    def _give_up(self, batch: _Batch) -> None:
        """The thread still waits for the gate; until it is back, nobody else may begin to wait."""
        batch.given_up = True
        self._refusal = "Another process keeps the database to itself."
        waiting, self._waiting = self._waiting, []
        for request in (*batch.requests, *waiting):
            request.land(Unavailable(self._refusal))


class _Batch:
    """What goes to the writer's thread in one hop. Either the thread begins it or the loop gives it up: whoever claims
    it first."""

    __slots__ = ("_claimed", "given_up", "requests", "sent")

    def __init__(self, requests: list[_Request]) -> None:
        self.requests = requests
        self.sent = perf_counter()
        self.given_up = False
        self._claimed = Lock()

    def claim(self) -> bool:
        return self._claimed.acquire(blocking=False)


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
