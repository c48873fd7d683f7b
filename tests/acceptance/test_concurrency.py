"""Several requests for one upload at once: one writer, and a newcomer wins."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import MIB, Answer, Wire, chunked, eventually, patch_fields

SIZES = [1000, 4 * MIB]  # the ordinary way and the zero-copy way


def stalled(server: Server, path: str, length: int, sent: bytes) -> Wire:
    """A connection whose PATCH has sent something and then nothing more."""
    wire = server.connect()
    wire.begin_patch(path, server.offset(path), length, sent)
    return wire


@pytest.mark.rule("T41", "T42", "T26")
@pytest.mark.parametrize("length", SIZES)
def test_a_newcomer_takes_over(server: Server, length: int) -> None:
    """A PATCH gets through a stalled one at once; the old client is told to come back, and its bytes are kept."""
    path = server.new(length)
    old = stalled(server, path, length, b"a" * 500)
    server.until_offset(path, 500)
    began = time.monotonic()
    answer = server.patch(path, 500, b"b" * (length - 500))
    took = time.monotonic() - began
    assert (answer.status, answer.offset) == (204, length)
    assert took < 1.0
    told = old.answer()
    assert (told.status, told.code) == (423, "ERR_UPLOAD_INTERRUPTED")
    assert told["Retry-After"].isdigit()
    assert told["Connection"] == "close"
    assert server.get(path).body == b"a" * 500 + b"b" * (length - 500)


@pytest.mark.rule("T41", "T42", "T30")
def test_a_newcomer_takes_over_a_chunked_body(server: Server) -> None:
    """The same holds for a body without Content-Length."""
    path = server.new(1000)
    old = server.connect()
    old.begin("PATCH", path, {**patch_fields(0), "Transfer-Encoding": "chunked"}, b"3e8\r\n" + b"a" * 500)
    server.until_offset(path, 500)
    assert server.patch(path, 500, b"b" * 500).offset == 1000
    assert old.answer().code == "ERR_UPLOAD_INTERRUPTED"


@pytest.mark.rule("T41", "T42")
@pytest.mark.parametrize("length", SIZES)
def test_an_old_client_that_goes_on_sending(server: Server, length: int) -> None:
    """What the old client still sends lands nowhere, and it can read its answer afterwards."""
    path = server.new(length)
    old = stalled(server, path, length, b"a" * 500)
    server.until_offset(path, 500)
    assert server.patch(path, 500, b"b" * 10).offset == 510
    old.send_regardless(b"X" * (length - 500))
    assert old.answer().code == "ERR_UPLOAD_INTERRUPTED"
    assert server.patch(path, 510, b"c" * (length - 510)).offset == length
    assert server.get(path).body == b"a" * 500 + b"b" * 10 + b"c" * (length - 510)


@pytest.mark.rule("T41", "T28")
def test_many_take_overs(server: Server) -> None:
    """Each of many clients in a row pushes out the one before it, and no byte is lost or doubled."""
    path = server.new(2000)
    wires = []
    for number in range(20):
        wires.append(stalled(server, path, 2000 - number * 10, bytes([65 + number]) * 10))
        server.until_offset(path, number * 10 + 10)
    assert server.patch(path, 200, b"z" * 1800).offset == 2000
    assert [wire.answer().status for wire in wires] == [423] * 20
    assert server.get(path).body == b"".join(bytes([65 + number]) * 10 for number in range(20)) + b"z" * 1800


@pytest.mark.rule("T43", "T20")
@pytest.mark.parametrize("length", [100_000, 5 * MIB])
def test_head_does_not_disturb_a_live_writer(server: Server, length: int) -> None:
    """HEAD beside a client that keeps sending tells what has come so far, and the client carries on."""
    path, step = server.new(length), length // 10
    writer = server.connect()
    writer.begin_patch(path, 0, length)
    for sent in range(step, length + 1, step):
        writer.send(b"x" * step)
        server.until_offset(path, sent)
    answer = writer.answer()
    assert (answer.status, answer.offset) == (204, length)


@pytest.mark.rule("T43", "T41")
@pytest.mark.parametrize("length", SIZES)
def test_head_ends_a_silent_writer(server: Server, length: int) -> None:
    """A client that asks after its own dead connection ends it, so that the offset it gets is final."""
    path = server.new(length)
    writer = stalled(server, path, length, b"a" * 500)
    server.until_offset(path, 500)
    assert writer.is_silent(0.7)
    assert server.offset(path) == 500
    assert writer.answer().code == "ERR_UPLOAD_INTERRUPTED"


@pytest.mark.rule("T24", "T25", "T40", "T43")
@pytest.mark.parametrize("length", SIZES)
@pytest.mark.parametrize("offset", [0, 499])
def test_a_patch_from_behind_disturbs_nobody(server: Server, length: int, offset: int) -> None:
    """A PATCH below what has been written already gets its 409 beside the writer, which carries on."""
    path = server.new(length)
    writer = stalled(server, path, length, b"a" * 500)
    server.until_offset(path, 500)
    answer = server.patch(path, offset, b"b")
    assert (answer.status, answer.offset) == (409, 500)
    writer.send(b"a" * (length - 500))
    assert writer.answer().offset == length


@pytest.mark.rule("T40", "T24", "T44")
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Upload-Offset": "x"}, 400),
        ({"Tus-Resumable": "0.2.2"}, 412),
        ({"Tus-Resumable": None}, 412),
        ({"Upload-Checksum": "md6 AAAA"}, 400),
    ],
)
def test_a_wrong_request_disturbs_nobody(server: Server, fields: dict[str, str], status: int) -> None:
    """What would be refused anyway is refused beside the writer, which carries on."""
    path = server.new(1000)
    writer = stalled(server, path, 1000, b"a" * 500)
    server.until_offset(path, 500)
    assert server.patch(path, 500, b"b", fields).status == status
    writer.send(b"a" * 500)
    assert writer.answer().offset == 1000


@pytest.mark.rule("T40")
@pytest.mark.parametrize("size", [1000, 300_000, 2 * MIB])
def test_one_of_many_wins(server: Server, size: int) -> None:
    """Of many PATCHes with the same offset one succeeds, and the bytes are one client's, unmixed."""
    path = server.new(size)

    def send(number: int) -> Answer:
        return server.patch(path, 0, bytes([65 + number]) * size)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert sorted(answer.status for answer in answers).count(204) <= 1
    assert {answer.status for answer in answers} <= {204, 409, 423}
    kept = server.offset(path)
    if kept < size:  # all were pushed out: the last of them comes back
        assert server.patch(path, kept, b"z" * (size - kept)).status == 204
    assert any(answer.status == 204 for answer in answers) is (kept == size)


@pytest.mark.rule("T40", "T35")
def test_a_complete_body_is_not_replaced(server: Server) -> None:
    """Who has sent its last byte gets its 204, whoever comes then."""
    path = server.new(2 * MIB)
    first = server.connect()
    first.begin_patch(path, 0, 2 * MIB, b"a" * (2 * MIB))
    eventually(lambda: server.head(path).get("Upload-Offset") == str(2 * MIB), "all bytes are there")
    assert server.patch(path, 0, b"b").status == 409
    assert first.answer().status == 204


@pytest.mark.rule("T41", "T28", "T20")
def test_many_uploads_side_by_side(server: Server) -> None:
    """Clients that stall, drop and come back on uploads of their own never meet."""

    def upload(number: int) -> bool:
        data = bytes([65 + number]) * 300_000 + str(number).encode()
        path = server.new(len(data))
        with Wire((server.host, server.port)) as wire:
            wire.begin_patch(path, 0, len(data), data[:100_000])
            server.until_offset(path, 100_000)
            wire.reset()
        server.patch(path, 100_000, chunked(data[100_000:]), {"Transfer-Encoding": "chunked"})
        return server.get(path).body == data

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(upload, range(24)))
