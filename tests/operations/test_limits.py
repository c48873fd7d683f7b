"""Limits that protect the server: connections, silence, slowness."""

from __future__ import annotations

import threading

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import Answer, Wire, eventually
from tests.conftest import StartServer
from tests.operations.running import MIB


def turned_away(answer: Answer) -> None:
    assert (answer.status, answer.code) == (503, "ERR_TOO_MANY_CONNECTIONS")
    assert int(answer["Retry-After"]) > 0
    assert answer["Tus-Resumable"] == "1.0.0"
    assert answer["Connection"] == "close"


def connected(server: Server) -> Wire:
    """A connection that the server has let in."""
    wire = server.connect()
    assert wire.options().status == 200
    return wire


PER_CLIENT = pytest.param("--max-connections-per-client", marks=pytest.mark.slow)


@pytest.mark.parametrize("limit", ["--max-connections", PER_CLIENT])
def test_connections(start_server: StartServer, limit: str) -> None:
    """What comes beyond the limit is told to come back; a place that becomes free is given to the next."""
    server = start_server(limit, "2")
    first, second = connected(server), connected(server)
    third = server.connect()
    turned_away(third.answer())
    assert third.is_closed()
    assert second.offset(first.new(3, body=b"ab")) == 2
    first.close()

    def let_in() -> bool:
        with Wire((server.host, server.port)) as wire:
            return wire.options().status == 200

    eventually(let_in, "a place becomes free")


@pytest.mark.parametrize("sent", [100, 600 << 10], ids=["buffered", "spliced"])
@pytest.mark.rule("T29")
def test_silence(impatient: Server, sent: int) -> None:
    """After idle_timeout a silent body is ended with 423 and kept; Retry-After invites the client back."""
    path = impatient.new(8 * MIB)
    wire = impatient.connect()
    wire.begin_patch(path, 0, 8 * MIB, b"q" * sent)
    answer = wire.answer("PATCH")
    assert (answer.status, answer.code) == (423, "ERR_READ_TIMEOUT")
    assert answer["Connection"] == "close"
    assert "Retry-After" in answer
    assert impatient.offset(path) == sent


@pytest.mark.slow
@pytest.mark.parametrize("spliced", [False, True], ids=["ordinary", "spliced"])
def test_a_drip(start_server: StartServer, spliced: bool) -> None:
    """With minimum_rate a body that drips is ended as if it were silent, within about ten seconds."""
    server = start_server("--minimum-rate", "1KiB")
    length = 8 * MIB if spliced else 10_000
    path = server.new(length)
    wire = server.connect()
    wire.begin_patch(path, 0, length, b"d")
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.2):
            wire.send_regardless(b"d")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        eventually(lambda: not wire.is_silent(0), "an answer", within=20)
        answer = wire.answer("PATCH")
    finally:
        stop.set()
        thread.join()
    assert (answer.status, answer.code) == (423, "ERR_READ_TIMEOUT")
    assert 20 < server.offset(path) < 200
