"""Chunks that carry their checksum: they count whole or not at all."""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import MIB, Fields, chunked, eventually, patch_fields
from tests.conftest import StartServer

ALGORITHMS = ["sha1", "sha256", "sha512", "md5", "crc32"]
SIZES = [3, 200_000, MIB, 3 * MIB + 5]  # verified in memory, and on the disk


def digest(algorithm: str, data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big") if algorithm == "crc32" else hashlib.new(algorithm, data).digest()


def checksum(algorithm: str, data: bytes) -> Fields:
    return {"Upload-Checksum": f"{algorithm} {b64encode(digest(algorithm, data)).decode()}"}


@pytest.mark.rule("T84", "T85")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_match(server: Server, algorithm: str, size: int) -> None:
    """A chunk with its right checksum is kept."""
    data = b"abc" * (size // 3) + b"d" * (size % 3)
    path = server.new(size)
    answer = server.patch(path, 0, data, checksum(algorithm, data))
    assert (answer.status, answer.offset) == (204, size)
    assert server.get(path).body == data


@pytest.mark.rule("T84", "T47", "T87", "T20")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_mismatch(server: Server, algorithm: str, size: int) -> None:
    """A chunk with another checksum is 460 with its phrase and keeps no byte; the right bytes then go through."""
    data, wrong = b"a" * size, b"a" * (size - 1) + b"b"
    path = server.new(size + 5, body=b"start")
    answer = server.patch(path, 5, wrong, checksum(algorithm, data))
    assert (answer.status, answer.reason, answer.code) == (460, "Checksum Mismatch", "ERR_CHECKSUM_MISMATCH")
    assert server.offset(path) == 5
    assert server.patch(path, 5, data, checksum(algorithm, data)).offset == size + 5
    assert server.get(path).body == b"start" + data


@pytest.mark.rule("T84", "T86", "T44")
@pytest.mark.parametrize(
    "value", ["md6 " + b64encode(b"x" * 20).decode(), "md6 junk!", "md6", "SHA1 " + "A" * 28, "", " ", "sha3-256 AAAA"]
)
def test_an_unknown_algorithm_is_400(server: Server, value: str) -> None:
    """What cannot be verified is refused before the body, whatever stands behind the name."""
    path = server.new(3)
    assert server.patch(path, 0, b"abc", {"Upload-Checksum": value}).status == 400
    assert server.offset(path) == 0


@pytest.mark.rule("T86")
@pytest.mark.parametrize(
    "value",
    ["sha1", "sha1 ", "sha1 junk!", "sha1 AAA", "sha1  " + "A" * 27 + "=", "sha1 AAAA AAAA", "sha1\t" + "A" * 27 + "="],
)
def test_a_malformed_checksum_is_400(server: Server, value: str) -> None:
    """A known algorithm needs one space and Base64 behind it."""
    path = server.new(3)
    answer = server.patch(path, 0, b"abc", {"Upload-Checksum": value})
    assert answer.status == 400
    assert answer.code in ("ERR_INVALID_CHECKSUM", "ERR_UNSUPPORTED_CHECKSUM")
    assert server.offset(path) == 0


@pytest.mark.rule("T86")
@pytest.mark.parametrize(
    "value", ["sha1 " + "A" * 28, "sha1 AAAA", "sha256 " + b64encode(hashlib.sha1(b"abc").digest()).decode()]
)
def test_base64_of_the_wrong_length_is_a_mismatch(server: Server, value: str) -> None:
    """A digest that can be read but cannot be right is 460."""
    path = server.new(3)
    assert server.patch(path, 0, b"abc", {"Upload-Checksum": value}).status == 460
    assert server.offset(path) == 0


@pytest.mark.rule("T89")
def test_the_checksum_of_nothing(server: Server) -> None:
    """An empty chunk has a checksum, too, and it is verified."""
    path = server.new(3)
    assert server.patch(path, 0, b"", checksum("sha1", b"")).status == 204
    assert server.patch(path, 0, b"", checksum("sha1", b"abc")).status == 460
    assert server.patch(path, 0, None, checksum("sha1", b"")).status == 204


@pytest.mark.rule("T84", "T30")
@pytest.mark.parametrize("size", [3, 200_000, 2 * MIB])
def test_a_chunked_body_is_verified(server: Server, size: int) -> None:
    """A body without Content-Length is verified at its end."""
    data, path = b"x" * size, server.new(size)
    coding: Fields = {"Transfer-Encoding": "chunked"}
    assert server.patch(path, 0, chunked(data), {**coding, **checksum("sha1", b"y")}).status == 460
    assert server.offset(path) == 0
    assert server.patch(path, 0, chunked(data), {**coding, **checksum("sha1", data)}).offset == size


@pytest.mark.rule("T84")
@pytest.mark.parametrize("sent", [1000, 200_000, 3 * MIB])
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_chunk_that_breaks_off_is_discarded(server: Server, sent: int, ending: str) -> None:
    """Bytes that could not be verified never count, not while they come and not afterwards."""
    data = b"z" * (4 * MIB)
    path = server.new(len(data) + 5, body=b"start")
    wire = server.connect()
    wire.begin(
        "PATCH", path, {**patch_fields(5), **checksum("sha1", data), "Content-Length": str(len(data))}, data[:sent]
    )
    assert server.offset(path) == 5
    wire.reset() if ending == "reset" else wire.close()
    assert server.offset(path) == 5
    eventually(lambda: server.patch(path, 5, data, checksum("sha1", data)).status == 204, "the chunk goes through")
    assert server.get(path).body == b"start" + data


@pytest.mark.rule("T84", "T20")
@pytest.mark.parametrize("sent", [3 * MIB, pytest.param(1000, marks=pytest.mark.slow)])
def test_kill_9_discards_what_was_not_verified(start_server: StartServer, sent: int) -> None:
    """A server that dies in the middle of a checksummed chunk comes back without any of it."""
    server = start_server()
    data = b"z" * (4 * MIB)
    path = server.new(len(data) + 5, body=b"start")
    wire = server.connect()
    wire.begin(
        "PATCH", path, {**patch_fields(5), **checksum("sha1", data), "Content-Length": str(len(data))}, data[:sent]
    )
    assert server.offset(path) == 5
    server.restart()
    assert server.offset(path) == 5
    assert server.patch(path, 5, data, checksum("sha1", data)).status == 204
    assert server.get(path).body == b"start" + data


@pytest.mark.rule("T84", "T24")
def test_a_wrong_offset_is_told_before_the_checksum(server: Server) -> None:
    """A chunk for another place is 409, right checksum or not."""
    path = server.new(10, body=b"abc")
    assert server.patch(path, 0, b"abc", checksum("sha1", b"xyz")).status == 409
    assert server.offset(path) == 3


@pytest.mark.rule("T84", "T31")
def test_a_verified_body_that_is_too_long(server: Server) -> None:
    """Too long is too long, even with the right checksum, and nothing is kept."""
    path = server.new(10)
    data = b"x" * 11
    assert server.patch(path, 0, data, checksum("sha1", data)).status == 413
    body = chunked(data)
    assert server.patch(path, 0, body, {"Transfer-Encoding": "chunked", **checksum("sha1", data)}).status == 413
    assert server.offset(path) == 0


@pytest.mark.rule("T84", "T35")
def test_a_mismatch_on_the_last_chunk_does_not_finish(server: Server) -> None:
    """An upload is complete only with verified bytes."""
    path = server.new(3)
    server.patch(path, 0, b"abd", checksum("md5", b"abc"))
    assert server.get(path).status == 404
    assert server.patch(path, 0, b"abc", checksum("md5", b"abc")).offset == 3
    assert server.get(path).body == b"abc"


@pytest.mark.slow
@pytest.mark.rule("T84", "T87")
def test_a_large_mismatch(server: Server) -> None:
    """A chunk so large that the disk has synced parts of it already can still be taken back."""
    data = b"a" * (150 * MIB)
    path = server.new(len(data) + 5, body=b"start")
    assert server.patch(path, 5, data, checksum("sha1", b"b")).status == 460
    assert server.offset(path) == 5
    assert server.patch(path, 5, data, checksum("sha1", data)).offset == len(data) + 5


@pytest.mark.slow
@pytest.mark.rule("T84", "T87")
def test_a_slow_mismatch(server: Server) -> None:
    """A chunk that pauses so long that what came is synced can still be taken back."""
    data = b"a" * (4 * MIB)
    path = server.new(len(data) + 5, body=b"start")
    wire = server.connect()
    fields = {**patch_fields(5), **checksum("sha1", b"b"), "Content-Length": str(len(data))}
    wire.begin("PATCH", path, fields, data[: 3 * MIB])
    assert wire.is_silent(4)
    assert server.offset(path) == 5
    wire.send_regardless(data[3 * MIB :])
    assert wire.answer().status in (423, 460)
    assert server.offset(path) == 5
    assert server.patch(path, 5, data, checksum("sha1", data)).offset == len(data) + 5
