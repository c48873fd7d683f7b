"""A request's body over real sockets: kept as it comes, ended cleanly, on both loops and both ways (laws 2, 5, 10)."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.acceptance.wire import BYTES, TUS, Wire, chunked, eventually, patch_fields
from tests.web.stage import Stage, pattern, staged
from tusd_py.hooks.events import UploadFinished, UploadInterrupted
from tusd_py.web.zero_copy import THRESHOLD

SMALL, LARGE = 100_000, 3_000_000
WAYS = [("uvloop", True), ("uvloop", False), ("asyncio", True), ("asyncio", False)]


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-{'spliced' if way[1] else 'copied'}")
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    loop, zero_copy = request.param
    with staged(tmp_path, loop, zero_copy=zero_copy) as stage:
        yield stage


@pytest.fixture(params=[SMALL, LARGE])
def data(request: pytest.FixtureRequest) -> bytes:
    return pattern(1, request.param)


@pytest.mark.rule("T21", "T26", "T70")
def test_whole(stage: Stage, data: bytes) -> None:
    """A body arrives byte for byte, by PATCH and by POST, and the connection goes on."""
    wire = stage.connect()
    path = wire.new(len(data))
    assert wire.patch(path, 0, data).offset == len(data)
    created = wire.create(len(data), body=data)
    assert created.status == 201
    assert stage.stored(path) == stage.stored(created.path) == data
    assert wire.head(path).offset == len(data)


@pytest.mark.rule("T30")
def test_chunked(stage: Stage, data: bytes) -> None:
    """A body of unknown length arrives too, however it is cut into chunks."""
    for size in (len(data), 65_536, 7_777):
        wire = stage.connect()
        path = wire.new(len(data))
        wire.begin("PATCH", path, {**patch_fields(0), "Transfer-Encoding": "chunked"})
        wire.send(chunked(*(data[at : at + size] for at in range(0, len(data), size))))
        assert wire.answer().offset == len(data)
        assert stage.stored(path) == data


@pytest.mark.rule("T31")
@pytest.mark.parametrize("surplus", [1, 70_000])
def test_chunked_too_long(stage: Stage, data: bytes, surplus: int) -> None:
    """A body of unknown length that is too long is 413 and does not complete the upload."""
    wire = stage.connect()
    path = wire.new(len(data))
    wire.begin("PATCH", path, {**patch_fields(0), "Transfer-Encoding": "chunked"})
    wire.send_regardless(chunked(data + b"!" * surplus))
    assert wire.answer().status == 413
    assert stage.offset(path) < len(data)
    assert data.startswith(stage.stored(path))


def test_slow_sender(stage: Stage) -> None:
    """A sender of one byte at a time gets all of them through."""
    data = pattern(2, 300)
    wire = stage.connect()
    path = wire.new(len(data))
    wire.begin_patch(path, 0, len(data))
    for place in range(len(data)):
        wire.send(data[place : place + 1])
    assert wire.answer().offset == len(data)
    assert stage.stored(path) == data


def test_slow_start_of_a_large_body(stage: Stage) -> None:
    """A large body whose first bytes dribble is kept whole as well."""
    data = pattern(3, THRESHOLD + 5_000)
    wire = stage.connect()
    path = wire.new(len(data))
    wire.begin_patch(path, 0, len(data))
    for place in range(50):
        wire.send(data[place : place + 1])
    stage.until_offset(path, 50)
    wire.send(data[50:1000])
    stage.until_offset(path, 1000)
    wire.send(data[1000:])
    assert wire.answer().offset == len(data)
    assert stage.stored(path) == data


@pytest.mark.rule("T28")
@pytest.mark.parametrize("gone", ["close", "reset", "half-close"])
def test_gone(stage: Stage, data: bytes, gone: str) -> None:
    """Whatever way a client goes in the middle of its body, what came is kept and the upload goes on."""
    wire = stage.connect()
    path = wire.new(len(data))
    part = len(data) // 2
    wire.begin_patch(path, 0, len(data), data[:part])
    stage.until_offset(path, part)
    {"close": wire.close, "reset": wire.reset, "half-close": wire.stop_sending}[gone]()
    stage.comes_to_rest()
    assert stage.offset(path) == part
    assert any(isinstance(event, UploadInterrupted) for event in stage.events)
    assert stage.patch(path, part, data[part:]).offset == len(data)
    assert stage.stored(path) == data


@pytest.mark.rule("T28")
@pytest.mark.parametrize("gone", ["close", "half-close"])
def test_gone_before_its_turn(stage: Stage, data: bytes, gone: str) -> None:
    """What came of a body is kept even if its client went while the request still waited for the upload."""
    wire = stage.connect()
    path = wire.new(len(data))
    held = stage.locks.hold(path.rpartition("/")[2], when_wanted=None, patience=1.0)
    stage.run(held.__aenter__())
    wire.begin_patch(path, 0, len(data), data[:1000])
    {"close": wire.close, "half-close": wire.stop_sending}[gone]()
    eventually(stage.is_empty, "its connection is lost")
    stage.run(held.__aexit__(None, None, None))
    stage.comes_to_rest()
    assert stage.offset(path) == 1000


@pytest.mark.rule("T28")
def test_gone_after_the_last_byte(stage: Stage, data: bytes) -> None:
    """A client that goes right after its last byte has uploaded all of it."""
    path = stage.new(len(data))
    with stage.connect() as wire:
        wire.begin_patch(path, 0, len(data), data)
    eventually(lambda: any(isinstance(event, UploadFinished) for event in stage.events), "it is finished")
    assert stage.stored(path) == data


@pytest.mark.rule("T41", "T42")
def test_replaced(stage: Stage, data: bytes) -> None:
    """A newcomer takes a stalled upload over; the old request is told 423 and its connection closed."""
    old, new = stage.connect(), stage.connect()
    path = new.new(len(data))
    part = len(data) // 2
    old.begin_patch(path, 0, len(data), data[:part])
    stage.until_offset(path, part)
    assert new.patch(path, part, data[part:]).offset == len(data)
    told = old.answer()
    assert (told.status, told.code) == (423, "ERR_UPLOAD_INTERRUPTED")
    assert told["Connection"] == "close"
    old.stop_sending()
    assert old.is_closed()
    assert stage.stored(path) == data


@pytest.mark.rule("T42")
def test_replaced_while_sending(stage: Stage) -> None:
    """A client that goes on sending after it was replaced still reads its answer, not a reset."""
    data = pattern(4, 4_000_000)
    old, new = stage.connect(), stage.connect()
    path = new.new(len(data))
    old.begin_patch(path, 0, len(data), data[:500_000])
    stage.until_offset(path, 500_000)
    assert new.patch(path, 500_000, data[500_000:600_000]).offset == 600_000
    old.send_regardless(data[500_000:])
    assert old.answer().status == 423
    assert stage.stored(path) == data[:600_000]


@pytest.mark.rule("T45")
@pytest.mark.parametrize("size", [10, LARGE])
def test_continue(stage: Stage, size: int) -> None:
    """100 Continue is sent once, only after the checks, and not for a request that is refused."""
    data = pattern(5, size)
    wire = stage.connect()
    path = wire.new(size)
    expect = {"Expect": "100-continue", "Content-Length": str(size)}
    wire.begin("PATCH", path, {**patch_fields(3), **expect})
    refused = wire.answer()
    assert (refused.status, refused.interim) == (409, ())
    wire = stage.connect()
    wire.begin("PATCH", path, {**patch_fields(0), **expect})
    assert wire.interim() == 100
    wire.send(data)
    answer = wire.answer()
    assert (answer.offset, answer.interim) == (size, ())


@pytest.mark.rule("T33")
def test_no_body(stage: Stage) -> None:
    """Requests with an empty body or none move nothing."""
    wire = stage.connect()
    path = wire.new(10)
    assert wire.patch(path, 0, b"").offset == 0
    assert wire.ask("PATCH", path, patch_fields(0)).offset == 0


@pytest.mark.rule("T29")
def test_idle(tmp_path: Path) -> None:
    """A client that falls silent is told 423 after the idle time, and what came is kept."""
    with staged(tmp_path, idle_timeout=0.05) as stage:
        for size in (SMALL, LARGE):
            wire = stage.connect()
            path = wire.new(size)
            wire.begin_patch(path, 0, size, b"x" * 1000)
            told = wire.answer()
            assert (told.status, told.code) == (423, "ERR_READ_TIMEOUT")
            assert stage.offset(path) == 1000


def test_sixty_seconds_do_not_add_up(tmp_path: Path) -> None:
    """The idle time begins again with every byte."""
    with staged(tmp_path, idle_timeout=0.3) as stage:
        wire = stage.connect()
        path = wire.new(9)
        wire.begin_patch(path, 0, 9)
        for place in range(9):
            wire.send(b"x")
            stage.until_offset(path, place + 1)
            assert place == 8 or wire.is_silent(0.1)
        assert wire.answer().offset == 9


@pytest.mark.slow
@pytest.mark.rule("T29")
@pytest.mark.parametrize("zero_copy", [True, False])
def test_minimum_rate(tmp_path: Path, zero_copy: bool) -> None:
    """A client that dribbles below the minimum rate is ended as an idle one; a faster one is left alone."""
    with staged(tmp_path, minimum_rate=1000, zero_copy=zero_copy) as stage:
        slow, fast = stage.connect(), stage.connect()
        paths = [stage.new(LARGE) for _ in range(2)]
        for wire, path in zip((slow, fast), paths, strict=True):
            wire.begin_patch(path, 0, LARGE, b"x" * 10)
        sent = 10
        while slow.is_silent(0.1):
            slow.send_regardless(b"x")
            fast.send(b"x" * 500)
            sent += 500
        assert slow.answer().code == "ERR_READ_TIMEOUT"
        fast.send(b"x" * (LARGE - sent))
        assert fast.answer().offset == LARGE


def test_tls(tmp_path: Path) -> None:
    """Over TLS bodies go the ordinary way, also large ones."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    data = pattern(6, LARGE)
    for loop in ("uvloop", "asyncio"):
        with staged(tmp_path / loop, loop, tls=server) as stage:
            with (
                socket.create_connection(stage.address) as plain,
                client.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
            ):
                wire = Wire.__new__(Wire)
                wire.files, wire.host, wire._socket, wire._unread = "/files/", "127.0.0.1", connection, b""
                path = wire.new(LARGE)
                assert wire.patch(path, 0, data).offset == LARGE
                assert wire.head(path).offset == LARGE
            assert stage.stored(path) == data


@pytest.mark.rule("T84")
def test_checksum_of_a_large_body(stage: Stage) -> None:
    """A checksummed body is verified whichever way is open, and leaves nothing when it does not match."""
    data = pattern(7, LARGE)
    right = base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
    wrong = base64.b64encode(bytes(20)).decode()
    path = stage.new(LARGE)
    refused = stage.patch(path, 0, data, {"Upload-Checksum": f"sha1 {wrong}"})
    assert refused.status == 460
    assert stage.offset(path) == 0
    assert stage.patch(path, 0, data, {"Upload-Checksum": f"sha1 {right}"}).offset == LARGE
    assert stage.stored(path) == data


def test_counted_as_they_come(stage: Stage) -> None:
    """Bytes of bodies are counted once, while they come."""
    path = stage.new(LARGE)
    wire = stage.connect()
    wire.begin_patch(path, 0, LARGE, b"x" * 400_000)
    stage.until_offset(path, 400_000)
    eventually(lambda: stage.instruments.bytes == 400_000, "they are counted")
    wire.send(b"x" * (LARGE - 400_000))
    assert wire.answer().status == 204
    assert stage.instruments.bytes == LARGE


def test_stopping(stage: Stage, data: bytes) -> None:
    """A server that stops answers running bodies with 503, and keeps what came."""
    wire = stage.connect()
    path = wire.new(len(data))
    wire.begin_patch(path, 0, len(data), data[:5000])
    stage.until_offset(path, 5000)
    stage.call(stage.uploads.stop)
    told = wire.answer()
    assert (told.status, told.code) == (503, "ERR_SERVER_SHUTDOWN")
    assert stage.stored(path) == data[:5000]


def test_pipelined_creations(stage: Stage) -> None:
    """Requests that are sent without waiting are answered in their order."""
    wire = stage.connect()
    fields = {**TUS, "Content-Type": BYTES}
    for number in range(20):
        body = pattern(number, 1000 + number)
        wire.send(wire.head_bytes("POST", "/files/", {**fields, "Upload-Length": str(len(body))}, body), body)
    for number in range(20):
        answer = wire.answer()
        assert answer.status == 201
        assert stage.stored(answer.path) == pattern(number, 1000 + number)
