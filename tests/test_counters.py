"""Counters of several processes: real ones, which are killed, and whose work stays counted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tusd_py.counters import GAUGES, ROW, Count, Counts, Durations, Sheet
from tusd_py.errors import StartError
from tusd_py.metrics import Metrics

# Counts a request and its bytes for each line it is told, and says so; has as many connections as its row's number.
WORKER = """
import sys
from pathlib import Path
from tusd_py.counters import Sheet
from tusd_py.metrics import Metrics

row = int(sys.argv[2])
metrics = Metrics(Sheet.open(Path(sys.argv[1]), row))
metrics.observe(open_connections=lambda: row, receiving=lambda: 1, free_bytes=lambda: 7)
metrics.refresh()
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        metrics.requested("HEAD")
        metrics.received(100)
        metrics.committed(1, 0.002)
    print("counted", flush=True)
"""

# Counts without end.
BUSY = (
    WORKER.partition('print("ready"')[0]
    + """
print("ready", flush=True)
while True:
    metrics.requested("HEAD")
"""
)

BURN = """
import time
while time.process_time() < 0.3:
    pass
print("burnt", flush=True)
input()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Sheet.create(tmp_path / "counters", 4)
    return tmp_path / "counters"


@pytest.fixture
def metrics(path: Path) -> Metrics:
    """Those of the process that runs the tests, in row 0."""
    made = Metrics(Sheet.open(path, 0))
    made.observe(open_connections=lambda: 10, receiving=lambda: 0, free_bytes=lambda: 7)
    return made


@contextmanager
def worker(path: Path, row: int, script: str = WORKER) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed at the end."""
    command = [sys.executable, "-c", script, str(path), str(row)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def count(process: subprocess.Popen[str], times: int) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{times}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "counted\n"


def told(metrics: Metrics) -> dict[str, float]:
    """Samples by name; of those with labels, the sum."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics.exposition()[0].decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def test_the_sum_of_all_processes(path: Path, metrics: Metrics) -> None:
    """Whichever process is asked tells what all have counted, also those that are gone."""
    metrics.requested("POST")
    with worker(path, 1) as one, worker(path, 2) as two:
        count(one, 3)
        count(two, 4)
    figures = told(metrics)
    assert figures["tusd_py_requests_total"] == 8
    assert figures["tusd_py_received_bytes_total"] == 700
    assert figures["tusd_py_committed_requests_total"] == figures["tusd_py_commit_seconds_count"] == 7
    assert figures["tusd_py_commit_seconds_sum"] == pytest.approx(0.014)


def test_a_row_outlives_its_process(path: Path, metrics: Metrics) -> None:
    """After kill -9 nothing that was counted is lost, and who takes the row goes on from there."""
    with worker(path, 1) as one:
        count(one, 5)
        one.kill()
        one.wait()
        assert told(metrics)["tusd_py_requests_total"] == 5
    with worker(path, 1) as again:
        count(again, 2)
    assert told(metrics)["tusd_py_requests_total"] == 7


def test_killed_while_it_counts(path: Path, metrics: Metrics) -> None:
    """Counters never go back, whenever a process dies."""
    seen = [0.0]
    for _ in range(3):
        with worker(path, 1, BUSY) as busy:
            seen += [told(metrics)["tusd_py_requests_total"] for _ in range(10)]
            busy.kill()
        seen.append(told(metrics)["tusd_py_requests_total"])
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_gauges_lose_the_part_of_a_dead_process(path: Path, metrics: Metrics) -> None:
    """They are the sum of what each has; vacating a row takes its part away, and none of its counters."""
    with worker(path, 2) as two, worker(path, 3):
        count(two, 5)
        assert told(metrics)["tusd_py_open_connections"] == 10 + 2 + 3
        two.kill()
        two.wait()
        Sheet.open(path, 0).vacate(2)
        figures = told(metrics)
    assert figures["tusd_py_open_connections"] == 10 + 3
    assert figures["tusd_py_receiving_bodies"] == 1
    assert figures["tusd_py_free_disk_bytes"] == 7, "which all share"
    assert figures["tusd_py_requests_total"] == 5


async def test_gauges_are_kept_fresh(path: Path, metrics: Metrics) -> None:
    """A process writes down its gauges by itself, for whoever is asked."""
    other = Metrics(Sheet.open(path, 1))
    refreshed = asyncio.Event()

    def connections() -> int:
        refreshed.set()
        return 32

    other.observe(open_connections=connections, receiving=lambda: 0, free_bytes=lambda: 7)
    task = asyncio.create_task(other.keep_fresh())
    async with asyncio.timeout(5):
        await refreshed.wait()
    task.cancel()
    assert told(metrics)["tusd_py_open_connections"] == 42


def test_what_all_processes_use(path: Path, metrics: Metrics) -> None:
    """CPU time, memory and descriptors are those of all together; the time of the dead stays in the sum."""
    alone = told(metrics)
    with worker(path, 1):
        both = told(metrics)
        assert both["process_resident_memory_bytes"] > alone["process_resident_memory_bytes"] + (5 << 20)
        assert both["process_open_fds"] > alone["process_open_fds"]
        assert both["process_start_time_seconds"] == alone["process_start_time_seconds"]
    assert told(metrics)["process_cpu_seconds_total"] >= both["process_cpu_seconds_total"]


def test_cpu_time_of_the_dead_is_that_of_what_the_parent_outlived(metrics: Metrics) -> None:
    """A child's CPU time is in the sum once its parent has waited for it."""
    before = told(metrics)["process_cpu_seconds_total"]
    spent = time.process_time()
    subprocess.run([sys.executable, "-c", BURN], input="\n", text=True, check=True, stdout=subprocess.DEVNULL)
    ours = time.process_time() - spent
    assert told(metrics)["process_cpu_seconds_total"] - before - ours > 0.2


def test_other_versions_cannot_join(path: Path, metrics: Metrics) -> None:
    """A process that would mean something else by the words is refused, with a sentence."""
    metrics.requested("HEAD")
    with pytest.raises(StartError, match="restart"):
        Sheet.open(path, 1).seal("something else")
    assert told(metrics)["tusd_py_requests_total"] == 1


def test_a_new_file_begins_with_zeros(path: Path, metrics: Metrics) -> None:
    """The next start counts from 0, and whoever still has the old file disturbs nobody."""
    Sheet.create(path, 4)
    metrics.requested("HEAD")
    assert told(Metrics(Sheet.open(path, 1)))["tusd_py_requests_total"] == 0


def test_the_file_is_private(path: Path) -> None:
    """Nobody else can read or change it, and its size is that of its rows."""
    assert path.stat().st_mode & 0o077 == 0
    assert path.stat().st_size == (1 + 4) * ROW * 8


@pytest.mark.parametrize("shared", [False, True], ids=["memory", "mapped"])
def test_kinds_of_counters(path: Path, shared: bool) -> None:
    """The same in memory and in a file: each counter has words of its own."""
    sheet = Sheet.open(path, 1) if shared else Sheet()
    plain, labelled = Count(sheet), Counts(sheet, ("a",), ("b",))
    durations = Durations(sheet, (0.1, 1.0))
    plain.add(1 << 40)
    labelled.add("b")
    labelled.add("c")
    for seconds in (0.1, 0.5, 5.0):
        durations.add(seconds)
    assert plain.total() == 1 << 40
    assert dict(labelled.totals()) == {("a",): 0, ("b",): 1, ("other",): 1}
    assert durations.totals() == ([("0.1", 1), ("1.0", 2), ("+Inf", 3)], pytest.approx(5.6))
    assert len(sheet.pids()) == 1
    assert sum(word != 0 for word in sheet.words[GAUGES:]) == 7
