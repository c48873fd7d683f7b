"""Metrics: honest, bounded, and in the form that Prometheus advises."""

from __future__ import annotations

import ast
import random
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tusd_py import metrics as module
from tusd_py.counters import Sheet
from tusd_py.errors import TusError, Unavailable, UploadNotFound
from tusd_py.hooks.events import (
    Event,
    UploadCreated,
    UploadExpired,
    UploadFailed,
    UploadFinished,
    UploadInterrupted,
    UploadTerminated,
)
from tusd_py.metrics import BOUNDS, ENDINGS, Metrics
from tusd_py.storage.base import Ending
from tusd_py.upload import Kind, Upload, new_id
from tusd_py.uploads.endings import error_of

PACKAGE = Path(module.__file__).parent
UNITS = ("_seconds", "_bytes", "_total", "_info")
COUNTED_THINGS = {"tusd_py_open_connections", "tusd_py_open_uploads", "tusd_py_receiving_bodies"}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(params=["one process", "several"])
def metrics(request: pytest.FixtureRequest, tmp_path: Path) -> Metrics:
    """Those of one process, and those of one that shares a sheet with others."""
    if request.param == "one process":
        made = Metrics()
    else:
        Sheet.create(tmp_path / "counters", 3)
        made = Metrics(Sheet.open(tmp_path / "counters", 1))
    made.observe(open_connections=lambda: 7, receiving=lambda: 2, free_bytes=lambda: 1 << 40)
    return made


def families(metrics: Metrics, open_uploads: int | None = 5) -> list[Metric]:
    body, _ = metrics.exposition(open_uploads)
    return list(text_string_to_metric_families(body.decode()))


def samples(metrics: Metrics, open_uploads: int | None = 5) -> Samples:
    """Every sample by name and labels, as Prometheus reads it; there are no two of the same."""
    found: Samples = {}
    for family in families(metrics, open_uploads):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f"tusd_py_{name}", tuple(sorted(labels.items()))]


def upload(kind: Kind = Kind.REGULAR) -> Upload:
    return Upload(new_id(), 10, 0.0, kind=kind)


def test_every_family_keeps_the_conventions(metrics: Metrics) -> None:
    """Prefix, base units, `_total` on counters only, a type and a sentence of help each, labels in lower case."""
    ours = [family for family in families(metrics) if not family.name.startswith("process_")]
    for family in ours:
        assert family.name.startswith("tusd_py_")
        assert family.name.endswith(UNITS) or family.type == "counter" or family.name in COUNTED_THINGS
        assert family.type in {"counter", "gauge", "histogram"}
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert all(label.islower() for label in sample.labels)
    assert len(ours) == len({family.name for family in ours}) > 15


def test_closed_sets_begin_with_zeros(metrics: Metrics) -> None:
    """A first error is an increase from 0, not a series out of nowhere; nothing is counted under other names."""
    assert value(metrics, "errors_total", status="404", code="ERR_UPLOAD_NOT_FOUND") == 0
    assert value(metrics, "requests_total", method="PATCH") == 0
    assert value(metrics, "uploads_finished_total", kind="partial") == 0
    assert value(metrics, "interrupted_total", reason="ERR_UNEXPECTED_EOF") == 0
    assert not any("other" in dict(labels).values() for _, labels in samples(metrics))


def test_ten_thousand_random_errors_add_no_series(metrics: Metrics) -> None:
    """Whatever is refused, for whatever reason and by whatever method: the number of series stays (H2)."""
    metrics.refused(499, "ERR_NOBODY_KNOWS")
    metrics.requested("BREW")
    metrics.background_failed("brewing")
    metrics.hear(UploadInterrupted(upload(), 0, "ERR_NOBODY_KNOWS"))
    before = set(samples(metrics))
    chance = random.Random(20261121)
    for number in range(10_000):
        metrics.refused(chance.randrange(100, 1000), f"ERR_{number}")
        metrics.requested(f"METHOD{number}")
        metrics.background_failed(f"work {number}")
        metrics.hear(UploadInterrupted(upload(), 0, f"reason {number}"))
    assert set(samples(metrics)) == before
    assert value(metrics, "errors_total", status="other", code="other") == 10_001


def test_every_error_has_its_own_series(metrics: Metrics) -> None:
    """The closed set is that of errors.py, with the status of each."""
    metrics.refused(UploadNotFound.status, UploadNotFound.code)
    metrics.refused(TusError.status, TusError.code)
    assert value(metrics, "errors_total", status="404", code="ERR_UPLOAD_NOT_FOUND") == 1
    assert value(metrics, "errors_total", status="500", code="ERR_INTERNAL_SERVER_ERROR") == 1
    codes = [dict(labels)["code"] for name, labels in samples(metrics) if name == "tusd_py_errors_total"]
    assert len(codes) == len(set(codes)) > 40


def test_every_end_of_a_body_is_a_known_reason() -> None:
    """The reasons of interrupted_total are exactly those that the table of endings can give."""
    reasons = {error_of(ending, length).code for ending in Ending for length in (None, 10)}
    assert {error.code for error in ENDINGS} == reasons


def literals() -> Iterator[str]:
    """The names of background work, as the code calls them: `background_failed("sweep")`, or handed on by name."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                parts = [node.func, *node.args]
                if any(isinstance(part, ast.Attribute) and part.attr == "background_failed" for part in parts):
                    yield from (str(part.value) for part in node.args if isinstance(part, ast.Constant))


def test_background_work_is_known_by_name() -> None:
    """What fails in the background anywhere in the code has a series that begins with 0."""
    assert set(literals()) == set(module.BACKGROUND)


def test_bytes_of_all_threads_add_up(metrics: Metrics) -> None:
    """Threads that count at the same time lose nothing, and neither does a scrape between them."""

    def count() -> None:
        for _ in range(20_000):
            metrics.received(3)
        metrics.synced(0.002)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert 0 <= value(metrics, "received_bytes_total") <= 480_000
    for thread in threads:
        thread.join()
    assert value(metrics, "received_bytes_total") == 480_000
    assert value(metrics, "sync_seconds_count") == 8


def test_durations_fall_into_buckets(metrics: Metrics) -> None:
    """A bucket holds all that took at most so long; the last one holds everything."""
    for seconds in (0.0001, 0.0005, 0.02, 60.0):
        metrics.committed(2, seconds)
    assert value(metrics, "commit_seconds_bucket", le="0.0005") == 2
    assert value(metrics, "commit_seconds_bucket", le="0.025") == 3
    assert value(metrics, "commit_seconds_bucket", le=str(BOUNDS[-1])) == 3
    assert value(metrics, "commit_seconds_bucket", le="+Inf") == 4
    assert value(metrics, "commit_seconds_sum") == pytest.approx(60.0206)
    assert value(metrics, "committed_requests_total") == 8


@pytest.mark.parametrize(
    ("event", "name", "labels"),
    [
        (UploadCreated(upload(Kind.PARTIAL)), "uploads_created_total", {"kind": "partial"}),
        (UploadFinished(upload(Kind.FINAL)), "uploads_finished_total", {"kind": "final"}),
        (UploadTerminated(upload()), "uploads_terminated_total", {}),
        (UploadExpired(upload()), "uploads_expired_total", {}),
        (UploadFailed(upload(), "ERR_UPLOAD_FAILED"), "uploads_failed_total", {}),
        (UploadInterrupted(upload(), 5, "ERR_READ_TIMEOUT"), "interrupted_total", {"reason": "ERR_READ_TIMEOUT"}),
    ],
    ids=lambda part: type(part).__name__ if isinstance(part, Event) else None,
)
def test_an_event_moves_its_own_counter_only(metrics: Metrics, event: Event, name: str, labels: dict[str, str]) -> None:
    """One event is one step of one series."""
    before = samples(metrics)
    metrics.hear(event)
    moved = {key for key, count in samples(metrics).items() if count != before[key] and "process_" not in key[0]}
    assert moved == {(f"tusd_py_{name}", tuple(labels.items()))}


def test_gauges_are_asked_for_at_each_scrape() -> None:
    """They show what is there now, so they cannot drift (H1)."""
    here = [1, 2]
    metrics = Metrics()
    metrics.observe(open_connections=lambda: len(here), receiving=lambda: 0, free_bytes=lambda: 10)
    assert value(metrics, "open_connections") == 2
    here.clear()
    assert value(metrics, "open_connections") == 0
    assert value(metrics, "open_uploads") == 5


def test_what_cannot_be_asked_is_left_out() -> None:
    """A disk or a database in trouble takes its own figure away and no other."""

    def broken() -> int:
        raise Unavailable

    metrics = Metrics()
    metrics.observe(open_connections=lambda: 4, receiving=lambda: 0, free_bytes=broken)
    names = {name for name, _ in samples(metrics, open_uploads=None)}
    assert "tusd_py_open_connections" in names
    assert not names & {"tusd_py_free_disk_bytes", "tusd_py_open_uploads"}


def test_the_process_and_the_build_are_told(metrics: Metrics) -> None:
    """Memory, CPU time and descriptors of the process, and which version runs."""
    names = {name for name, _ in samples(metrics)}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= names
    assert "tusd_py_build_info" in names


def test_the_page_names_every_metric(metrics: Metrics) -> None:
    """docs/api.md has a row for each metric of ours, and none for one that is gone."""
    page = (PACKAGE.parent / "docs" / "api.md").read_text()
    told = set(re.findall(r"^\| `(tusd_py_\w+)", page, re.MULTILINE))
    suffixes = {"counter": "_total"}
    ours = [family for family in families(metrics) if family.name.startswith("tusd_py_")]
    assert told == {family.name + suffixes.get(family.type, "") for family in ours}
