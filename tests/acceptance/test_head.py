"""HEAD: how far an upload is."""

from __future__ import annotations

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import TUS
from tests.conftest import StartServer

UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"


@pytest.mark.rule("T14", "T15", "T17", "T18", "T6")
def test_a_fresh_upload(server: Server) -> None:
    """At offset 0 the offset is said too, and the answer is not for caches."""
    answer = server.head(server.new(10))
    assert answer.status == 200
    assert answer["Upload-Offset"] == "0"
    assert answer["Upload-Length"] == "10"
    assert answer["Cache-Control"] == "no-store"
    assert answer["Tus-Resumable"] == "1.0.0"


@pytest.mark.rule("T14", "T15", "T20")
def test_offset_and_length_on_the_way_and_at_the_end(server: Server) -> None:
    """The offset follows the bytes, and at the end equals the length."""
    path = server.new(10)
    server.patch(path, 0, b"abcd")
    assert server.head(path)["Upload-Offset"] == "4"
    server.patch(path, 4, b"efghij")
    answer = server.head(path)
    assert answer["Upload-Offset"] == answer["Upload-Length"] == "10"
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.rule("T16", "T18")
@pytest.mark.parametrize("fields", [TUS, {}], ids=["tus", "plain"])
def test_an_unknown_upload(server: Server, fields: dict[str, str]) -> None:
    """What is not there is 404, without an offset and not for caches, whoever asks."""
    answer = server.ask("HEAD", server.files + UNKNOWN, fields)
    assert answer.status == 404
    assert "Upload-Offset" not in answer
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.rule("T19")
@pytest.mark.parametrize("unknown", [False, True])
def test_head_has_no_body(server: Server, unknown: bool) -> None:
    """Nothing follows the head, so that the next request on the connection gets its own answer."""
    path = server.files + UNKNOWN if unknown else server.new(10, body=b"abc")
    with server.connect() as wire:
        assert wire.head(path).get("Content-Length") in (None, "0")
        assert wire.is_silent(0.05)
        assert wire.head(path).status == (404 if unknown else 200)


@pytest.mark.rule("T58")
@pytest.mark.parametrize(
    "metadata",
    [
        "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential",
        "filename c8WCb8WEY2UudHh0,n NQ==,empty",
        "z eg==,a YQ==,M TQ==",
        "empty ,a YQ==",
        "emptykey",
        "constructor YQ==,__proto__ YQ==,toString",
        "a YQ==,b",
    ],
)
def test_metadata_comes_back_letter_for_letter(server: Server, metadata: str) -> None:
    """What was sent as Upload-Metadata is told again in the same order, padding and case."""
    path = server.new(3, {"Upload-Metadata": metadata})
    assert server.head(path)["Upload-Metadata"] == metadata
    server.patch(path, 0, b"abc")
    assert server.head(path)["Upload-Metadata"] == metadata


@pytest.mark.rule("T58")
def test_an_upload_without_metadata_has_none(server: Server) -> None:
    """No empty Upload-Metadata is made up."""
    assert "Upload-Metadata" not in server.head(server.new(3))


@pytest.mark.rule("T20", "T25")
def test_everybody_tells_the_same_offset(server: Server) -> None:
    """PATCH, HEAD, a 409 and the file on disk agree."""
    path = server.new(10)
    told = {server.patch(path, 0, b"abcd").offset, server.offset(path), server.patch(path, 9, b"x").offset}
    stored = [file for file in server.folder.rglob(path.rsplit("/", 1)[1]) if file.is_file()]
    assert told == {4}
    assert [file.read_bytes() for file in stored] == [b"abcd"]


@pytest.mark.rule("T20")
def test_the_offset_survives_a_restart(start_server: StartServer) -> None:
    """After kill -9 and a new start the upload goes on where it was."""
    server = start_server()
    path = server.new(10, {"Upload-Metadata": "a YQ=="}, b"abcd")
    server.restart()
    answer = server.head(path)
    assert (answer["Upload-Offset"], answer["Upload-Length"], answer["Upload-Metadata"]) == ("4", "10", "a YQ==")
    assert server.patch(path, 4, b"efghij").status == 204
    assert server.get(path).body == b"abcdefghij"


@pytest.mark.parametrize(
    "id",
    [
        "..",
        "%2e%2e",
        "..%2Fuploads",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "a%00b",
        "AAAAAAAAAAAAAAAAAAAAA%00",
        "A" * 21,
        "A" * 23,
        "A" * 5000,
        "%C3%A4" * 22,
        "AAAAAAAAAAAAAAAAAAAAAA.floor",
        "AAAAAAAAAAAAAAAAAAAAAA/",
        "a/b",
    ],
)
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE", "GET"])
@pytest.mark.rule("T16", "T27")
def test_an_id_that_cannot_be_one_is_404(server: Server, method: str, id: str) -> None:
    """Paths that try to leave the upload folder, hide a NUL or have the wrong length name nothing."""
    answer = server.ask(method, server.files + id, {**TUS, "Upload-Offset": "0"})
    assert answer.status == 404
    assert answer["Tus-Resumable"] == "1.0.0"


def test_ids_are_long_and_differ(server: Server) -> None:
    """An upload's URL is what entitles to it: 128 bits in a URL-safe alphabet, and known in exactly that spelling."""
    ids = {server.new(1).removeprefix(server.files) for _ in range(5)}
    assert len(ids) == 5
    assert all(len(id) == 22 and id.replace("-", "a").replace("_", "a").isalnum() for id in ids)
    assert server.head(server.files + ids.pop().swapcase()).status == 404
