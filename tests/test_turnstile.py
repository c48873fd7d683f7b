"""The gate in front of the database, with real processes that wait in it, are stopped and are killed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tusd_py.checkpoints import MAX_WAL
from tusd_py.database import Database, Statement
from tusd_py.errors import Unavailable
from tusd_py.instruments import Silent
from tusd_py.turnstile import COMMIT, NEXT, Turnstile, Watch

DEADLINE = 20.0  # seconds, for what takes milliseconds
TABLE = Statement("CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY, writer, bytes BLOB)")

# Takes the gate and begins a transaction, says so, and then does what it is told.
HOLDER = """
import os, signal, sqlite3, sys
from pathlib import Path
from tusd_py.turnstile import Turnstile

folder = Path(sys.argv[1])
db = sqlite3.connect(folder / "test.db", isolation_level=None)
with Turnstile(folder):
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO things (writer) VALUES ('holder')")
    print("in", flush=True)
    if sys.stdin.readline() == "stop\\n":
        signal.raise_signal(signal.SIGSTOP)
    db.execute("ROLLBACK")
"""

# Waits for the gate until it is killed.
WAITER = """
import sys
from pathlib import Path
from tusd_py.turnstile import Turnstile

gate = Turnstile(Path(sys.argv[1]))
print("waiting", flush=True)
with gate:
    print("in", flush=True)
"""

# Opens the database together with others, and commits rows as fast as it can.
WRITER = """
import asyncio, sys
from pathlib import Path
from tusd_py.database import Database, Statement
from tusd_py.instruments import Silent
from tusd_py.turnstile import Turnstile

async def main(folder, name, rows, size):
    database = await Database.open(folder / "test.db", Silent(), Turnstile(folder))
    await database.commit([Statement("CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY, writer, bytes BLOB)")])
    row = Statement("INSERT INTO things (writer, bytes) VALUES (?, zeroblob(?))", (name, size))

    async def write():
        for _ in range(rows // 4):
            await database.commit([row])

    await asyncio.gather(*(write() for _ in range(4)))
    await database.close()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


@contextmanager
def child(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed at the end."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)  # polls, with a deadline


def is_locked(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Turnstile]:
    made = Turnstile(tmp_path)
    yield made
    made.close()


async def opened(folder: Path, gate: Turnstile, patience: float = DEADLINE) -> Database:
    database = await Database.open(folder / "test.db", Silent(), gate, patience=patience)
    await database.commit([TABLE])
    return database


async def writers(database: Database) -> list[str]:
    return [row[0] for row in await database.read(Statement("SELECT writer FROM things ORDER BY id"))]


def thing(name: str) -> Statement:
    return Statement("INSERT INTO things (writer) VALUES (?)", (name,))


# The gate


def test_whoever_has_been_through_goes_to_the_back(tmp_path: Path, gate: Turnstile) -> None:
    """One that comes again at once does not overtake one that waits."""
    passed: list[str] = []
    waiter = Turnstile(tmp_path)

    def wait() -> None:
        with waiter:
            passed.append("waited")

    thread = threading.Thread(target=wait)
    with gate:
        thread.start()
        wait_until(lambda: is_locked(tmp_path / NEXT))
    with gate:
        passed.append("came again")
    thread.join()
    waiter.close()
    assert passed == ["waited", "came again"]


def test_watch_names_the_holder(tmp_path: Path, gate: Turnstile) -> None:
    """The watch names a process in the gate and since when; nobody before, and nobody after."""
    watch = Watch(tmp_path)
    assert watch.holder() is None
    began = time.monotonic()
    with gate:
        first = watch.holder()
        second = watch.holder()
        took = time.monotonic() - began
    assert first is not None
    assert second is not None
    assert first.pid == os.getpid()
    assert 0 <= first.seconds <= second.seconds <= took
    assert watch.holder() is None


def test_watch_of_a_folder_without_a_gate(tmp_path: Path) -> None:
    """Where no process has made the gate yet, nobody holds it."""
    assert Watch(tmp_path).holder() is None


def test_killed_holder_is_not_told_of(tmp_path: Path) -> None:
    """A process that was killed in the gate leaves its pid there, and is not told of."""
    with sqlite3.connect(tmp_path / "test.db") as db:
        db.execute(TABLE.sql)
    db.close()
    with child(HOLDER, tmp_path) as process:
        assert says(process) == "in"
        watch = Watch(tmp_path)
        held = watch.holder()
        assert held is not None
        assert held.pid == process.pid
        process.kill()
        process.wait()
        assert (tmp_path / COMMIT).read_bytes()[:8] != bytes(8)
        assert watch.holder() is None


def test_stopped_at_the_front_of_the_queue(tmp_path: Path, gate: Turnstile) -> None:
    """A process that is stopped while it waits keeps everybody out: the watch names it, and its death lets them in."""
    watch = Watch(tmp_path)
    with child(WAITER, tmp_path) as process:
        with gate:
            assert says(process) == "waiting"
            wait_until(lambda: is_locked(tmp_path / NEXT))
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: is_stopped(process.pid))
            held = watch.holder()
            assert held is not None
            assert held.pid == os.getpid()
        first = watch.holder()
        assert first is not None
        assert first == (process.pid, 0.0), "it has kept nobody waiting so far"
        second = watch.holder()
        assert second is not None
        assert second.seconds > 0
        process.kill()
        with gate:
            pass
    assert watch.holder() is None


# The database behind it


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
async def test_killed_between_begin_and_commit(tmp_path: Path, gate: Turnstile, stopped: bool) -> None:
    """Others wait for a process that hangs in its transaction; after kill -9 they go on, and nothing of it is there."""
    database = await opened(tmp_path, gate)
    with child(HOLDER, tmp_path) as process:
        assert says(process) == "in"
        if stopped:
            tell(process, "stop")
            wait_until(lambda: is_stopped(process.pid))
        commit = asyncio.create_task(database.commit([thing("mine")]))
        await asyncio.to_thread(wait_until, lambda: is_locked(tmp_path / NEXT))
        assert not commit.done()
        held = Watch(tmp_path).holder()
        assert held is not None
        os.kill(held.pid, signal.SIGKILL)
        await commit
    assert await writers(database) == ["mine"]
    await database.close()


async def test_what_waits_too_long_is_given_up(tmp_path: Path, gate: Turnstile) -> None:
    """Requests that wait for a gate that stays shut are told so, later ones at once; none of them is ever written."""
    database = await opened(tmp_path, gate, patience=0.1)
    other = Turnstile(tmp_path)
    with other:
        first = asyncio.create_task(database.commit([thing("first")]))
        await asyncio.to_thread(wait_until, lambda: is_locked(tmp_path / NEXT))
        second = asyncio.create_task(database.commit([thing("second")]))
        for commit in (first, second):
            with pytest.raises(Unavailable, match="Another process"):
                await commit
        with pytest.raises(Unavailable, match="Another process"):
            await asyncio.wait_for(database.check(), 0.05)
    other.close()
    async with asyncio.timeout(DEADLINE):
        while not await succeeds(database, thing("later")):
            await asyncio.to_thread(wait_until, lambda: not is_locked(tmp_path / NEXT))
    assert await writers(database) == ["later"]
    await database.close()


async def succeeds(database: Database, statement: Statement) -> bool:
    try:
        await database.commit([statement])
    except Unavailable:
        return False
    return True


async def test_closing_behind_a_shut_gate(tmp_path: Path, gate: Turnstile) -> None:
    """Closing waits until the thread is back from the gate; what was given up stays unwritten."""
    database = await opened(tmp_path, gate, patience=0.1)
    other = Turnstile(tmp_path)
    with other:
        with pytest.raises(Unavailable):
            await database.commit([thing("given up")])
        closing = asyncio.create_task(database.close())
        await asyncio.sleep(0)
        assert not closing.done()
    await closing
    other.close()
    with pytest.raises(Unavailable, match="stopping"):
        await database.check()
    again = await Database.open(tmp_path / "test.db", Silent())
    assert await writers(again) == []
    await again.close()


async def test_several_processes_write(tmp_path: Path, gate: Turnstile) -> None:
    """Processes that start together on an empty folder migrate once, lose no row and fail no request."""
    await run_writers(tmp_path, rows=400, size=0)
    database = await opened(tmp_path, gate)
    counted = await database.read(Statement("SELECT writer, count(*) FROM things GROUP BY writer ORDER BY writer"))
    assert counted == [("a", 400), ("b", 400), ("c", 400)]
    await database.close()


@pytest.mark.slow
async def test_log_of_several_processes_stays_small(tmp_path: Path) -> None:
    """However many write, the log is copied back, by one of them for all."""
    largest = 0

    def look() -> None:
        nonlocal largest
        if (log := tmp_path / "test.db-wal").exists():
            largest = max(largest, log.stat().st_size)

    await run_writers(tmp_path, rows=80, size=1 << 20, meanwhile=look)
    assert 0 < largest <= MAX_WAL + (24 << 20)


async def run_writers(folder: Path, rows: int, size: int, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Three processes with as many rows each, to their end."""
    command = (sys.executable, "-c", WRITER, str(folder))
    processes = [await asyncio.create_subprocess_exec(*command, name, str(rows), str(size)) for name in "abc"]
    pending = {asyncio.create_task(process.wait()) for process in processes}
    try:
        async with asyncio.timeout(6 * DEADLINE):
            while pending:
                meanwhile()
                _, pending = await asyncio.wait(pending, timeout=0.01)
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
    assert [process.returncode for process in processes] == [0, 0, 0]
