"""PATCH: adding bytes."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import BYTES, MIB, TUS, Wire, chunked, eventually, patch_fields
from tests.conftest import StartServer

UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"
SIZES = [1, 1000, 64 << 10, (64 << 10) + 1, (256 << 10) + 1, MIB, 3 * MIB + 17]


@cache
def pattern(size: int) -> bytes:
    """Bytes in which no two places look alike."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


@pytest.mark.rule("T21", "T26", "T36")
@pytest.mark.parametrize("size", SIZES)
def test_bytes_are_added(server: Server, size: int) -> None:
    """A body of any size is kept whole, by whichever way it goes, and answered with 204 and the new offset."""
    path, data = server.new(size), pattern(size)
    answer = server.patch(path, 0, data)
    assert (answer.status, answer.offset, answer.body) == (204, size, b"")
    assert "Content-Length" not in answer
    assert server.get(path).body == data


@pytest.mark.rule("T21", "T26", "T30")
@pytest.mark.parametrize("size", SIZES)
def test_a_chunked_body_is_added(server: Server, size: int) -> None:
    """A body without Content-Length works as well."""
    path, data = server.new(size), pattern(size)
    pieces = [data[at : at + 100_000] for at in range(0, size, 100_000)]
    answer = server.patch(path, 0, chunked(*pieces), {"Transfer-Encoding": "chunked"})
    assert (answer.status, answer.offset) == (204, size)
    assert server.get(path).body == data


@pytest.mark.rule("T21", "T26")
def test_an_upload_in_several_requests(server: Server) -> None:
    """Each PATCH goes on where the last one ended."""
    data = pattern(700_000)
    path = server.new(len(data))
    cuts = [0, 1, 100, 100_000, 400_000, 699_999, 700_000]
    offsets = [server.patch(path, a, data[a:b]).offset for a, b in pairwise(cuts)]
    assert offsets == cuts[1:]
    assert server.get(path).body == data


@pytest.mark.rule("T22")
@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "",
        "application/octet-stream",
        "text/plain",
        "application/offset+octet-streams",
        "application/json",
        "junk",
        "*/*",
    ],
)
def test_another_media_type_is_415(server: Server, media_type: str | None) -> None:
    """Bytes that are not labelled as tus demands are refused."""
    path = server.new(3)
    answer = server.patch(path, 0, b"abc", {"Content-Type": media_type})
    assert (answer.status, answer.code) == (415, "ERR_INVALID_CONTENT_TYPE")
    assert server.offset(path) == 0


@pytest.mark.rule("T22")
@pytest.mark.parametrize(
    "media_type", [BYTES.upper(), "Application/Offset+Octet-Stream", BYTES + "; charset=utf-8", BYTES + ";x=y ; z=1"]
)
def test_case_and_parameters_of_the_media_type_do_not_matter(server: Server, media_type: str) -> None:
    """The media type is compared as HTTP says, not letter for letter."""
    assert server.patch(server.new(3), 0, b"abc", {"Content-Type": media_type}).status == 204


@pytest.mark.rule("T23")
def test_a_missing_offset_is_400(server: Server) -> None:
    """A PATCH has to say where its bytes go."""
    path = server.new(3)
    answer = server.patch(path, 0, b"abc", {"Upload-Offset": None})
    assert (answer.status, answer.code) == (400, "ERR_INVALID_OFFSET")
    assert server.offset(path) == 0


@pytest.mark.rule("T24", "T25", "T20")
@pytest.mark.parametrize("offset", [0, 3, 5, 9, 10, 1 << 60])
def test_another_offset_is_409(server: Server, offset: int) -> None:
    """Bytes for another place are refused with the right offset, and nothing changes."""
    path = server.new(10, body=b"abcd")
    answer = server.patch(path, offset, b"x")
    assert (answer.status, answer.code, answer.offset) == (409, "ERR_MISMATCHED_OFFSET", 4)
    assert server.offset(path) == 4
    assert server.patch(path, 4, b"efghij").status == 204
    assert server.get(path).body == b"abcdefghij"


@pytest.mark.rule("T27", "T44")
@pytest.mark.parametrize("fields", [patch_fields(0), {}], ids=["tus", "plain"])
def test_an_unknown_upload_is_404(server: Server, fields: dict[str, str]) -> None:
    """What is not there is told before anything that is wrong with the fields."""
    answer = server.ask("PATCH", server.files + UNKNOWN, fields, b"abc")
    assert (answer.status, answer.code) == (404, "ERR_UPLOAD_NOT_FOUND")


@pytest.mark.rule("T28", "T20")
@pytest.mark.parametrize("sent", [5, 50_000, 700_000])
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_what_arrived_before_a_drop_is_kept(server: Server, sent: int, ending: str) -> None:
    """A connection that breaks in mid-body costs nothing that had arrived."""
    data = pattern(MIB)
    path = server.new(MIB)
    wire = server.connect()
    wire.begin_patch(path, 0, MIB, data[:sent])
    server.until_offset(path, sent)
    wire.reset() if ending == "reset" else wire.close()
    assert server.patch(path, sent, data[sent:]).offset == MIB
    assert server.get(path).body == data


@pytest.mark.rule("T28", "T30")
def test_what_arrived_of_a_chunked_body_is_kept(server: Server) -> None:
    """The same holds for a body without Content-Length."""
    path = server.new(100_000)
    wire = server.connect()
    wire.begin(
        "PATCH", path, {**patch_fields(0), "Transfer-Encoding": "chunked"}, chunked(b"a" * 40_000, end=b"ffff\r\nbb")
    )
    server.until_offset(path, 40_002)
    wire.reset()
    assert server.patch(path, 40_002, b"c" * 59_998).status == 204
    assert server.get(path).body == b"a" * 40_000 + b"bb" + b"c" * 59_998


@pytest.mark.rule("T29")
@pytest.mark.parametrize("length", [1000, MIB])
def test_a_silent_client_is_ended(impatient: Server, length: int) -> None:
    """After the idle time the bytes are kept, and the client is told that it may go on, elsewhere."""
    path = impatient.new(length)
    wire = impatient.connect()
    wire.begin_patch(path, 0, length, b"abc")
    answer = wire.answer()
    assert (answer.status, answer.code, answer["Connection"]) == (423, "ERR_READ_TIMEOUT", "close")
    assert int(answer["Retry-After"]) >= 0
    assert impatient.offset(path) == 3


@pytest.mark.slow
@pytest.mark.rule("T29", "T46")
@pytest.mark.parametrize("length", [1000, MIB])
def test_the_connection_of_a_silent_client_is_closed(impatient: Server, length: int) -> None:
    """The server waits a moment for the rest of a body that it ended, so that the answer is read, then closes."""
    with Wire((impatient.host, impatient.port), patience=15) as wire:
        wire.begin_patch(impatient.new(length), 0, length, b"abc")
        assert wire.answer().status == 423
        assert wire.is_closed()


@pytest.mark.rule("T29", "T30")
def test_a_silent_chunked_client_is_ended(impatient: Server) -> None:
    """The same holds for a body without Content-Length."""
    path = impatient.new(1000)
    wire = impatient.connect()
    wire.begin("PATCH", path, {**patch_fields(0), "Transfer-Encoding": "chunked"}, b"3\r\nabc\r\n10\r\nde")
    assert wire.answer().code == "ERR_READ_TIMEOUT"
    assert impatient.offset(path) == 5


@pytest.mark.rule("T31")
@pytest.mark.parametrize(
    ("length", "start", "size"), [(10, 0, 11), (10, 4, 7), (10, 10, 1), (MIB, 0, MIB + 1), (10, 0, MIB)]
)
def test_a_body_announced_too_long_is_refused(server: Server, length: int, start: int, size: int) -> None:
    """A Content-Length that would pass the end is 413, and nothing of it is kept."""
    path = server.new(length, body=b"x" * start if start else None)
    answer = server.patch(path, start, b"y" * size)
    assert answer.status in ((413, 204) if start == length else (413,))
    assert server.offset(path) == start


@pytest.mark.rule("T31")
@pytest.mark.parametrize("size", [11, 1000, MIB])
def test_a_chunked_body_that_grows_too_long_is_refused(server: Server, size: int) -> None:
    """Without Content-Length the end is found on the way: 413, and the offset never passes the length."""
    path = server.new(10)
    answer = server.patch(path, 0, chunked(b"x" * size), {"Transfer-Encoding": "chunked"})
    assert (answer.status, answer.code) == (413, "ERR_UPLOAD_SIZE_EXCEEDED")
    assert server.offset(path) <= 10


@pytest.mark.rule("T32")
def test_the_size_limit_holds_for_deferred_lengths(server_with: StartServer) -> None:
    """An upload without a length cannot grow beyond the limit, with Content-Length or without."""
    server = server_with("--max-size", "1000")
    path = server.new()
    assert server.patch(path, 0, b"x" * 1001).status == 413
    assert server.patch(path, 0, chunked(b"x" * 1001), {"Transfer-Encoding": "chunked"}).status == 413
    kept = server.offset(path)
    assert kept <= 1000
    assert server.patch(path, kept, b"x" * (1000 - kept)).offset == 1000
    assert server.patch(path, 1000, b"x").status == 413


@pytest.mark.rule("T33")
@pytest.mark.parametrize("chunks", [False, True])
def test_an_empty_body_is_fine(server: Server, chunks: bool) -> None:
    """A PATCH without bytes at the right offset changes nothing and succeeds."""
    path = server.new(10, body=b"abc")
    answer = (
        server.patch(path, 3, chunked(), {"Transfer-Encoding": "chunked"}) if chunks else server.patch(path, 3, b"")
    )
    assert (answer.status, answer.offset) == (204, 3)


@pytest.mark.rule("T33")
def test_no_body_at_all_is_fine(server: Server) -> None:
    """A PATCH with neither Content-Length nor chunks has an empty body."""
    answer = server.patch(server.new(10), 0, None)
    assert (answer.status, answer.offset) == (204, 0)


@pytest.mark.rule("T34")
def test_patch_on_a_complete_upload(server: Server) -> None:
    """At the end an empty PATCH is 204 with the unchanged offset, one at another place is 409."""
    path = server.new(3, body=b"abc")
    answer = server.patch(path, 3, b"")
    assert (answer.status, answer.offset) == (204, 3)
    assert server.patch(path, 0, b"abc").status == 409
    assert server.patch(path, 3, b"d").status < 500
    assert server.get(path).body == b"abc"


@pytest.mark.rule("T35", "T28")
@pytest.mark.parametrize("size", [1000, MIB])
def test_a_client_that_leaves_with_its_last_byte(server: Server, size: int) -> None:
    """An upload is complete with its last byte, even if nobody waits for the answer."""
    path, data = server.new(size), pattern(size)
    wire = server.connect()
    wire.begin_patch(path, 0, size, data)
    wire.close()
    eventually(lambda: server.get(path).status == 200, "the upload is complete")
    assert server.get(path).body == data


@pytest.mark.rule("T30")
def test_content_coding_is_not_undone(server: Server) -> None:
    """Offsets count the bytes that are sent, so a body that calls itself gzip is kept as it is."""
    path = server.new(10)
    assert server.patch(path, 0, b"not gzip!!", {"Content-Encoding": "gzip"}).status in (204, 415)
    assert server.offset(path) in (0, 10)


@pytest.mark.rule("T21")
def test_a_hundred_requests_on_one_connection(server: Server) -> None:
    """A connection serves one PATCH after the other."""
    data = pattern(100_000)
    path = server.new(len(data))
    wire = server.connect()
    for at in range(0, len(data), 1000):
        assert wire.patch(path, at, data[at : at + 1000]).offset == at + 1000
    assert wire.get(path).body == data


@pytest.mark.rule("T21")
def test_large_and_small_requests_on_one_connection(server: Server) -> None:
    """A connection goes on after bodies that took the fast way."""
    data = pattern(4 * MIB)
    path = server.new(len(data))
    wire = server.connect()
    cuts = [0, 1 << 19, (1 << 19) + 5, 2 * MIB, 2 * MIB + 1000, 3 * MIB + 1, 4 * MIB]
    for a, b in pairwise(cuts):
        assert wire.patch(path, a, data[a:b]).offset == b
        assert wire.head(path).offset == b
    assert wire.get(path).body == data


@pytest.mark.parametrize(
    ("range_", "start", "stop"), [("bytes=0-3", 0, 4), ("bytes=500-", 500, 1000), ("bytes=-10", 990, 1000)]
)
def test_a_finished_upload_can_be_downloaded_in_part(server: Server, range_: str, start: int, stop: int) -> None:
    """GET obeys a byte range."""
    data = pattern(1000)
    answer = server.get(server.new(1000, body=data), {"Range": range_})
    assert answer.status == 206
    assert answer["Content-Range"] == f"bytes {start}-{stop - 1}/1000"
    assert answer.body == data[start:stop]


def test_a_range_outside_of_the_upload_is_416(server: Server) -> None:
    """GET of a range that is not there tells the size."""
    answer = server.get(server.new(3, body=b"abc"), {"Range": "bytes=3-"})
    assert answer.status == 416
    assert answer["Content-Range"] == "bytes */3"


def test_an_unfinished_upload_cannot_be_downloaded(server: Server) -> None:
    """GET delivers nothing before everything is there."""
    answer = server.get(server.new(10, body=b"abc"), TUS)
    assert (answer.status, answer.code) == (404, "ERR_INCOMPLETE_UPLOAD")
