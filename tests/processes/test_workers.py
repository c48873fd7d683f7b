"""Workers behind one parent: evenly used, replaced when they die, stopped and told together."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.server import ROOT, Server
from tests.acceptance.wire import TUS, Wire, eventually
from tests.conftest import StartServer
from tests.operations.running import MIB, Certificate, TlsWire, reload
from tests.operations.test_limits import PER_CLIENT, turned_away
from tests.processes.family import holders, kill, leader, one_each, workers
from tests.proof.strace import injection, traced
from tusd_py.turnstile import Watch

PATIENT = ("--keep-alive", "10m", "--head-timeout", "10m")


@contextmanager
def newcomers(server: Server) -> Iterator[list[int]]:
    """What connections are answered that come one after the other all along."""
    statuses: list[int] = []
    enough = threading.Event()

    def come() -> None:
        while not enough.is_set():
            with Wire(server.address) as wire:
                statuses.append(wire.options().status)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(come)
        eventually(lambda: len(statuses) > 0, "the first is answered")
        try:
            yield statuses
        finally:
            enough.set()
        coming.result()


def spread(server: Server, connections: int) -> list[int]:
    """How many of so many new connections each worker was given."""
    wires = [server.connect() for _ in range(connections)]
    eventually(lambda: None not in holders(server, wires), "all are taken", within=60)
    return sorted(Counter(holders(server, wires)).values())


def test_connections_are_spread_evenly(start_server: StartServer) -> None:
    """One after the other: 30 idle connections are 10 for each of three workers."""
    assert spread(start_server("--processes", "3"), 30) == [10, 10, 10]


@pytest.mark.slow
def test_ten_thousand_idle_connections(start_server: StartServer) -> None:
    """They are spread as evenly, but for those that came last while one link was full."""
    server = start_server("--processes", "2", "--max-connections", "10001", *PATIENT)
    fewer, more = spread(server, 10_000)
    assert fewer + more == 10_000
    assert more - fewer < 200
    assert server.options().status == 200


def test_a_worker_dies(start_server: StartServer) -> None:
    """kill -9 takes the connections that it served, and no other: those that wait for it are served by its siblings,
    and another takes its place."""
    server = start_server("--processes", "2")
    served = one_each(server)
    victim, other = workers(server)
    os.kill(victim, signal.SIGSTOP)
    waiting = [server.connect() for _ in range(6)]
    for wire in waiting:
        wire.begin("OPTIONS", "/files/")
    kill(server, victim)
    assert [wire.answer("OPTIONS").status for wire in waiting] == [200] * 6
    assert served[victim].is_closed()
    assert served[other].options().status == 200
    assert len(one_each(server)) == 2
    eventually(lambda: "connections-passed-on" in server.log, "what waited was passed on")
    assert "status=-9" in server.log


def test_background_work_passes_on(start_server: StartServer) -> None:
    """One worker expires uploads; when it is killed, another goes on within a second."""
    server = start_server("--processes", "2", "--expire-after", "300ms", "--sweep-interval", "100ms")
    eventually(lambda: leader(server) is not None, "somebody leads")
    first = leader(server)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    eventually(lambda: leader(server) not in (None, first), "another leads", within=1.0)
    file = server.folder / "uploads" / server.new(10, body=b"abc").rpartition("/")[2]
    eventually(lambda: not file.exists(), "it is expired")


def test_a_finish_that_a_dead_worker_left(start_server: StartServer) -> None:
    """Bytes that are complete without a finished record are finished although nobody asks and nothing is restarted."""
    server = start_server("--processes", "2")
    wire = server.connect()
    path = wire.new(6)
    id = path.rpartition("/")[2]
    [victim] = holders(server, [wire])
    assert victim is not None
    database = sqlite3.connect(server.folder / "tusd.db", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")  # nobody else commits
    wire.begin_patch(path, 0, 6, b"letter")
    file = server.folder / "uploads" / id
    eventually(lambda: file.stat().st_size == 6, "its bytes are complete")
    os.kill(victim, signal.SIGKILL)
    assert wire.is_closed()
    database.execute("ROLLBACK")

    def state() -> str:
        return str(database.execute("SELECT state FROM uploads WHERE id = ?", (id,)).fetchone()[0])

    eventually(lambda: state() == "finished", "it is finished")
    database.close()


def test_bodies_end_in_all_workers(start_server: StartServer) -> None:
    """SIGTERM: each worker ends its bodies with 503, and what came is there after the restart."""
    server = start_server("--processes", "2")
    wires = one_each(server)
    paths = [wire.new(64 * MIB) for wire in wires.values()]
    for wire, path in zip(wires.values(), paths, strict=True):
        wire.begin_patch(path, 0, 20_000, b"x" * 1000)
        server.until_offset(path, 1000)
    os.kill(server.pid, signal.SIGTERM)
    assert [wire.answer("PATCH").code for wire in wires.values()] == ["ERR_SERVER_SHUTDOWN"] * 2
    assert server.wait() == 0
    server.restart()
    assert [server.offset(path) for path in paths] == [1000, 1000]


@pytest.mark.slow
def test_stopping_may_take_its_time(start_server: StartServer) -> None:
    """A worker that is still busy with a client is given all of shutdown_timeout, and not taken for one that hangs."""
    server = start_server("--processes", "2", "--shutdown-timeout", "11s")
    path = server.new(32 * MIB, body=bytes(32 * MIB))
    wire = server.connect()
    wire.begin("GET", path)  # and reads nothing
    began = time.monotonic()
    os.kill(server.pid, signal.SIGTERM)
    server.wait()
    assert time.monotonic() - began < 14
    assert "worker-hangs" not in server.log


@pytest.mark.slow
def test_control_c_is_heard_by_the_parent_only(start_server: StartServer) -> None:
    """A terminal sends SIGINT to all of them: the workers wait for their parent's word."""
    server = start_server("--processes", "2")
    wires = one_each(server)
    for pid in workers(server):
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    assert [wire.options().status for wire in wires.values()] == [200, 200]
    os.kill(server.pid, signal.SIGINT)
    assert server.wait() == 0


def test_settings_are_read_again_by_all(start_server: StartServer, tmp_path: Path) -> None:
    """SIGHUP: every worker has the new settings, also one that is started later; a wrong file changes nothing
    anywhere, and no connection is lost or refused over it."""
    config = tmp_path / "tusd.toml"
    config.write_text('max_size = "1MiB"\n')
    server = start_server("--processes", "2", "--config", str(config))
    wires = one_each(server)

    def sizes() -> list[str]:
        return [wire.options()["Tus-Max-Size"] for wire in wires.values()]

    config.write_text('max_size = "2MiB"\nbase_path = "/else/"\n')
    with newcomers(server) as statuses:
        news = reload(server)
    assert set(statuses) == {200}
    assert news.count("restart-needed settings=base_path") == 1
    assert sizes() == [str(2 * MIB)] * 2
    config.write_text('max_size = "large"\n')
    reload(server, fails=True)
    assert sizes() == [str(2 * MIB)] * 2
    kill(server, workers(server)[0])
    assert {wire.options()["Tus-Max-Size"] for wire in one_each(server).values()} == {str(2 * MIB)}


@pytest.mark.slow
def test_a_certificate_that_does_not_fit(start_server: StartServer, tmp_path: Path) -> None:
    """What only a worker can see to be wrong changes nothing either, and TLS is served by all of them."""
    certificate, other = Certificate.issue(tmp_path, "one"), Certificate.issue(tmp_path, "two")
    server = start_server("--processes", "2", *certificate.flags)
    certificate.chain.write_bytes(other.chain.read_bytes())
    assert "cannot be used" in reload(server, fails=True)
    for _ in workers(server):
        with TlsWire((server.host, server.port), certificate.authority) as wire:
            assert wire.options().status == 200


@pytest.mark.parametrize("limit", ["--max-connections", PER_CLIENT])
def test_connections_are_counted_together(start_server: StartServer, limit: str) -> None:
    """The limit is that of the whole server; places that a client leaves, or a killed worker, are free again."""
    server = start_server("--processes", "2", limit, "2")
    held = one_each(server)
    turned_away(server.connect().answer())
    victim, other = workers(server)
    os.kill(victim, signal.SIGKILL)
    assert held[victim].is_closed()

    def let_in() -> bool:
        with Wire((server.host, server.port)) as wire:
            wire.begin("OPTIONS", "/files/")
            return wire.answer("OPTIONS").status == 200

    eventually(let_in, "its place is free")
    assert held[other].options().status == 200
    held[other].close()
    eventually(let_in, "its place is free")


@pytest.mark.slow
def test_an_idle_worker_is_small(start_server: StartServer) -> None:
    """Each further process takes at most 45 MiB."""
    server = start_server("--processes", "2")
    one_each(server)
    for pid in [server.pid, *workers(server)]:
        told = Path(f"/proc/{pid}/smaps_rollup").read_text()
        assert int(told.split("Rss:")[1].split()[0]) < 45 << 10  # KiB


@pytest.mark.slow
def test_operators_are_answered_by_any(start_server: StartServer) -> None:
    """The private port and the control socket answer whichever worker dies."""
    server = start_server("--processes", "2", "--ops-listen", "127.0.0.1:0")
    private = int(server.log.split("API: http://127.0.0.1:")[1].split("/")[0])

    def answered() -> list[int]:
        statuses = []
        for address in (("127.0.0.1", private), str(server.folder / "control.sock")):
            with Wire(address) as wire:
                statuses += [wire.get("/readyz").status, wire.get("/metrics").status]
        return statuses

    assert answered() == [200] * 4
    for pid in workers(server):
        kill(server, pid)
        assert answered() == [200] * 4


@pytest.mark.slow
def test_operators_are_no_guests(start_server: StartServer) -> None:
    """One who waited while both workers died is answered by their successors, and takes nobody's place."""
    server = start_server("--processes", "2", "--max-connections", "2")
    old = workers(server)
    for pid in old:
        os.kill(pid, signal.SIGSTOP)
    with Wire(str(server.folder / "control.sock")) as operator:
        operator.begin("GET", "/readyz")
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        assert operator.answer().status == 200
    eventually(lambda: server.log.count("worker-serves") == 2, "both are replaced")
    assert len(one_each(server)) == 2


@pytest.mark.slow
def test_workers_that_cannot_live(tmp_path: Path) -> None:
    """The parent gives up with a sentence and exit code 1 when they die as soon as they are started."""
    (tmp_path / "aiohttp.py").write_text("raise SystemExit(3)\n")  # which only workers load
    command = [sys.executable, "-m", "tusd_py", "serve", "--processes", "2", "--port", "0", "--ops-listen", "off"]
    ended = subprocess.run(
        [*command, "--upload-dir", str(tmp_path / "data")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    assert ended.returncode == 1
    assert ended.stderr.count("worker-died") >= 5
    assert ended.stderr.endswith("tusd-py: The workers die as soon as they are started; the log says of what.\n")


@pytest.mark.slow
def test_one_that_cannot_come_back(tmp_path: Path) -> None:
    """While another serves, nobody gives up: it is tried again, until what keeps it from starting is mended."""

    class Damaged(Server):
        paths = (tmp_path, ROOT)

    server = Damaged("--processes", "2")
    try:
        wires = one_each(server)
        damage = tmp_path / "aiohttp.py"
        damage.write_text("raise SystemExit(3)\n")
        victim, other = wires
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: server.log.count("worker-died") > 6, "it cannot start", within=60)
        assert wires[other].options().status == 200
        assert server.options().status == 200
        damage.unlink()
        eventually(lambda: "worker-serves" in server.log, "it serves again", within=60)
        assert server.terminate() == 0
    finally:
        server.remove()


@pytest.mark.slow
def test_a_worker_that_hangs(start_server: StartServer) -> None:
    """One that is stopped in the middle of a body cannot be asked for its upload: who wants it hears 423. Within ten
    seconds it is killed and replaced, what it had is kept, and no other connection has noticed."""
    server = start_server("--processes", "2", "--finish-wait", "500ms")
    wires = one_each(server)
    victim, other = wires
    path = wires[victim].new(1000)
    wires[victim].begin_patch(path, 0, 1000, b"abc")
    server.until_offset(path, 3)
    os.kill(victim, signal.SIGSTOP)
    assert wires[other].patch(path, 3, b"x" * 997).status == 423
    eventually(lambda: "worker-hangs" in server.log, "it is killed", within=10)
    eventually(lambda: wires[other].offset(path) == 3, "its upload is free")
    eventually(lambda: len(workers(server)) == 2 and victim not in workers(server), "it is replaced", within=2)
    assert wires[other].patch(path, 3, b"x" * 997).offset == 1000


@pytest.mark.slow
def test_a_worker_that_hangs_in_the_gate(start_server: StartServer) -> None:
    """One that is stopped while it is its turn at the database keeps the others from writing, not from reading, and
    not for longer than ten seconds."""
    server = start_server("--processes", "2")
    wires = one_each(server)
    victim, other = wires
    path = wires[other].new(10, body=b"abc")
    gate = Watch(server.folder / "processes")
    database = sqlite3.connect(server.folder / "tusd.db", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    wires[victim].begin("POST", "/files/", {**TUS, "Upload-Length": "10", "Content-Length": "0"})

    def is_its_turn() -> bool:
        holder = gate.holder()
        return holder is not None and holder.pid == victim

    eventually(is_its_turn, "it waits in the gate")
    os.kill(victim, signal.SIGSTOP)
    database.execute("ROLLBACK")
    database.close()
    began = time.monotonic()
    assert wires[other].offset(path) == 3

    def is_created() -> bool:
        answer = server.create(10)
        assert answer.status in (201, 503)
        return answer.status == 201

    eventually(is_created, "another's turn", within=12)
    assert time.monotonic() - began < 12
    eventually(lambda: "worker-serves" in server.log, "it is replaced")


@pytest.mark.strace
def test_a_worker_that_hangs_in_a_commit(start_server: StartServer) -> None:
    """One that is stopped between BEGIN and COMMIT, where the log is synced, keeps the others from writing for ten
    seconds at most, and what it was told is told to nobody."""
    server = start_server("--processes", "2", "--durability", "os")
    wires = one_each(server)
    victim, other = wires
    path = wires[other].new(10, body=b"abc")
    gate, log = Watch(server.folder / "processes"), server.folder / "tusd.db-wal"
    with traced(server, *injection(("fdatasync",), "signal=STOP", 1), file=log, pid=victim) as trace:
        wires[victim].begin("POST", "/files/", {**TUS, "Upload-Length": "10", "Content-Length": "0"})
        eventually(lambda: any("stopped by SIGSTOP" in line for line in trace.lines), "it is stopped")
        holder = gate.holder()
        assert holder is not None
        assert holder.pid == victim
        began = time.monotonic()
        assert wires[other].offset(path) == 3
        eventually(lambda: server.create(10).status == 201, "another's turn", within=12)
        assert time.monotonic() - began < 12
    eventually(lambda: "worker-serves" in server.log, "it is replaced")
    assert len(one_each(server)) == 2
