"""Statements in, outcomes out: the one connection that writes, and what becomes of each request in a batch.

Blocking code, one call at a time; database.py carries batches here and outcomes back. One request's statements succeed
or fail together; one that fails takes no other with it. Only an I/O error, which may be a failed sync of the log, and a
COMMIT that fails, fail everybody in the batch: neither is ever tried a second time (law 7).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from tusd_py.checkpoints import Checkpoints
from tusd_py.errors import StartError, StorageFull, TusError, Unavailable
from tusd_py.migrations import BUSY_TIMEOUT, connect, migrate

MOST_JOINED: Final = (
    64  # rows in one INSERT: as many statements for SQLite to know, and less than 999 variables in each
)
ALONE_AT_MOST: Final = 5.0  # seconds


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


class Conflict(Unavailable):
    """The record exists already or is gone; try again in a moment."""

    statement: Statement | None = None  # the needed one that touched no row; None where a constraint refused


Outcome = list[Result] | TusError
_ONE_ROW: Outcome = [Result([], 1)]


class Gate(Protocol):
    """What keeps the transactions of several processes apart. Entering waits; `enter_now` only says whether it did."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def enter_now(self) -> bool: ...


class OpenGate:
    """That of a process which has the database to itself."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def enter_now(self) -> bool:
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


class Writer:
    """The connection that writes. Its methods are called from one thread at a time."""

    def __init__(self, path: Path, gate: Gate, untidy: Callable[[], None]) -> None:
        path.touch(mode=0o600)  # an upload's id is what entitles to it: nobody else may read them
        self._gate = gate
        with gate:  # processes that start together must not all migrate
            self._db = connect(path)
            try:
                self.version = migrate(self._db, path)
            except (sqlite3.Error, StartError):
                self._db.close()
                raise
        self._waits = True  # for an outsider who has the database locked
        self._checkpoints = Checkpoints(path, self._db, gate, untidy)

    def commit(self, batch: Sequence[Sequence[Statement]], begin: Callable[[], bool]) -> list[Outcome]:
        """Every request's outcome, whatever happens: nobody may wait for ever. `begin` is asked once the gate is open;
        if it says no, the batch has been given up meanwhile: nothing is written, and there are no outcomes."""
        try:
            with self._gate:
                self._wait_for_outsiders(True)
                return self._outcomes(batch) if begin() else []
        except Exception as error:  # noqa: BLE001  # a supervisor: the gate, or a fault of ours
            return [ours(error) for _ in batch]

    def commit_at_once(self, batch: Sequence[Sequence[Statement]]) -> list[Outcome] | None:
        """The same without waiting for anybody; None, and nothing is written, if somebody is in the way."""
        try:
            if not self._gate.enter_now():
                return None
            try:
                self._wait_for_outsiders(False)
                outcomes = self._outcomes(batch)
            finally:
                self._gate.__exit__()
        except Exception as error:  # noqa: BLE001  # a supervisor: the gate, or a fault of ours
            return [ours(error) for _ in batch]
        return None if all(_was_kept_out(outcome) for outcome in outcomes) else outcomes

    def _wait_for_outsiders(self, wanted: bool) -> None:
        if wanted is not self._waits:
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT if wanted else 0}")
            self._waits = wanted

    def _outcomes(self, batch: Sequence[Sequence[Statement]]) -> list[Outcome]:
        try:
            return self._transaction(batch)
        except _RolledBack:
            return self._each_alone(batch)
        except Exception as error:  # noqa: BLE001  # a supervisor: BEGIN, COMMIT, an I/O error or a fault of ours
            self._roll_back()
            return [ours(error) for _ in batch]

    def _each_alone(self, batch: Sequence[Sequence[Statement]]) -> list[Outcome]:
        """The disk is full: whoever needs no room succeeds. Others wait for the gate meanwhile, so not for long."""
        until = monotonic() + ALONE_AT_MOST
        return [self._outcomes([statements])[0] if monotonic() < until else Unavailable() for statements in batch]

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
            if not self._db.in_transaction:  # a full disk takes all of it back
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
            if _is_io_error(error):
                raise
            return []
        return [_ONE_ROW] * len(rows)

    def _attempt(self, statements: Sequence[Statement]) -> Outcome:
        try:
            return [self._run(statements[0])] if len(statements) == 1 else self._together(statements)
        except Conflict as conflict:
            return conflict
        except (sqlite3.Error, OverflowError, ValueError) as error:  # the latter two: a value that SQLite cannot hold
            if _is_io_error(error):
                raise
            return ours(error)

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

    def tidy(self, *, may_wait: bool = True) -> bool:
        """After a transaction: keep the log small. Never raises; False if it would have to wait and may not."""
        return self._checkpoints.tidy(may_wait)

    def close(self) -> None:
        """SQLite copies and deletes the log when the last connection goes."""
        self._checkpoints.close()
        self._db.close()


def _was_kept_out(outcome: Outcome) -> bool:
    """By an outsider who has the database locked: SQLite then begins nothing."""
    return getattr(getattr(outcome, "__cause__", None), "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY


def _is_io_error(error: Exception) -> bool:
    """Perhaps a failed sync of the log: a second one would lie (law 7)."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_IOERR


def ours(error: Exception) -> TusError:
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
