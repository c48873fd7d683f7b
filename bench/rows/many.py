"""What several processes change: a takeover from one in another, and what each of them takes while nothing happens."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench import processes
from bench.client import tus
from bench.client.wire import MIB, Connection, Failed
from bench.rows.base import Metric, Row, Sample, Stage
from bench.rows.stalled import MORE, SENT, stall, wait_for_arrival

MOST_CONNECTIONS = 16


def takeover(stage: Stage) -> Sample:
    """As the takeover of stalled.py, but old and new connection belong to two processes where there are several."""
    root = stage.server.peer.root
    with ExitStack() as stack:
        new = stack.enter_context(stage.server.connect())
        path = tus.create(new, root, MIB)
        old = _elsewhere(stage, stack, new)
        stall(old, path)
        wait_for_arrival([old])
        time.sleep(0.2)
        start = time.perf_counter()
        tus.append(new, path, SENT, MORE)
        return {"ms": (time.perf_counter() - start) * 1000}


def _elsewhere(stage: Stage, stack: ExitStack, other: Connection) -> Connection:
    """A connection that another process serves; any where there is but one."""
    tree = processes.tree(stage.server.pid)
    for _ in range(MOST_CONNECTIONS):
        connection = stack.enter_context(stage.server.connect())
        tus.expect(connection.ask("OPTIONS", stage.server.peer.root, {}), 200, "OPTIONS")
        owners = [processes.serving(tree, stage.server.port, each.port_here) for each in (connection, other)]
        if len(tree) == 1 or owners[0] != owners[1]:
            return connection
    raise Failed(f"{MOST_CONNECTIONS} connections in a row were given to one process")


def idle(stage: Stage) -> Sample:
    """Memory of all processes once it stands still, and the mean of those that the first one has started."""
    stage.settled_kib()
    first, *others = (processes.proportional_kib(pid) / 1024 for pid in processes.tree(stage.server.pid))
    return {"mib": first + sum(others)} | ({"each_mib": sum(others) / len(others)} if others else {})


ROWS = (
    Row(
        "across", "PATCH through one in another process", (Metric("ms", "ms", 1),), takeover, many=True, only_ours=True
    ),
    Row(
        "idle",
        "memory at rest",
        (Metric("mib", "MiB", 1), Metric("each_mib", "MiB of each further process", 1)),
        idle,
        fresh=True,
        many=True,
        only_ours=True,
    ),
)
