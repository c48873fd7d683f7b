"""Small requests over keep-alive connections: creations with 4 KiB, and HEADs of unfinished uploads."""

from __future__ import annotations

from functools import partial

from bench import processes
from bench.client.load import Load
from bench.client.wire import Failed
from bench.processes import Spent
from bench.rows.base import Metric, Row, Sample, Stage

BODY = 4096
MOST_CREATIONS = 20_000
LOOKED_AT = 500
METRICS = (Metric("rate", "per s", more_is_better=True), Metric("cpu", "CPU-ms each", 3))


def creations(stage: Stage, connections: int) -> Sample:
    """Creation-with-upload of a whole upload; afterwards each is looked at and deleted, untimed."""
    loader = stage.loader()
    with processes.spending(stage.server.pid) as spent:
        load = loader.create(connections, MOST_CREATIONS, stage.scale.seconds, BODY, BODY)
    stage.must_store(BODY, load.right)
    loader.head(connections, load.right, 600, BODY)
    loader.delete(connections)
    return _sample(load, spent)


def heads(stage: Stage, connections: int) -> Sample:
    """HEAD of uploads of which half has come, so that a server has to look how much is there."""
    loader = stage.loader()
    made = loader.create(connections, LOOKED_AT, 60, BODY, 2 * BODY)
    stage.must_store(BODY, made.right)
    with processes.spending(stage.server.pid) as spent:
        load = loader.head(connections, 10**9, stage.scale.seconds, BODY)
    loader.delete(connections)
    return _sample(load, spent)


def _sample(load: Load, spent: Spent) -> Sample:
    if not load.right:
        raise Failed("no request was answered in time")
    return {"rate": load.right / load.seconds, "cpu": spent.cpu_seconds * 1000 / load.right}


ROWS = tuple(
    Row(
        f"{key}-{connections}",
        f"{title}, {connections} connections",
        METRICS,
        partial(measure, connections=connections),
        again=True,
        many=connections == 32,
    )
    for key, title, measure in (("creation", "creation with 4 KiB", creations), ("head", "HEAD", heads))
    for connections in (8, 32)
)
