"""Stopping: SIGTERM ends what runs, keeps what came and tells its clients; nothing waits for a silent one."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import Wire, chunked, eventually, patch_fields
from tests.conftest import StartServer
from tests.operations.running import MIB

SMALL = 1000
SPLICED = 600 << 10  # 600 KiB sent of far more: the zero-copy way


def stopping(server: Server, by: signal.Signals = signal.SIGTERM) -> None:
    """Send the signal, and wait until it has been heard."""
    os.kill(server.pid, by)
    eventually(lambda: f"stopping signal={by.name}" in server.log, "the signal is logged")


def ended(wire: Wire) -> None:
    """The request on it hears that the server stops, and the connection is closed."""
    answer = wire.answer("PATCH")
    assert (answer.status, answer.code) == (503, "ERR_SERVER_SHUTDOWN")
    assert int(answer["Retry-After"]) > 0
    assert answer["Connection"] == "close"
    assert wire.is_closed()


@pytest.mark.rule("T28")
def test_bodies_are_ended_and_kept(start_server: StartServer) -> None:
    """Bodies on every way end at once with 503, also of clients that stay; after the restart HEAD tells every byte."""
    server = start_server()
    small, spliced, pieces, verified = (server.new(64 * MIB) for _ in range(4))
    digest = base64.b64encode(hashlib.sha1(bytes(8 * MIB)).digest()).decode()
    wires = [server.connect() for _ in range(4)]
    wires[0].begin_patch(small, 0, 20_000, b"x" * SMALL)
    wires[1].begin_patch(spliced, 0, 8 * MIB, b"y" * SPLICED)
    wires[2].begin("PATCH", pieces, {**patch_fields(0), "Transfer-Encoding": "chunked"}, chunked(b"z" * SMALL, end=b""))
    checksum = {"Upload-Checksum": f"sha1 {digest}", "Content-Length": str(8 * MIB)}
    wires[3].begin("PATCH", verified, {**patch_fields(0), **checksum}, bytes(2 * MIB))
    for target, came in ((small, SMALL), (spliced, SPLICED), (pieces, SMALL)):
        server.until_offset(target, came)
    file = server.folder / "uploads" / verified.rpartition("/")[2]
    eventually(lambda: file.stat().st_size == 2 * MIB, "the checksummed bytes are written")
    idle = server.connect()
    idle.options()
    began = time.monotonic()
    stopping(server)
    for wire in wires:
        ended(wire)
    assert idle.is_closed()
    assert server.wait() == 0
    assert time.monotonic() - began < 5
    server.restart()
    assert [server.offset(target) for target in (small, spliced, pieces, verified)] == [SMALL, SPLICED, SMALL, 0]
    assert server.patch(spliced, SPLICED, b"y" * SMALL).offset == SPLICED + SMALL


def test_no_new_connections(start_server: StartServer) -> None:
    """Control-C stops as politely: while a client is still there that reads slowly, nobody else is let in."""
    server = start_server()
    path = server.new(64 * MIB)
    wire = server.connect()
    wire.begin_patch(path, 0, 32 * MIB, bytes(SPLICED))
    server.until_offset(path, SPLICED)
    stopping(server, signal.SIGINT)
    assert wire.answer("PATCH").status == 503
    with pytest.raises(ConnectionError):
        server.options()
    wire.close()
    assert server.wait() == 0
    assert not (server.folder / "control.sock").exists()


@pytest.mark.slow
def test_a_client_that_reads_nothing_does_not_hold_it(start_server: StartServer) -> None:
    """A download whose client has stopped reading is cut within shutdown_timeout."""
    server = start_server("--shutdown-timeout", "1s")
    path = server.new(32 * MIB, body=bytes(32 * MIB))
    wire = server.connect()
    wire.begin("GET", path)
    began = time.monotonic()
    stopping(server)
    server.wait()
    assert time.monotonic() - began < 3


@pytest.mark.slow
def test_a_second_signal_ends_at_once(start_server: StartServer) -> None:
    """Whoever cannot wait for shutdown_timeout presses twice; what came is kept all the same."""
    server = start_server("--shutdown-timeout", "30s")
    path = server.new(64 * MIB, body=bytes(32 * MIB))
    wire = server.connect()
    wire.begin_patch(path, 32 * MIB, 16 * MIB, bytes(SPLICED))
    server.until_offset(path, 32 * MIB + SPLICED)
    done = server.new(32 * MIB, body=bytes(32 * MIB))
    reader = server.connect()
    reader.begin("GET", done)  # and reads nothing
    stopping(server)
    assert wire.answer("PATCH").status == 503
    began = time.monotonic()
    os.kill(server.pid, signal.SIGINT)
    assert server.wait() == 1
    assert time.monotonic() - began < 1
    server.restart()
    assert server.offset(path) == 32 * MIB + SPLICED


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["always", "os"])
def test_killed(start_server: StartServer, durability: str) -> None:
    """Whatever the durability, SIGKILL takes nothing back that HEAD has told, of finished uploads and others."""
    server = start_server("--durability", durability)
    finished, running = server.new(6, body=b"letter"), server.new(4 * MIB, body=b"y" * SMALL)
    assert server.patch(running, SMALL, b"y" * SPLICED).offset == SMALL + SPLICED
    server.kill()
    server.restart()
    assert server.offset(running) == SMALL + SPLICED
    assert server.get(finished).body == b"letter"
    assert server.patch(running, SMALL + SPLICED, b"y" * SMALL).status == 204


def test_killed_parent_leaves_nobody_behind(start_server: StartServer) -> None:
    """After kill -9 of the parent, while it replaces a worker too, its workers end and let go of the folder."""
    server = start_server("--processes", "2")
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    old = children.read_text().split()
    os.kill(int(old[0]), signal.SIGKILL)
    eventually(lambda: len(children.read_text().split()) == 2 and children.read_text().split() != old, "a new worker")
    left = children.read_text().split()
    server.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), "the end of the workers")
