"""What no proper client sends: nothing of it breaks the server, hangs it, or mixes two requests."""

from __future__ import annotations

import pytest

from tests.acceptance.server import Server
from tests.acceptance.test_patch import pattern
from tests.acceptance.wire import BYTES, MIB, TUS, Fields, Gone, Wire, chunked, eventually, patch_fields

HOST = b"Host: x\r\n"
TUS_LINE = b"Tus-Resumable: 1.0.0\r\n"


def ending(wire: Wire, method: str = "GET") -> int | None:
    """The status with which a connection ends, or None if it just closes."""
    try:
        return wire.answer(method).status
    except Gone:
        return None


@pytest.mark.rule("T21", "T26")
@pytest.mark.parametrize("size", [1000, 300_000, MIB])
def test_requests_behind_a_body(server: Server, size: int) -> None:
    """Requests sent in one go behind a large body are answered in their order, and no byte of one lands in another."""
    data = pattern(3 * size)
    path = server.new(3 * size)
    wire = server.connect()
    batch = []
    for at in range(0, 3 * size, size):
        batch += [wire.head_bytes("PATCH", path, patch_fields(at), data[at : at + size]), data[at : at + size]]
        batch += [wire.head_bytes("HEAD", path, TUS)]
    wire.send(*batch)
    for at in range(size, 3 * size + 1, size):
        assert wire.answer("PATCH").offset == at
        assert wire.answer("HEAD").offset == at
    assert wire.is_silent(0.05)
    assert server.get(path).body == data


@pytest.mark.rule("T21")
@pytest.mark.parametrize("gap", [1, 17, 100])
def test_a_request_that_is_cut_behind_a_body(server: Server, gap: int) -> None:
    """The next request may begin in the packet that ends a large body, and end in a later one."""
    data, path = pattern(MIB), server.new(MIB)
    wire = server.connect()
    following = wire.head_bytes("HEAD", path, TUS)
    wire.begin_patch(path, 0, MIB, data[:-10])
    server.until_offset(path, MIB - 10)
    wire.send(data[-10:], following[:gap])
    assert wire.answer("PATCH").offset == MIB
    wire.send(following[gap:])
    assert wire.answer("HEAD").offset == MIB
    assert server.get(path).body == data


@pytest.mark.rule("T94", "T30")
@pytest.mark.parametrize(
    "trailer",
    [
        b"",
        b"X-HTTP-Method-Override: DELETE\r\n",
        b"Upload-Checksum: sha1 AAAA\r\n",
        b"Tus-Resumable: 9.9.9\r\nA: b\r\n",
    ],
)
def test_a_trailer_never_reaches_the_next_request(server: Server, trailer: bytes) -> None:
    """A chunked request is the last one of its connection, so that its trailer belongs to nothing else."""
    path = server.new(6)
    wire = server.connect()
    body = chunked(b"abc", end=b"0\r\n" + trailer + b"\r\n")
    first = wire.head_bytes("PATCH", path, {**patch_fields(0), "Transfer-Encoding": "chunked"})
    wire.send(first, body, wire.head_bytes("HEAD", path, TUS))
    answer = wire.answer("PATCH")
    assert (answer.status, answer.offset) == (204, 3)
    assert answer["Connection"].lower() == "close"
    assert wire.is_closed()
    assert server.offset(path) == 3


@pytest.mark.rule("T94", "T84")
def test_a_trailer_is_no_checksum(server: Server) -> None:
    """Checksums in trailers are not offered: such a field is ignored."""
    path = server.new(3)
    body = chunked(b"abc", end=b"0\r\nUpload-Checksum: sha1 AAAA\r\n\r\n")
    answer = server.patch(path, 0, body, {"Transfer-Encoding": "chunked", "Trailer": "Upload-Checksum"})
    assert (answer.status, answer.offset) == (204, 3)


@pytest.mark.rule("T6", "T4")
@pytest.mark.parametrize(
    "head",
    [
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"Content-Length: -3\r\n",
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n",
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"Content-Length: 3x\r\n",
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999999\r\n",
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n",
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"Upload-Metadata: a\x01b\r\n",
        b"POST /files/ HTTP/1.1\r\n" + HOST + HOST,
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"Content-Type: a/b\r\nContent-Type: c/d\r\n",
        b"POST /files/ HTTP/1.1\r\n",
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"no colon here\r\n",
        b"POST /files/ HTTP/1.1\r\n" + HOST + b": empty name\r\n",
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"sp ace: x\r\n",
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"A: " + b"x" * 200_000 + b"\r\n",
        b"POST /" + b"x" * 200_000 + b" HTTP/1.1\r\n" + HOST,
        b"POST /files/ HTTP/1.1\r\n" + HOST + b"".join(b"A%d: x\r\n" % number for number in range(2000)),
        b"FOO /files/ HTTP/1.1\r\n" + HOST,
        b"patch /files/ HTTP/1.1\r\n" + HOST,
        b"POST /files/ HTTP/9.9\r\n" + HOST,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 50 + b"\r\n",
    ],
)
def test_a_head_that_cannot_be_read(server: Server, head: bytes) -> None:
    """What HTTP forbids is 4xx or 5xx in our own form as far as there is an answer, and ends the connection."""
    wire = server.connect()
    wire.send_regardless(head + TUS_LINE + b"Upload-Length: 3\r\n\r\n")
    try:
        answer = wire.answer()
    except Gone:
        return
    assert answer.status in (400, 405, 412, 413, 414, 415, 417, 431, 501, 505)
    assert answer["Tus-Resumable"] == "1.0.0"
    assert answer["Cache-Control"] == "no-store"
    assert answer.code
    assert wire.is_closed()


@pytest.mark.parametrize(
    "broken",
    [
        b"zz\r\nabc\r\n",
        b"-3\r\nabc\r\n",
        b"3\r\nabcdef\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nabc",
        b"3 abc",
        b"\r\n\r\n",
    ],
)
@pytest.mark.rule("T29", "T28", "T30")
def test_broken_chunks(impatient: Server, broken: bytes) -> None:
    """Chunks that cannot be read end the request at the latest after the idle time; what came before them is kept."""
    path = impatient.new(1000)
    wire = impatient.connect()
    wire.begin("PATCH", path, {**patch_fields(0), "Transfer-Encoding": "chunked"}, chunked(b"a" * 100, end=b""))
    impatient.until_offset(path, 100)
    wire.send(broken)
    assert ending(wire) in (None, 400, 413, 423)
    kept = impatient.offset(path)
    assert 100 <= kept <= 106
    assert impatient.patch(path, kept, b"b" * (1000 - kept)).offset == 1000
    assert impatient.get(path).body[:100] == b"a" * 100


def test_a_chunk_with_an_endless_extension(impatient: Server) -> None:
    """What stands beside a chunk's size is ignored or refused, and never part of the upload."""
    path = impatient.new(3)
    body = b"3;" + b"x" * 100_000 + b"\r\nabc\r\n0\r\n\r\n"
    answer = impatient.patch(path, 0, body, {"Transfer-Encoding": "chunked"})
    assert answer.status in (204, 400)
    assert answer.status == 400 or impatient.get(path).body == b"abc"


@pytest.mark.rule("T29")
@pytest.mark.parametrize("start", [b"", b"P", b"PATCH /files/", b"PATCH /files/x HTTP/1.1\r\nHost: x\r\nUpload-Off"])
def test_a_head_that_does_not_end(impatient: Server, start: bytes) -> None:
    """A client that opens a connection and does not say what it wants is let go after the head's time."""
    wire = impatient.connect()
    wire.send(start)
    assert ending(wire) in (None, 400, 408)
    assert wire.is_closed()


@pytest.mark.rule("T29")
def test_a_head_that_drips(impatient: Server) -> None:
    """A byte now and then does not prolong the head's time."""
    wire = impatient.connect()
    wire.send(b"PATCH /files/x HTTP/1.1\r\nHost: x\r\nX: ")
    for _ in range(100):
        if not wire.is_silent(0.1):
            break
        wire.send_regardless(b"x")
    assert ending(wire) in (None, 400, 408)


@pytest.mark.rule("T29")
def test_a_second_head_that_does_not_end(impatient: Server) -> None:
    """The head's time holds for every request of a connection."""
    wire = impatient.connect()
    assert wire.options().status == 200
    wire.send(b"HEAD /files/x HTT")
    assert ending(wire) in (None, 400, 408)


@pytest.mark.rule("T29")
def test_an_idle_connection_is_closed(impatient: Server) -> None:
    """A connection that asks for nothing more is let go after the keep-alive time."""
    wire = impatient.connect()
    assert wire.options().status == 200
    assert wire.is_closed()


def test_http_1_0(server: Server) -> None:
    """A client of the old version is served, one request a connection, and never gets an interim response."""
    wire = server.connect()
    head = (
        b"POST /files/ HTTP/1.0\r\n" + TUS_LINE + b"Upload-Length: 3\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"
    )
    wire.send(head + f"Content-Type: {BYTES}\r\n\r\n".encode() + b"abc")
    answer = wire.answer()
    assert (answer.status, answer.offset, answer.interim) == (201, 3, ())
    assert wire.is_closed()
    assert server.get(answer.path).body == b"abc"


@pytest.mark.rule("T28", "T35")
@pytest.mark.parametrize("size", [1000, MIB])
def test_a_client_that_half_closes_after_its_body(server: Server, size: int) -> None:
    """Who says that nothing more comes has still uploaded."""
    path, data = server.new(size), pattern(size)
    wire = server.connect()
    wire.begin_patch(path, 0, size, data)
    wire.stop_sending()
    assert ending(wire, "PATCH") in (None, 204)
    eventually(lambda: server.get(path).status == 200, "the upload is complete")
    assert server.get(path).body == data


@pytest.mark.rule("T28", "T29")
@pytest.mark.parametrize("length", [1000, MIB])
def test_a_client_that_half_closes_in_its_body(server: Server, length: int) -> None:
    """Who says too early that nothing more comes is ended at once, and what came is kept."""
    path = server.new(length)
    wire = server.connect()
    wire.begin_patch(path, 0, length, b"abc")
    wire.stop_sending()
    assert ending(wire, "PATCH") in (None, 400, 423)
    server.until_offset(path, 3)
    assert server.patch(path, 3, b"x" * (length - 3)).offset == length


@pytest.mark.rule("T12", "T44")
@pytest.mark.parametrize(
    "fields",
    [
        {"Expect": "200-ok"},
        {"Upgrade": "websocket", "Connection": "Upgrade"},
        {"Connection": "close, x"},
        {"TE": "trailers"},
    ],
)
def test_odd_connection_fields(server: Server, fields: Fields) -> None:
    """Fields that speak of the connection do not change what a PATCH means, or are refused."""
    path = server.new(3)
    answer = server.patch(path, 0, b"abc", fields)
    assert answer.status in (204, 417)
    assert server.offset(path) == (3 if answer.status == 204 else 0)


def test_bytes_that_are_no_text(server: Server) -> None:
    """Fields with bytes that are not UTF-8 are either refused or come back as they were."""
    wire = server.connect()
    wire.send(
        b"POST /files/ HTTP/1.1\r\n"
        + HOST
        + TUS_LINE
        + b"Upload-Length: 3\r\nX-Request-ID: \xff\xfe\r\nUpload-Metadata: \xff\xfe YQ==\r\n\r\n"
    )
    assert wire.answer().status == 400


def test_thousands_of_requests_that_break_off(server: Server) -> None:
    """Clients that leave at every byte of a request leave nothing behind and disturb nobody."""
    path = server.new(1000)
    with server.connect() as wire:
        request = wire.head_bytes("PATCH", path, {**patch_fields(0), "Content-Length": "1000"}) + b"x" * 20
    for end in range(1, len(request), 3):
        with server.connect() as wire:
            wire.send(request[:end])
    assert 0 <= server.offset(path) <= 20
    assert server.create(3, body=b"abc").offset == 3
