"""The group-committing writer: what is durable when, who fails with whom, and how large the log grows."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import pytest

from tusd_py.checkpoints import MAX_WAL
from tusd_py.database import MAX_WAITING, Conflict, Database, Result, Statement
from tusd_py.errors import StartError, StorageFull, Unavailable
from tusd_py.instruments import Silent
from tusd_py.pace import LOOKED_AT

MIB = 1 << 20


class Counting(Silent):
    def __init__(self) -> None:
        self.batches: list[int] = []

    def committed(self, requests: int, seconds: float) -> None:
        self.batches.append(requests)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
async def database(path: Path, counting: Counting) -> AsyncIterator[Database]:
    database = await Database.open(path, counting)
    await database.commit([Statement("CREATE TABLE things (id INTEGER PRIMARY KEY, bytes BLOB)")])
    counting.batches.clear()
    yield database
    await database.close()


def insert(id: int, size: int = 0) -> Statement:
    return Statement("INSERT INTO things VALUES (?, zeroblob(?))", (id, size))


async def ids(database: Database) -> list[int]:
    return [row[0] for row in await database.read(Statement("SELECT id FROM things ORDER BY id"))]


async def test_group_commit(database: Database, counting: Counting) -> None:
    """Requests that wait together are committed together."""
    await asyncio.gather(*(database.commit([insert(number)]) for number in range(500)))
    assert await ids(database) == list(range(500))
    assert counting.batches == [500]


async def test_results(database: Database) -> None:
    """A request gets the rows and the number of rows that each of its statements touched."""
    statements = [
        insert(1),
        insert(2),
        Statement("UPDATE things SET bytes = NULL RETURNING id"),
        Statement("DELETE FROM things WHERE id > ?", (5,)),
    ]
    results = await database.commit(statements)
    assert results == [Result([], 1), Result([], 1), Result([(1,), (2,)], 2), Result([], 0)]


async def test_fails_alone(database: Database, counting: Counting) -> None:
    """A request that fails takes back all of its own statements and none of another's."""
    outcomes = await asyncio.gather(
        database.commit([insert(1)]),
        database.commit([insert(2), insert(1)]),
        database.commit([insert(3), insert(4)]),
        database.commit([insert(1)]),
        database.commit([Statement("nonsense")]),
        database.commit([insert(2**70)]),
        database.commit([insert(5)]),
        return_exceptions=True,
    )
    failed = [type(outcome) if isinstance(outcome, Exception) else None for outcome in outcomes]
    assert failed == [None, Conflict, None, Conflict, Unavailable, Unavailable, None]
    assert isinstance(outcomes[1], Conflict)
    assert isinstance(outcomes[1].__cause__, sqlite3.IntegrityError)
    assert await ids(database) == [1, 3, 4, 5]
    assert counting.batches == [3]


async def test_needed(database: Database) -> None:
    """A needed statement that touches no row fails its request."""
    needed = Statement("DELETE FROM things WHERE id = 9", needed=True)
    with pytest.raises(Conflict) as raised:
        await database.commit([insert(1), needed])
    assert raised.value.statement is needed
    assert await ids(database) == []


async def test_failing_commit(database: Database) -> None:
    """A COMMIT that fails fails everybody in it, and the next one works."""
    await database.commit([Statement("CREATE TABLE late (id REFERENCES things DEFERRABLE INITIALLY DEFERRED)")])
    outcomes = await asyncio.gather(
        database.commit([insert(1)]),
        database.commit([Statement("INSERT INTO late VALUES (7)")]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [Conflict, Conflict]
    assert outcomes[0] is not outcomes[1]
    await database.commit([insert(2)])
    assert await ids(database) == [2]


async def test_landed(database: Database) -> None:
    """Callbacks run in the order of the commits, before their callers, and not for a request that failed."""
    order: list[str] = []

    async def write(number: int) -> None:
        await database.commit([insert(number % 3)], lambda _: order.append(f"landed {number}"))
        order.append(f"told {number}")

    await asyncio.gather(*(write(number) for number in range(4)), return_exceptions=True)
    assert order == ["landed 0", "landed 1", "landed 2", "told 0", "told 1", "told 2"]


async def test_cancelled_caller(database: Database) -> None:
    """A cancelled caller hears of it when its transaction has ended; nobody else is disturbed."""
    landed: list[int] = []
    first = asyncio.create_task(database.commit([insert(1)], lambda _: landed.append(1)))
    second = asyncio.create_task(database.commit([insert(2)]))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert landed == [1]
    await second
    assert await ids(database) == [1, 2]


async def test_too_many(database: Database) -> None:
    """What waits is bounded: beyond that a write is refused at once."""
    writes = [asyncio.create_task(database.commit([insert(number)])) for number in range(MAX_WAITING)]
    refused = asyncio.create_task(database.commit([insert(MAX_WAITING)]))
    outcomes = await asyncio.gather(refused, *writes, return_exceptions=True)
    assert [isinstance(outcome, Unavailable) for outcome in outcomes] == [True] + [False] * MAX_WAITING
    assert len(await ids(database)) == MAX_WAITING


async def test_close(path: Path) -> None:
    """Closing finishes what waits, leaves no log behind, and refuses what comes later."""
    database = await Database.open(path, Silent())
    waiting = asyncio.create_task(database.commit([Statement("CREATE TABLE things (id)")]))
    await asyncio.sleep(0)
    await database.close()
    await database.close()
    assert await waiting == [Result([], -1)]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    with pytest.raises(Unavailable):
        await database.check()
    with pytest.raises(Unavailable):
        await database.read(Statement("SELECT 1"))


async def test_synced(database: Database) -> None:
    """A commit is synced to the disk before it is told."""
    [[mode], [level]] = [
        result.rows[0]
        for result in await database.commit([Statement("PRAGMA journal_mode"), Statement("PRAGMA synchronous")])
    ]
    assert (mode, level) == ("wal", 2)


async def test_check(database: Database) -> None:
    """The check writes and changes nothing."""
    before = await database.read(Statement("PRAGMA user_version"))
    await database.check()
    assert await database.read(Statement("PRAGMA user_version")) == before


async def test_read_only(database: Database) -> None:
    """The connection of the readers cannot write, and a faulty query is Unavailable."""
    for sql in ("INSERT INTO things VALUES (1, NULL)", "SELECT nonsense"):
        with pytest.raises(Unavailable):
            await database.read(Statement(sql))
    assert await ids(database) == []


async def test_no_snapshot_stays(database: Database, path: Path) -> None:
    """After a read nothing keeps the log from being emptied."""
    await database.commit([insert(1)])
    await database.read(Statement("SELECT * FROM things"))
    assert _checkpoint(path)[0] == 0


def _checkpoint(path: Path) -> tuple[int, int, int]:
    outsider = sqlite3.connect(path)
    try:
        result: tuple[int, int, int] = outsider.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return result
    finally:
        outsider.close()


async def test_full_disk(database: Database) -> None:
    """A full disk is StorageFull for those who need room, not for others in the batch, and passes by itself."""
    await database.commit([insert(1)])
    [pages] = await database.commit([Statement("PRAGMA page_count")])
    await database.commit([Statement(f"PRAGMA max_page_count = {pages.rows[0][0]}")])
    outcomes = await asyncio.gather(
        database.commit([insert(2, MIB)]),
        database.commit([Statement("DELETE FROM things WHERE id = 1")]),
        database.commit([insert(3, MIB), insert(4)]),
        return_exceptions=True,
    )
    failed = [type(outcome) if isinstance(outcome, Exception) else None for outcome in outcomes]
    assert failed == [StorageFull, None, StorageFull]
    assert await ids(database) == []
    await database.commit([Statement("PRAGMA max_page_count = 1000000")])
    await database.commit([insert(2, MIB)])
    assert await ids(database) == [2]


async def test_io_error(database: Database) -> None:
    """An I/O error in the middle of a batch fails everybody in it, and nothing of it is tried a second time."""
    await database.commit([insert(1)])
    with largest_file(MIB):
        outcomes = await asyncio.gather(
            database.commit([Statement("DELETE FROM things WHERE id = 1")]),
            database.commit([insert(2, 16 * MIB)]),
            return_exceptions=True,
        )
    assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
    assert await ids(database) == [1]
    await database.commit([insert(2)])
    assert await ids(database) == [1, 2]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Meanwhile no file of this process grows beyond: writes fail with EFBIG, an I/O error to SQLite."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.slow
async def test_log_stays_small(database: Database, path: Path) -> None:
    """The log does not grow with what is written."""
    largest = 0
    for number in range(200):
        await database.commit([Statement("INSERT OR REPLACE INTO things VALUES (?, zeroblob(?))", (number % 8, MIB))])
        largest = max(largest, _wal(path))
    assert largest <= MAX_WAL + 6 * MIB


async def test_log_behind_a_reader(database: Database, path: Path) -> None:
    """A log that an outsider's snapshot let grow is emptied once that has ended."""
    outsider = sqlite3.connect(path, isolation_level=None)
    try:
        outsider.execute("BEGIN")
        outsider.execute("SELECT * FROM things").fetchall()
        for number in range(MAX_WAL // MIB + 6):
            await database.commit([insert(number, MIB)])
        assert _wal(path) > MAX_WAL
    finally:
        outsider.close()
    for number in range(1000, 1010):
        await database.commit([insert(number, MIB)])
    assert _wal(path) < MAX_WAL // 2


def _wal(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


async def test_gate(path: Path) -> None:
    """The migrations and every write transaction run inside the gate."""
    passed: list[str] = []

    class Gate:
        def __enter__(self) -> None:
            passed.append("in")

        def __exit__(self, *_: object) -> None:
            passed.append("out")

        def enter_now(self) -> bool:
            passed.append("in")
            return True

    database = await Database.open(path, Silent(), Gate())
    await asyncio.gather(database.check(), database.check())
    await database.check()
    await database.close()
    assert passed == ["in", "out"] * 3


async def hurried(database: Database) -> None:
    """Let the database find out that its disk answers at once."""
    for number in range(-2 * LOOKED_AT, 0):
        await database.commit([insert(number)])


async def test_outsider(database: Database, path: Path) -> None:
    """While an outsider has the database locked, a commit waits for it and the loop does not."""
    await hurried(database)
    outsider = sqlite3.connect(path, isolation_level=None)
    outsider.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(database.commit([insert(1)]))
    for _ in range(3):
        assert await asyncio.wait_for(ids(database), 2.0)
    assert not waiting.done()
    outsider.execute("COMMIT")
    outsider.close()
    await waiting
    assert (await ids(database))[-1] == 1


async def test_shut_gate(path: Path) -> None:
    """While the gate is shut, a commit waits for it and the loop does not."""
    shut = Lock()

    class Gate:
        def __enter__(self) -> None:
            shut.acquire()

        def __exit__(self, *_: object) -> None:
            shut.release()

        def enter_now(self) -> bool:
            return shut.acquire(blocking=False)

    database = await Database.open(path, Silent(), Gate())
    await database.commit([Statement("CREATE TABLE things (id INTEGER PRIMARY KEY, bytes BLOB)")])
    await hurried(database)
    with shut:
        waiting = asyncio.create_task(database.commit([insert(1)]))
        assert await asyncio.wait_for(ids(database), 2.0)
        assert not waiting.done()
    await waiting
    assert (await ids(database))[-1] == 1
    await database.close()


async def test_private(database: Database, path: Path) -> None:
    """Nobody else can read the file: an upload's id is what entitles to it."""
    assert path.stat().st_mode & 0o077 == 0
    assert Path(f"{path}-wal").stat().st_mode & 0o077 == 0


async def test_opened_again(path: Path) -> None:
    """Opening a database again changes nothing in it."""
    for _ in range(2):
        database = await Database.open(path, Silent())
        schema = await database.read(Statement("SELECT sql FROM sqlite_master"))
        [[version]] = await database.read(Statement("PRAGMA user_version"))
        await database.commit([Statement("CREATE TABLE IF NOT EXISTS mine (id)")])
        await database.close()
    assert ("CREATE TABLE mine (id)",) in schema
    assert version >= 1


async def test_newer(path: Path) -> None:
    """A database of a newer version is refused with a sentence and left as it is."""
    with _sqlite(path) as db:
        db.execute("PRAGMA user_version = 4711")
    with pytest.raises(StartError, match="newer version"):
        await Database.open(path, Silent())
    with _sqlite(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (4711,)


@contextmanager
def _sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        yield db
    finally:
        db.close()


@pytest.mark.parametrize("what", ["folder", "garbage", "file in the way"])
async def test_not_a_database(path: Path, what: str) -> None:
    """What is no database is refused with a sentence and left as it is."""
    if what == "folder":
        path.mkdir()
    elif what == "garbage":
        path.write_bytes(b"garbage " * 1000)
    else:
        path.write_bytes(b"")
        path = path / "test.db"
    with pytest.raises(StartError, match="cannot be opened"):
        await Database.open(path, Silent())


WRITER = """
import asyncio, sys
from pathlib import Path
from tusd_py.database import Database, Statement
from tusd_py.instruments import Silent

async def main():
    database = await Database.open(Path(sys.argv[1]), Silent())
    await database.commit([Statement("CREATE TABLE things (id INTEGER PRIMARY KEY)")])

    async def write(start):
        for id in range(start, 10**9, 8):
            await database.commit([Statement("INSERT INTO things VALUES (?)", (id,))])
            print(id, flush=True)

    await asyncio.gather(*(write(start) for start in range(8)))

asyncio.run(main())
"""


async def test_killed(path: Path) -> None:
    """After kill -9 everything that was acknowledged is there."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(300)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    database = await Database.open(path, Silent())
    try:
        assert set(acknowledged) <= set(await ids(database))
    finally:
        await database.close()
