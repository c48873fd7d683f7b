"""POST: making an upload, without bytes."""

from __future__ import annotations

import base64
import re

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import TUS, chunked
from tests.conftest import StartServer


@pytest.mark.rule("T52", "T54", "T74", "T6", "T71")
def test_a_creation(server: Server) -> None:
    """201 tells the absolute URL of the new upload and that it is empty."""
    answer = server.create(10)
    assert (answer.status, answer["Upload-Offset"], answer["Tus-Resumable"]) == (201, "0", "1.0.0")
    assert re.fullmatch(re.escape(server.url) + r"[A-Za-z0-9_-]{22}", answer["Location"])
    assert server.offset(answer.path) == 0


@pytest.mark.rule("T55")
def test_the_same_creation_twice(server: Server) -> None:
    """Two creations are two uploads."""
    first, second = (server.new(10, {"Upload-Metadata": "a YQ=="}) for _ in range(2))
    assert first != second
    server.patch(first, 0, b"abc")
    assert server.offset(second) == 0


@pytest.mark.rule("T50")
def test_a_creation_without_any_length_is_400(server: Server) -> None:
    """A client has to say either a length or that it is deferred."""
    answer = server.create()
    assert (answer.status, answer.code) == (400, "ERR_INVALID_UPLOAD_LENGTH")
    assert "Location" not in answer


@pytest.mark.rule("T50")
def test_a_creation_with_both_lengths_is_400(server: Server) -> None:
    """A client has to decide."""
    answer = server.create(10, {"Upload-Defer-Length": "1"})
    assert (answer.status, answer.code) == (400, "ERR_AMBIGUOUS_UPLOAD_LENGTH")


@pytest.mark.rule("T51", "T35", "T15")
@pytest.mark.parametrize("body", [None, b""])
def test_an_empty_file(server: Server, body: bytes | None) -> None:
    """A length of 0 is complete at once, and no PATCH has to follow."""
    path = server.new(0, body=body)
    answer = server.head(path)
    assert answer["Upload-Offset"] == answer["Upload-Length"] == "0"
    download = server.get(path)
    assert (download.status, download.body) == (200, b"")
    assert server.patch(path, 0, b"").status == 204


@pytest.mark.rule("T54")
def test_location_names_the_host_of_the_request(server: Server) -> None:
    """Without a public URL the client's own Host field says where the server is."""
    answer = server.create(1, {"Host": "uploads.example.org:8080"})
    assert answer["Location"].startswith(f"http://uploads.example.org:8080{server.files}")


@pytest.mark.rule("T54")
@pytest.mark.parametrize("host", ['a"b', "a b", "<script>", "evil.example/path", "user@evil.example"])
def test_a_host_that_is_none_gets_no_further(server: Server, host: str) -> None:
    """What is no host name never becomes part of a Location."""
    answer = server.create(1, {"Host": host})
    assert answer.status in (201, 400)
    assert host not in (answer.get("Location") or "")


@pytest.mark.rule("T56", "T57", "T58")
@pytest.mark.parametrize(
    "metadata",
    [
        "a YQ==",
        "a",
        "a ",
        "a,b",
        "a YQ==,b",
        "a,b YQ==",
        "a-b_c.d YQ==",
        "a /+8=",
        "a YQ==,b YWE=,c YWFh",
        "x " + "QUFB" * 3000,
    ],
)
def test_metadata_that_keeps_the_grammar(server: Server, metadata: str) -> None:
    """Keys with and without values are accepted; clients send up to 14 KB of them."""
    path = server.new(1, {"Upload-Metadata": metadata})
    assert server.head(path)["Upload-Metadata"] == metadata.strip()


@pytest.mark.rule("T56", "T57", "T59")
@pytest.mark.parametrize(
    "metadata",
    [
        "a YQ==,a Yg==",
        "a,a",
        " YQ==,",
        ", YQ==",
        "a YQ==,",
        ",a YQ==",
        "a,,b",
        "ä YQ==",
        "a  YQ==",
        "a YQ== Yg==",
        "a\tYQ==",
        "a ZW1vamk",
        "a not_valid_base64!!!",
        "a Y-_=",
        "a YQ",
        "a Y=Q=",
        "a YQ===",
        "a YQ==\u00a0",
    ],
)
def test_metadata_that_breaks_the_grammar_is_400(server: Server, metadata: str) -> None:
    """Empty, doubled or non-ASCII keys, stray spaces and what is not Base64 are refused, and nothing is created."""
    answer = server.create(1, {"Upload-Metadata": metadata})
    assert (answer.status, answer.code) == (400, "ERR_INVALID_METADATA")
    assert "Location" not in answer


@pytest.mark.rule("T57")
def test_an_empty_metadata_field_is_none(server: Server) -> None:
    """tuspy sends an empty Upload-Metadata when it has nothing to say."""
    answer = server.create(1, {"Upload-Metadata": ""})
    assert answer.status == 201
    assert not server.head(answer.path).get("Upload-Metadata")


@pytest.mark.rule("T60")
def test_metadata_that_is_too_large_is_refused(server: Server) -> None:
    """Metadata beyond the limit is an answer in tus, not a broken connection."""
    answer = server.create(1, {"Upload-Metadata": "a " + "QUFB" * 6000})
    assert answer.status in (400, 413, 431)
    assert answer["Tus-Resumable"] == "1.0.0"


@pytest.mark.rule("T59", "T61")
@pytest.mark.parametrize(
    "name", ["evil\r\nSet-Cookie: a=b", 'quote"quote', "../../etc/passwd", "żółw.txt", "a;b=c\x00d"]
)
@pytest.mark.parametrize("key", ["filename", "name"])
def test_a_file_name_cannot_smuggle_a_field(server: Server, key: str, name: str) -> None:
    """A download names the file, under either key, in one field that cannot be broken out of."""
    value = base64.b64encode(name.encode()).decode()
    path = server.new(3, {"Upload-Metadata": f"{key} {value}"}, b"abc")
    answer = server.get(path)
    assert (answer.status, answer.body) == (200, b"abc")
    assert "Set-Cookie" not in answer
    assert "/etc/" not in (answer.get("Content-Disposition") or "")


@pytest.mark.rule("T61", "T59")
@pytest.mark.parametrize("key", ["filetype", "type"])
def test_a_page_is_never_shown_as_one(server: Server, key: str) -> None:
    """A download of HTML is an attachment, whatever the client called its type, so that no script runs in our name."""
    value = base64.b64encode(b"text/html").decode()
    answer = server.get(server.new(3, {"Upload-Metadata": f"{key} {value}"}, b"abc"))
    assert answer.status == 200
    assert answer.get("X-Content-Type-Options") == "nosniff"
    assert (
        answer["Content-Disposition"].startswith("attachment") or answer["Content-Type"] == "application/octet-stream"
    )


@pytest.mark.rule("T72")
@pytest.mark.parametrize(
    "media_type", ["application/x-www-form-urlencoded", "application/octet-stream", "text/plain", "junk"]
)
@pytest.mark.parametrize("body", [None, b""])
def test_a_media_type_without_a_body_does_not_matter(server: Server, media_type: str, body: bytes | None) -> None:
    """Many clients label even an empty POST."""
    assert server.create(3, {"Content-Type": media_type}, body).status == 201


@pytest.mark.rule("T72", "T71")
def test_an_empty_chunked_body_is_none(server: Server) -> None:
    """A chunked creation without a byte is a creation without a body."""
    answer = server.create(3, {"Transfer-Encoding": "chunked"}, chunked())
    assert (answer.status, answer["Upload-Offset"]) == (201, "0")


def test_unknown_fields_are_ignored(server: Server) -> None:
    """Fields of other versions and drafts, and of nobody, change nothing."""
    fields = {"Upload-Tag": "x", "Upload-Secret": "x", "Repr-Digest": "sha-256=:x:", "X-Whatever": "y"}
    assert server.create(3, fields).status == 201


@pytest.mark.rule("T53", "T2")
def test_a_length_for_which_there_is_no_room(server_with: StartServer) -> None:
    """A server with a limit refuses a larger upload up front and takes one of exactly that size."""
    server = server_with("--max-size", "1000")
    assert server.create(1000).status == 201
    assert server.ask("POST", server.files, {**TUS, "Upload-Length": "1001"}).status == 413
