"""The upload port itself: heads, connections and their limits (tusd_py/web/edge.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.wire import TUS, Fields, Gone, Wire, eventually
from tests.web.stage import LOOPS, Stage, staged
from tusd_py.protocol.limits import Limits
from tusd_py.web.edge import HEADROOM, ConnectionLimits, Connections

FIELD = 20_000  # bytes of the longest field in these tests


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def stage(loop: str, tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path, loop, connections=ConnectionLimits(longest_field=FIELD)) as stage:
        yield stage


# Heads


@pytest.mark.parametrize("sent", [b"", b"HEAD /files/x", b"PATCH /files/x HTTP/1.1\r\nTus-Resumable: 1.0.0\r\nX: "])
def test_head_that_does_not_end(loop: str, tmp_path: Path, sent: bytes) -> None:
    """A head has its time, and dribbling bytes do not make it longer."""
    with staged(tmp_path, loop, connections=ConnectionLimits(head_timeout=0.15)) as stage:
        wire = stage.connect()
        wire.send(sent)
        assert not wire.is_silent(5)
        assert wire.is_closed()
        dribbling = stage.connect()
        dribbling.send(b"HEAD /files/ HTTP/1.1\r\nX: ")
        for _ in range(200):
            dribbling.send_regardless(b"x")
            if not dribbling.is_silent(0.02):
                break
        assert dribbling.is_closed()
        eventually(stage.is_empty, "both are gone")


def test_second_head_that_does_not_end(loop: str, tmp_path: Path) -> None:
    """The time of a head counts for each request of a connection."""
    with staged(tmp_path, loop, connections=ConnectionLimits(head_timeout=0.15)) as stage:
        wire = stage.connect()
        assert wire.options().status == 200
        wire.send(b"HEAD /files/x HTTP/1.1\r\n")
        assert not wire.is_silent(5)
        assert wire.is_closed()


def test_body_is_not_a_head(loop: str, tmp_path: Path) -> None:
    """A body may take longer than a head."""
    with staged(tmp_path, loop, connections=ConnectionLimits(head_timeout=0.15)) as stage:
        wire = stage.connect()
        path = wire.new(10)
        wire.begin_patch(path, 0, 10, b"hello")
        assert wire.is_silent(0.4)
        wire.send(b"world")
        assert wire.answer().offset == 10


def test_keep_alive(loop: str, tmp_path: Path) -> None:
    """A connection without a request is closed after its time, and not while one is served."""
    with staged(tmp_path, loop, connections=ConnectionLimits(keep_alive=0.2, head_timeout=60)) as stage:
        wire, idle = stage.connect(), stage.connect()
        path = wire.new(10)
        wire.begin_patch(path, 0, 10, b"hello")
        assert wire.is_silent(0.5)
        wire.send(b"world")
        assert wire.answer().offset == 10
        assert not wire.is_silent(5)
        assert wire.is_closed()
        assert idle.is_closed()


def test_long_fields(stage: Stage) -> None:
    """A field may be as long as the settings say; one that is longer is refused in our own form, and both at once."""
    wire = stage.connect()
    for number in range(3):
        assert wire.ask("OPTIONS", "/files/", {f"X-{number}": "x" * FIELD}).status == 200
    for fields in ({"X": "x" * (FIELD + HEADROOM + 10)}, {"X": "x" * 200_000}):
        answer = stage.ask("OPTIONS", "/files/", {"Origin": "https://a.example", **fields})
        assert answer.status == 400
        assert answer.code == "ERR_BAD_REQUEST"
        assert answer["Tus-Resumable"] == "1.0.0"
        assert answer["Cache-Control"] == "no-store"
        assert answer["Connection"] == "close"


def test_long_metadata(tmp_path: Path) -> None:
    """The limits of the parser lie above our own, so that it is us who refuse, by name."""
    limits = Limits(("creation",), max_metadata=1000)
    with staged(tmp_path, limits=limits, connections=ConnectionLimits(longest_field=1000)) as stage:
        refused = stage.create(3, {"Upload-Metadata": "k " + "YWFh" * 300})
        assert (refused.status, refused.code) != (400, "ERR_BAD_REQUEST")
        assert refused.status in (400, 413, 431)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a plain port
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /files/ HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /files/ HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /files/ HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /files/ HTTP/1.1\r\nBad Name: x\r\n\r\n",
    ],
)
def test_garbage(stage: Stage, garbage: bytes) -> None:
    """What is no request is 400 in the form of all our errors, and the connection is closed."""
    wire = stage.connect()
    wire.send(garbage)
    answer = wire.answer()
    assert answer.status == 400
    assert answer["Tus-Resumable"] == "1.0.0"
    assert wire.is_closed()


def test_garbage_behind_a_request(stage: Stage) -> None:
    """Garbage that follows a good request is refused as well, and ends the connection."""
    wire = stage.connect()
    assert wire.options().status == 200
    wire.send(b"garbage\r\n\r\n")
    assert wire.answer().status == 400
    with pytest.raises(Gone):
        wire.answer()


def test_pipelining(stage: Stage) -> None:
    """Many requests at once are answered in their order."""
    wire = stage.connect()
    path = wire.new(5)
    for number in range(100):
        wire.send(wire.head_bytes("HEAD", path, {**TUS, "X-Request-ID": f"r{number}"}))
    assert [wire.answer("HEAD")["X-Request-ID"] for _ in range(100)] == [f"r{number}" for number in range(100)]


def test_half_close(stage: Stage) -> None:
    """A client that says that nothing more comes is answered, if its request is whole."""
    path = stage.new(5)
    wire = stage.connect()
    wire.send(wire.head_bytes("HEAD", path, TUS))
    wire.stop_sending()
    assert wire.answer("HEAD").offset == 0
    assert wire.is_closed()
    wire = stage.connect()
    wire.begin_patch(path, 0, 5, b"hello")
    wire.stop_sending()
    assert wire.answer().offset == 5
    eventually(stage.is_empty, "both are gone")


@pytest.mark.parametrize("fields", [{}, {"Connection": "keep-alive"}])
def test_old_http(stage: Stage, fields: Fields) -> None:
    """HTTP/1.0 is answered, and closed unless it asks to be kept alive."""
    wire = stage.connect()
    head = wire.head_bytes("OPTIONS", "/files/", fields).replace(b"HTTP/1.1", b"HTTP/1.0")
    wire.send(head)
    assert wire.answer().status == 200
    if not fields:
        assert wire.is_closed()
        return
    wire.send(head)
    assert wire.answer().status == 200


def test_close_when_asked(stage: Stage) -> None:
    """A client that asks for it gets its connection closed behind the answer."""
    wire = stage.connect()
    assert wire.options(fields={"Connection": "close"})["Connection"] == "close"
    assert wire.is_closed()


def test_others(stage: Stage) -> None:
    """Paths of the ordinary Application are its own, on the same connection, with a query and with a body too."""
    wire = stage.connect()
    assert wire.ask("GET", "/other").body == b"0"
    assert wire.ask("GET", "/other?full=1").body == b"0"
    assert wire.options().status == 200
    assert wire.ask("POST", "/other", {}, b"hello").body == b"5"
    assert wire.ask("GET", "/others").status == 404


# Connections


def test_limit_of_connections(loop: str, tmp_path: Path) -> None:
    """Beyond the limit a client is told 503 at once; it gets in as soon as another leaves."""
    with staged(tmp_path, loop, connections=ConnectionLimits(connections=3)) as stage:
        inside = [stage.connect() for _ in range(3)]
        for wire in inside:
            assert wire.options().status == 200
        for _ in range(5):
            outside = stage.connect()
            told = outside.answer()
            assert (told.status, told.code) == (503, "ERR_TOO_MANY_CONNECTIONS")
            assert told["Retry-After"] == "5"
            assert outside.is_closed()
        assert inside[0].options().status == 200
        inside.pop().close()
        eventually(lambda: stage.call(lambda: stage.connections.open) == 2, "one has left")
        assert stage.options().status == 200


def test_turned_away_while_sending(loop: str, tmp_path: Path) -> None:
    """A client that sends its request at once is turned away without harm, and is not counted."""
    with staged(tmp_path, loop, connections=ConnectionLimits(connections=1)) as stage:
        inside = stage.connect()
        assert inside.options().status == 200
        for _ in range(20):
            with Wire(stage.address) as outside:
                outside.send_regardless(outside.head_bytes("OPTIONS", "/files/"))
        assert stage.call(lambda: stage.connections.open) == 1
        inside.close()  # the last of those outside may be accepted only now, and let in
        eventually(lambda: stage.options().status == 200, "there is room again")
        eventually(stage.is_empty, "nobody is inside")


def test_limit_from_one_client(loop: str, tmp_path: Path) -> None:
    """One address may be limited too."""
    with staged(tmp_path, loop, connections=ConnectionLimits(per_client=2)) as stage:
        inside = [stage.connect() for _ in range(2)]
        for wire in inside:
            assert wire.options().status == 200
        assert stage.connect().answer().status == 503


def test_counting() -> None:
    """Who leaves makes room, in all and for its address."""
    connections = Connections(ConnectionLimits(connections=3, per_client=2))
    assert [connections.admit(client) for client in ("a", "a", "a", "b", "b")] == [True, True, False, True, False]
    connections.leave("a")
    assert connections.open == 2
    assert connections.admit("a")
    for client in ("a", "a", "b"):
        connections.leave(client)
    assert connections.open == 0
    assert not connections._of_client
    connections.limits = ConnectionLimits(connections=3)
    assert [connections.admit("a") for _ in range(4)] == [True, True, True, False]


def test_unix_clients_have_no_address() -> None:
    """Clients of a Unix socket are not one client."""
    connections = Connections(ConnectionLimits(per_client=1))
    assert [connections.admit("") for _ in range(3)] == [True] * 3


def test_many_connections(stage: Stage) -> None:
    """Many connections that say nothing keep nobody else from being served."""
    silent = [stage.connect() for _ in range(120)]
    path = stage.new(5)
    assert stage.patch(path, 0, b"hello").offset == 5
    for wire in silent:
        wire.close()
    eventually(stage.is_empty, "all are gone")
