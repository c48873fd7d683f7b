"""Figures and log of several processes: one sum and one log, whoever is asked and whoever dies."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.server import Server
from tests.acceptance.wire import Wire, eventually
from tests.conftest import StartServer


@pytest.fixture
def server(start_server: StartServer) -> Server:
    return start_server("--processes", "2")


def workers(server: Server) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def scraped(server: Server) -> dict[str, float]:
    """Samples by name; of those with labels, the sum."""
    with Wire(str(server.folder / "control.sock")) as wire:
        text = wire.get("/metrics", {"Host": "localhost"}).body.decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def created(server: Server) -> float:
    return scraped(server)["tusd_py_uploads_created_total"]


def test_figures_outlive_a_worker(server: Server) -> None:
    """Whichever worker answers tells the sum of both; after kill -9 no counter goes back, and what comes is added."""
    wires = [server.connect() for _ in range(4)]
    for wire in wires:
        wire.new(5, body=b"12345")
    assert [created(server) for _ in range(4)] == [4, 4, 4, 4]
    eventually(lambda: scraped(server)["tusd_py_open_connections"] == 4, "both told of their connections")
    before = scraped(server)
    old = workers(server)
    os.kill(old[0], signal.SIGKILL)
    eventually(lambda: len(workers(server)) == 2 and workers(server) != old, "a new worker")
    eventually(lambda: scraped(server)["tusd_py_open_connections"] == 2, "the connections of the dead are gone")
    after = scraped(server)
    for name in ("tusd_py_uploads_created_total", "tusd_py_received_bytes_total", "process_cpu_seconds_total"):
        assert after[name] >= before[name]
    for _ in range(2):
        server.new(5, body=b"12345")
    assert created(server) == 6


def test_every_line_of_a_worker_names_it(server: Server) -> None:
    """Requests and events end with the number of the process."""
    for _ in range(4):
        server.new(5)
    server.terminate()
    lines = [line.rstrip() for line in server.log.splitlines() if " INFO request " in line]
    assert len(lines) == 4
    assert {re.sub(".* ", "", line) for line in lines} == {"process=0", "process=1"}
