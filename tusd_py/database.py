"""The SQLite file: migrations, the one group-committing writer, and a connection for readers.

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
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from importlib import resources
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any, NamedTuple

import aiosqlite

from tusd_py.errors import StartError, StorageFull, TusError, Unavailable
from tusd_py.instruments import Instruments
from tusd_py.threads import Steadfast

MAX_WAITING = 10_000  # requests; beyond them the disk is so far behind that clients had better come back
BUSY_TIMEOUT = 5_000  # ms; only outsiders (a backup, a shell) can be in the way
COPY_WAL_EVERY = 4 << 20  # bytes the log may grow before its pages are copied into the database
MAX_WAL = 64 << 20  # bytes; beyond them the writer stops for a moment and empties the log itself
EMPTYING_TIMEOUT = 100  # ms that this moment may take while somebody reads
FEW = 8  # requests
MOST_JOINED = 64  # rows in one INSERT: as many statements for SQLite to know, and less than 999 variables in each
OLDEST_SQLITE = (3, 35, 0)  # RETURNING


class Statement(NamedTuple):
    """One SQL statement. A `needed` one that touches no row fails its request with Conflict. `joins` says that it is an
    `INSERT … VALUES (?, …)` of one row without RETURNING: those of several requests then go in with one statement."""

    sql: str
    parameters: tuple[object, ...] = ()
    needed: bool = False
    joins: bool = False


class Result(NamedTuple):
    """What a statement gave back (RETURNING), and how many rows it touched."""

    rows: list[tuple[Any, ...]]
    touched: int


Landed = Callable[[list[Result]], None]


class Conflict(Unavailable):
    """The record exists already or is gone; try again in a moment."""

    statement: Statement | None = None  # the needed one that touched no row; None where a constraint refused


class Database:
    """Belongs to the event loop that opened it."""

    def __init__(
        self, writer: _Writer, thread: ThreadPoolExecutor, reader: aiosqlite.Connection, instruments: Instruments
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
            writer = await asyncio.wrap_future(thread.submit(_Writer, path, gate or nullcontext(), untidy))
            reader = await aiosqlite.connect(path, isolation_level=None)
            await reader.execute_fetchall("PRAGMA query_only = ON")
        except (sqlite3.Error, OSError) as error:
            thread.shutdown()
            raise StartError(f"The database {path} cannot be opened ({error}); {_advice(error)}.") from error
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
            raise _ours(error) from error

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


Outcome = list[Result] | TusError


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


@lru_cache(maxsize=64)
def _joined(sql: str, columns: int, rows: int) -> str:
    return sql + f", ({', '.join('?' * columns)})" * (rows - 1)


def _alike(batch: Sequence[Sequence[Statement]], place: int) -> list[Statement]:
    """The rows that can go in together from here on: adjacent ones, since commits land in the order of the batch."""
    rows = []
    for statements in batch[place : place + MOST_JOINED]:
        if len(statements) != 1 or not statements[0].joins or statements[0].sql != batch[place][0].sql:
            break
        rows.append(statements[0])
    return rows


class _RolledBack(Exception):
    """SQLite gave up the transaction of a whole batch for the fault of one statement."""


class _Writer:
    """The connection that writes. All of it runs in one thread."""

    def __init__(self, path: Path, gate: AbstractContextManager[Any], untidy: Callable[[], None]) -> None:
        path.touch(mode=0o600)  # an upload's id is what entitles to it: nobody else may read them
        self._gate = gate
        self._wal = f"{path}-wal"
        self._copied = 0  # bytes of the log at the last copy
        self._db = _connect(path)
        try:
            self.version = _migrate(self._db, path)
        except (sqlite3.Error, StartError):
            self._db.close()
            raise
        self._untidy = untidy
        self._copier = _Copier(path, untidy)

    def commit(self, batch: Sequence[Sequence[Statement]]) -> list[Outcome]:
        """Every request's outcome, whatever happens: nobody may wait for ever."""
        try:
            with self._gate:
                return self._transaction(batch)
        except _RolledBack:
            return [self.commit([statements])[0] for statements in batch]
        except Exception as error:  # noqa: BLE001  # a supervisor: BEGIN, COMMIT, the gate or a fault of ours
            self._roll_back()
            return [_ours(error) for _ in batch]

    def _transaction(self, batch: Sequence[Sequence[Statement]]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        alike = _alike(batch, 0)
        if len(alike) == len(batch):
            outcomes = self._insert_together(alike)  # one statement is a transaction of its own
        if outcomes:
            return outcomes
        self._db.execute("BEGIN IMMEDIATE")
        while len(outcomes) < len(batch):
            alike = _alike(batch, len(outcomes))
            outcomes += self._insert_together(alike) or [self._attempt(batch[len(outcomes)])]
            if not self._db.in_transaction:  # a full disk or an I/O error takes all of it back
                if len(batch) > 1:
                    raise _RolledBack
                return outcomes
        self._db.execute("COMMIT")
        return outcomes

    def _insert_together(self, rows: list[Statement]) -> list[Outcome]:
        """Insert requests' rows by one statement; nothing if one of them is refused, which is then found alone.

        Each statement gives up the interpreter's lock and has to win it back from the event loop, which costs more
        than the row.
        """
        if not rows:
            return []
        sql = _joined(rows[0].sql, len(rows[0].parameters), len(rows))
        try:
            self._db.execute(sql, [value for row in rows for value in row.parameters])
        except (sqlite3.Error, OverflowError, ValueError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR:
                raise  # perhaps a failed sync of the log: a second one would lie (law 7)
            return []
        return [[Result([], 1)] for _ in rows]

    def _attempt(self, statements: Sequence[Statement]) -> Outcome:
        try:
            return [self._run(statements[0])] if len(statements) == 1 else self._together(statements)
        except Conflict as conflict:
            return conflict
        except (sqlite3.Error, OverflowError, ValueError) as error:  # the latter two: a value that SQLite cannot hold
            return _ours(error)

    def _together(self, statements: Sequence[Statement]) -> list[Result]:
        self._db.execute("SAVEPOINT request")
        try:
            results = [self._run(statement) for statement in statements]
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK TO request")
                self._db.execute("RELEASE request")
            raise
        self._db.execute("RELEASE request")
        return results

    def _run(self, statement: Statement) -> Result:
        cursor = self._db.execute(statement.sql, statement.parameters)
        rows = cursor.fetchall() if cursor.description else []
        if statement.needed and not cursor.rowcount:
            conflict = Conflict()
            conflict.statement = statement
            raise conflict
        return Result(rows, cursor.rowcount)

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # the disk is failing: the next BEGIN says so to those who come next, and it is tried again then

    def tidy(self) -> None:
        """Keep the log small."""
        try:
            self._tidy(os.stat(self._wal).st_size)
        except (sqlite3.Error, OSError):
            self._untidy()

    def _tidy(self, size: int) -> None:
        if size < self._copied:  # SQLite has begun the log anew
            self._copied = 0
        if size - self._copied <= COPY_WAL_EVERY:
            return
        if size > MAX_WAL:
            self._copied = size
            self._copier.wait()
            self._empty_wal()
        elif self._copier.begin():
            self._copied = size

    def _empty_wal(self) -> None:
        self._db.execute(f"PRAGMA busy_timeout = {EMPTYING_TIMEOUT}")
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")

    def close(self) -> None:
        """SQLite copies and deletes the log when the last connection goes."""
        self._copier.close()
        self._db.close()


class _Copier:
    """Copies the log back into the database beside the writer, in a thread and a connection of its own."""

    def __init__(self, path: Path, failed: Callable[[], None]) -> None:
        self._db = _connect(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tusd-checkpoint")
        self._running: Future[None] | None = None
        self._failed = failed

    def begin(self) -> bool:
        if self._running is not None and not self._running.done():
            return False
        self._running = self._thread.submit(self._copy)
        return True

    def wait(self) -> None:
        if self._running is not None:
            self._running.result()

    def _copy(self) -> None:
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            self._failed()

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        self._db.close()


def _connect(path: Path) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StartError(f"SQLite {sqlite3.sqlite_version} is too old; this Python needs one of at least 3.35.")
    db = sqlite3.connect(
        path, BUSY_TIMEOUT / 1000, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
        # So that the size of the log tells how much is in it.
        db.execute(f"PRAGMA journal_size_limit = {COPY_WAL_EVERY}").fetchall()
    except sqlite3.Error:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection, path: Path) -> int:
    """Apply the migrations that the file lacks, each in its own transaction; returns the version it has then."""
    folder = resources.files("tusd_py.records") / "schema"
    scripts = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    have = int(db.execute("PRAGMA user_version").fetchone()[0])
    if have > len(scripts):
        message = f"The database {path} was made by a newer version (schema {have}, known here: {len(scripts)})"
        raise StartError(f"{message}; install that version again.")
    for number, script in enumerate(scripts[have:], start=have + 1):
        db.executescript(f"BEGIN IMMEDIATE;\n{script.read_text('utf-8')}\nPRAGMA user_version = {number};\nCOMMIT;")
    return len(scripts)


def _advice(error: Exception) -> str:
    if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return "restore it from a backup, or choose another --upload-dir to start empty"
    return "look whether the disk is full, failing or not writable"


def _ours(error: Exception) -> TusError:
    """The failure in our words, with its cause chained (law 7)."""
    ours: TusError
    if isinstance(error, sqlite3.IntegrityError):
        ours = Conflict()
    elif getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        ours = StorageFull()
    else:
        ours = Unavailable()
    ours.__cause__ = error
    return ours
