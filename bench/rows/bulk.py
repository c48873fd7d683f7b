"""Large bodies: one PATCH of 256 MiB, and four connections that send PATCHes of 8 MiB."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from bench import processes
from bench.client import tus
from bench.client.wire import MIB, Connection, Failed
from bench.processes import Spent
from bench.rows.base import Metric, Row, Sample, Stage

METRICS = (Metric("rate", "MiB/s", more_is_better=True), Metric("cpu", "CPU-s/GiB", 2))
CONNECTIONS = 4
PIECE = 8 * MIB


def one_patch(stage: Stage) -> Sample:
    """From the first byte of the request's head to the 204."""
    root, size = stage.server.peer.root, stage.scale.patch_mib * MIB
    with stage.server.connect() as connection:
        path = tus.create(connection, root, size)
        with processes.spending(stage.server.pid) as spent:
            tus.append(connection, path, 0, size)
        _verify_and_delete(stage, connection, path, size)
    return _sample(spent, size)


def four_connections(stage: Stage) -> Sample:
    """From the moment that all four are connected to the last 204."""
    each = stage.scale.patch_mib * MIB // CONNECTIONS
    with ExitStack() as stack:
        connections = [stack.enter_context(stage.server.connect()) for _ in range(CONNECTIONS)]
        paths = [tus.create(connection, stage.server.peer.root, each) for connection in connections]
        spent = _send_together(stage, connections, paths, each)
        stage.must_store(each, CONNECTIONS)
        for connection, path in zip(connections, paths, strict=True):
            _verify_and_delete(stage, connection, path, each)
    return _sample(spent, each * CONNECTIONS)


def _send_together(stage: Stage, connections: list[Connection], paths: list[str], size: int) -> Spent:
    gate = threading.Barrier(CONNECTIONS + 1)

    def send(connection: Connection, path: str) -> None:
        gate.wait()
        for start in range(0, size, PIECE):
            tus.append(connection, path, start, min(PIECE, size - start))

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        sendings = [pool.submit(send, *pair) for pair in zip(connections, paths, strict=True)]
        with processes.spending(stage.server.pid) as spent:
            gate.wait()
            for sending in sendings:
                sending.result()
    return spent


def _verify_and_delete(stage: Stage, connection: Connection, path: str, size: int) -> None:
    if (offset := tus.offset_of(connection, path)) != size:
        raise Failed(f"HEAD: {offset} of {size} bytes are stored")
    stage.must_store(size)
    tus.delete(connection, path)


def _sample(spent: Spent, size: int) -> Sample:
    return {"rate": size / MIB / spent.seconds, "cpu": spent.cpu_seconds * 1024 * MIB / size}


ROWS = (
    Row("patch", "1 PATCH of 256 MiB", METRICS, one_patch, again=True, many=True),
    Row("four", "4 connections, PATCHes of 8 MiB", METRICS, four_connections, again=True, many=True),
)
