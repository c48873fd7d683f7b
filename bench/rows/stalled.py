"""Uploads that fall silent in mid-body: what each costs in memory, and how soon a second PATCH gets through."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.client import tus
from bench.client.wire import BUFFER, MIB, Connection, Failed
from bench.rows.base import Metric, Row, Sample, Stage

SENT = 64 * 1024
MORE = 16
CAP_SECONDS = 10.0


def memory(stage: Stage) -> Sample:
    """Growth of the server's memory by each of many PATCHes of which 64 KiB of 1 MiB came; the uploads exist before."""
    root, count = stage.server.peer.root, stage.scale.stalled
    with ExitStack() as stack, stage.server.connect() as connection:
        _warm(connection, root)
        paths = [tus.create(connection, root, MIB) for _ in range(count)]
        before = stage.settled_kib()
        stalled = [stall(stack.enter_context(stage.server.connect()), path) for path in paths]
        wait_for_arrival(stalled)
        after = stage.settled_kib()
        if lost := sum(each.has_spoken() for each in stalled):
            raise Failed(f"{lost} of {count} stalled PATCHes were answered or cut")
    return {"kib": (after - before) / count}


def takeover(stage: Stage) -> Sample:
    """From the second PATCH's first byte to its 204; a server that refuses it is asked again every 50 ms, for 10 s."""
    root = stage.server.peer.root
    with stage.server.connect() as old, stage.server.connect(CAP_SECONDS) as new:
        _warm(new, root)
        path = tus.create(new, root, MIB)
        stall(old, path)
        wait_for_arrival([old])
        time.sleep(0.2)
        start = time.perf_counter()
        offset = _push_through(new, path, start + CAP_SECONDS)
        seconds = time.perf_counter() - start
        ended = old.has_spoken(within=1.0)
        if offset is not None and tus.offset_of(new, path) != offset + MORE:
            raise Failed("HEAD does not know of the second PATCH's bytes")
    return {"ms": seconds * 1000, "old_ended": float(ended), "through": float(offset is not None)}


def stall(connection: Connection, path: str) -> Connection:
    """Begin a PATCH of 1 MiB and send 64 KiB of it."""
    connection.begin("PATCH", path, {**tus.patch_headers(0), "Content-Length": str(MIB)})
    connection.send(BUFFER[:SENT])
    return connection


def _push_through(connection: Connection, path: str, deadline: float) -> int | None:
    """The offset at which it got through, or None: at first what was sent, after a 409 what HEAD says."""
    offset = SENT
    while time.perf_counter() < deadline:
        try:
            status = connection.ask("PATCH", path, tus.patch_headers(offset), MORE).status
            if status == 204:
                return offset
            if status not in (409, 423):
                raise Failed(f"the second PATCH got {status}")
            if status == 409 and (head := connection.ask("HEAD", path, {})).status == 200:
                offset = int(head.headers["upload-offset"])
            else:
                time.sleep(0.05)
        except TimeoutError:
            return None
    return None


def _warm(connection: Connection, root: str) -> None:
    """One upload, for what is made on the first one; more would leave freed memory that the stalled ones take again."""
    path = tus.create(connection, root, MIB)
    tus.append(connection, path, 0, MIB)
    tus.delete(connection, path)


def wait_for_arrival(stalled: list[Connection]) -> None:
    """Until the server has taken all that was sent."""
    deadline = time.monotonic() + 20
    while any(each.unsent() for each in stalled):
        if time.monotonic() > deadline:
            raise Failed("the server does not read what stalled PATCHes have sent")
        time.sleep(0.05)


ROWS = (
    Row("stalled", "memory of a stalled PATCH", (Metric("kib", "KiB each", 1),), memory, fresh=True),
    Row("takeover", "PATCH through a stalled one", (Metric("ms", "ms", 1),), takeover, fresh=True),
)
