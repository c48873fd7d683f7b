"""POST with the first bytes."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import BYTES, MIB, TUS, Fields, chunked, eventually
from tests.conftest import StartServer


def stored(server: Server) -> int:
    """How many files there are in the upload folder: none is left behind by a creation that was refused."""
    return sum(1 for file in (server.folder / "uploads").rglob("*") if file.is_file())


@pytest.mark.rule("T71", "T73", "T74")
@pytest.mark.parametrize(("length", "size"), [(10, 3), (10, 10), (4096, 4096), (3 * MIB, MIB), (MIB, MIB)])
def test_a_creation_with_bytes(server: Server, length: int, size: int) -> None:
    """The bytes are kept and told; a whole body completes the upload."""
    data = bytes(range(256)) * (size // 256 + 1)
    answer = server.create(length, body=data[:size])
    assert (answer.status, answer.offset) == (201, size)
    assert server.offset(answer.path) == size
    assert server.patch(answer.path, size, b"x" * (length - size)).offset == length
    assert server.get(answer.path).body == data[:size] + b"x" * (length - size)


@pytest.mark.rule("T71", "T73")
@pytest.mark.parametrize("size", [3, 10, MIB])
def test_a_chunked_creation(server: Server, size: int) -> None:
    """A body without Content-Length works as well."""
    answer = server.create(size, {"Transfer-Encoding": "chunked", "Content-Type": BYTES}, chunked(b"a" * size))
    assert (answer.status, answer.offset) == (201, size)
    assert server.get(answer.path).body == b"a" * size


@pytest.mark.rule("T72")
@pytest.mark.parametrize("media_type", [None, "application/octet-stream", "application/partial-upload", "text/plain"])
def test_a_body_of_another_media_type_is_415(server: Server, media_type: str | None) -> None:
    """Bytes that are not labelled as tus demands are refused, and nothing is created."""
    answer = server.create(3, {"Content-Type": media_type}, b"abc")
    assert (answer.status, answer.code) == (415, "ERR_INVALID_CONTENT_TYPE")
    assert "Location" not in answer


@pytest.mark.rule("T22", "T71")
def test_case_and_parameters_do_not_matter_here_either(server: Server) -> None:
    """The media type is compared as in a PATCH."""
    answer = server.create(3, {"Content-Type": BYTES.upper() + "; a=b"}, b"abc")
    assert (answer.status, answer.offset) == (201, 3)


@pytest.mark.rule("T75", "T31")
@pytest.mark.parametrize("size", [11, MIB])
def test_a_body_longer_than_the_length_creates_nothing(server: Server, size: int) -> None:
    """Where Content-Length shows that the body is too long, no upload comes into being."""
    before = stored(server)
    answer = server.create(10, body=b"x" * size)
    assert (answer.status, answer.code) == (413, "ERR_UPLOAD_SIZE_EXCEEDED")
    assert "Location" not in answer
    assert stored(server) == before


@pytest.mark.rule("T75", "T31")
def test_a_chunked_body_longer_than_the_length_is_413(server: Server) -> None:
    """Found on the way, the upload may be there, and then says how far it is."""
    answer = server.create(10, {"Transfer-Encoding": "chunked", "Content-Type": BYTES}, chunked(b"x" * 11))
    assert (answer.status, answer.code) == (413, "ERR_UPLOAD_SIZE_EXCEEDED")
    assert "Location" not in answer or server.offset(answer.path) <= 10


@pytest.mark.rule("T76", "T73")
def test_a_deferred_length_with_bytes(server: Server) -> None:
    """The first bytes may come before the length is known."""
    answer = server.create(None, {"Upload-Defer-Length": "1"}, b"abc")
    assert (answer.status, answer.offset) == (201, 3)
    assert server.head(answer.path)["Upload-Defer-Length"] == "1"
    assert server.patch(answer.path, 3, b"", {"Upload-Length": "3"}).status == 204
    assert server.get(answer.path).body == b"abc"


@pytest.mark.rule("T32", "T76")
def test_a_deferred_length_with_too_many_bytes(server_with: StartServer) -> None:
    """The size limit holds for the first bytes of an upload without length."""
    server = server_with("--max-size", "1000")
    assert server.create(None, {"Upload-Defer-Length": "1"}, b"x" * 1001).status == 413


@pytest.mark.rule("T28", "T73")
def test_a_creation_that_breaks_off(start_server: StartServer) -> None:
    """A client that drops in the body of its creation never learns the URL; nothing breaks."""
    server = start_server()
    with server.connect() as wire:
        wire.begin(
            "POST",
            server.files,
            {**TUS, "Upload-Length": "100000", "Content-Type": BYTES, "Content-Length": "100000"},
            b"a" * 9,
        )
        eventually(lambda: stored(server) == 1, "the upload is there")
    assert server.create(3, body=b"abc").offset == 3


@pytest.mark.rule("T77", "T45")
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Upload-Length": "x"}, 400),
        ({"Upload-Metadata": "a,,b"}, 400),
        ({"Tus-Resumable": "0.2.2"}, 412),
        ({"Content-Type": "text/plain"}, 415),
        ({"Upload-Length": "5"}, 413),
        ({"Upload-Checksum": "md6 AAAA"}, 400),
    ],
)
def test_a_fault_is_told_before_100_continue(server: Server, fields: Fields, status: int) -> None:
    """A client that asks first does not send a body that is refused anyway."""
    wire = server.connect()
    wire.begin(
        "POST",
        server.files,
        {
            **TUS,
            "Upload-Length": "10",
            "Content-Type": BYTES,
            "Content-Length": "10",
            "Expect": "100-continue",
            **fields,
        },
    )
    answer = wire.answer()
    assert (answer.status, answer.interim) == (status, ())


@pytest.mark.rule("T77", "T45", "T71")
def test_100_continue_and_then_the_body(server: Server) -> None:
    """A client that asks first and is right gets its 100, then sends."""
    wire = server.connect()
    fields: Fields = {"Upload-Length": "10", "Content-Type": BYTES, "Content-Length": "10", "Expect": "100-continue"}
    wire.begin("POST", server.files, {**TUS, **fields})
    assert wire.interim() == 100
    wire.send(b"0123456789")
    answer = wire.answer()
    assert (answer.status, answer.offset, answer.interim) == (201, 10, ())


@pytest.mark.rule("T88", "T84")
@pytest.mark.parametrize(
    ("checksum", "status"),
    [
        ("sha1 " + b64encode(hashlib.sha1(b"abc").digest()).decode(), 201),
        ("sha1 " + b64encode(hashlib.sha1(b"abd").digest()).decode(), 460),
        ("md6 AAAA", 400),
        ("sha1", 400),
    ],
)
def test_the_bytes_of_a_creation_are_verified(server: Server, checksum: str, status: int) -> None:
    """A wrong checksum or an unknown algorithm creates nothing."""
    before = stored(server)
    answer = server.create(3, {"Upload-Checksum": checksum}, b"abc")
    assert answer.status == status
    assert stored(server) - before == (1 if status == 201 else 0)
    assert ("Location" in answer) == (status == 201)
