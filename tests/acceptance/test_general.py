"""What holds for every request: numbers, versions, the method override."""

from __future__ import annotations

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import BYTES, TUS, Fields, patch_fields
from tests.conftest import StartServer

NOT_A_NUMBER = [
    "hello",
    "0100",
    "00",
    "1.3",
    "-0",
    "+0",
    "-1",
    "NaN",
    "+Infinity",
    "5_0",
    "0x1",
    "1e1",
    "٣",
    "1 1",
    "1,1",
    "",
]
UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"


@pytest.mark.rule("T2", "T50")
@pytest.mark.parametrize("length", NOT_A_NUMBER)
def test_a_length_that_is_no_plain_number_is_400(server: Server, length: str) -> None:
    """Upload-Length of a creation takes ASCII digits without sign, leading zero or anything else."""
    answer = server.ask("POST", server.files, {**TUS, "Upload-Length": length})
    assert (answer.status, answer.code) == (400, "ERR_INVALID_UPLOAD_LENGTH")
    assert "Location" not in answer


@pytest.mark.rule("T2", "T23")
@pytest.mark.parametrize("offset", NOT_A_NUMBER)
def test_an_offset_that_is_no_plain_number_is_400(server: Server, offset: str) -> None:
    """Upload-Offset of a PATCH takes ASCII digits without sign, leading zero or anything else."""
    path = server.new(3)
    answer = server.patch(path, offset, b"abc")
    assert (answer.status, answer.code) == (400, "ERR_INVALID_OFFSET")
    assert server.offset(path) == 0


@pytest.mark.rule("T3")
@pytest.mark.parametrize("length", [1 << 50, (1 << 53) + 1, (1 << 63) - 1])
def test_long_numbers_are_no_syntax_errors(server: Server, length: int) -> None:
    """A length of 16 or 19 digits creates an upload or is too large, but is never malformed."""
    assert server.create(length).status in (201, 413)


@pytest.mark.rule("T3")
def test_a_number_beyond_every_file_is_too_large(server: Server) -> None:
    """A length that no disk can hold is a matter of size, even with hundreds of digits."""
    assert server.ask("POST", server.files, {**TUS, "Upload-Length": "9" * 400}).status == 413


@pytest.mark.rule("T4")
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Upload-Offset", ["0", "0"]),
        ("Upload-Offset", ["0", "3"]),
        ("Tus-Resumable", ["1.0.0", "0.2.2"]),
        ("Upload-Length", ["3", "3"]),
        ("Upload-Checksum", ["sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0="]),
    ],
)
def test_a_field_that_occurs_twice_is_refused(server: Server, name: str, values: list[str]) -> None:
    """No field of the protocol may occur twice in a PATCH, even with equal values."""
    path = server.new(3)
    answer = server.patch(path, 0, b"abc", {name: values})
    assert answer.status in ((400, 412) if name == "Tus-Resumable" else (400,))
    assert server.offset(path) == 0


@pytest.mark.rule("T4", "T50")
@pytest.mark.parametrize("name", ["Upload-Length", "Upload-Metadata", "Upload-Concat"])
def test_a_creation_field_that_occurs_twice_is_refused(server: Server, name: str) -> None:
    """No field of the protocol may occur twice in a creation."""
    value = {"Upload-Length": "3", "Upload-Metadata": "a YQ==", "Upload-Concat": "partial"}[name]
    answer = server.create(3, {name: [value, value]})
    assert (answer.status, answer.code) == (400, "ERR_DUPLICATE_HEADER")


@pytest.mark.rule("T8", "T7", "T6")
@pytest.mark.parametrize("version", ["0.2.2", "1.0", "1.0.1", "2.0.0", "1.0.0, 2.0.0", "", "junk"])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE", "GET"])
def test_an_unsupported_version_is_412_and_does_nothing(server: Server, method: str, version: str) -> None:
    """Whatever asks for another version of the protocol is told ours, and nothing happens."""
    path = server.new(3)
    target = server.files if method == "POST" else path
    fields: Fields = {**patch_fields(0), "Upload-Length": "3", "Tus-Resumable": version}
    answer = server.ask(method, target, fields, b"abc" if method in ("POST", "PATCH") else None)
    assert answer.status == 412
    assert answer["Tus-Version"] == answer["Tus-Resumable"] == "1.0.0"
    assert "Location" not in answer
    assert server.offset(path) == 0


@pytest.mark.rule("T9", "T98")
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
def test_a_missing_version_is_412(server: Server, method: str) -> None:
    """A request that does not say Tus-Resumable is not carried out."""
    path = server.new(3)
    target = server.files if method == "POST" else path
    fields: Fields = {"Upload-Offset": "0", "Upload-Length": "3", "Content-Type": BYTES}
    answer = server.ask(method, target, fields, b"abc" if method in ("POST", "PATCH") else None)
    assert answer.status == 412
    assert answer["Tus-Version"] == "1.0.0"
    assert server.offset(path) == 0


@pytest.mark.rule("T9", "T38")
def test_get_and_options_need_no_version(server: Server) -> None:
    """A browser may download and preflight without knowing tus."""
    path = server.new(3, body=b"abc")
    assert server.get(path).body == b"abc"
    assert server.options(path).status == 200


@pytest.mark.rule("T6")
@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("OPTIONS", "{files}", {}, 200),
        ("POST", "{files}", {**TUS, "Upload-Length": "1"}, 201),
        ("POST", "{files}", {**TUS}, 400),
        ("POST", "{files}", {}, 412),
        ("PATCH", "{files}", {**TUS}, 405),
        ("POST", "{upload}", {**TUS}, 405),
        ("PUT", "{upload}", {**TUS}, 405),
        ("HEAD", "{files}" + UNKNOWN, {**TUS}, 404),
        ("PATCH", "{files}" + UNKNOWN, patch_fields(0), 404),
        ("DELETE", "{files}" + UNKNOWN, {**TUS}, 404),
        ("GET", "{files}" + UNKNOWN, {}, 404),
        ("GET", "/", {}, 404),
        ("GET", "/nothing/here", {}, 404),
        ("POST", "/nothing/here", {**TUS, "Upload-Length": "1"}, 404),
        ("HEAD", "{upload}", {**TUS}, 200),
        ("GET", "{upload}", {}, 404),
        ("PATCH", "{upload}", {**TUS, "Upload-Offset": "0"}, 415),
        ("PATCH", "{upload}", patch_fields("x"), 400),
        ("PATCH", "{upload}", patch_fields(7), 409),
        ("PATCH", "{upload}", patch_fields(0), 204),
        ("DELETE", "{upload}", {**TUS}, 204),
    ],
)
def test_every_response_names_the_version(
    server: Server, method: str, path: str, fields: dict[str, str], status: int
) -> None:
    """Tus-Resumable: 1.0.0 is on successes and on every error, and errors are never stored by a cache."""
    target = path.format(files=server.files, upload=server.new(3))
    answer = server.ask(method, target, fields)
    assert answer.status == status
    assert answer["Tus-Resumable"] == "1.0.0"
    assert status < 400 or answer["Cache-Control"] == "no-store"


@pytest.mark.rule("T1")
def test_an_upload_answers_head_patch_and_options(server: Server) -> None:
    """The URL that a creation gives is one that can be asked, written to and described."""
    path = server.new(3)
    assert server.options(path).status == 200
    assert server.head(path).status == 200
    assert server.patch(path, 0, b"abc").status == 204


@pytest.mark.rule("T5")
def test_an_error_names_its_code_and_says_a_sentence(server: Server) -> None:
    """The body of an error is one line of text: a stable code and what to do."""
    answer = server.patch(server.new(3), 1, b"abc")
    assert answer["Content-Type"].startswith("text/plain")
    assert answer.code == "ERR_MISMATCHED_OFFSET"
    assert answer.body.count(b"\n") == 1
    assert answer.body.endswith(b"\n")


OVERRIDES = [
    ("POST", "HEAD", 200),
    ("GET", "HEAD", 200),
    ("PUT", "HEAD", 200),
    ("POST", "OPTIONS", 200),
    ("GET", "OPTIONS", 200),
    ("DELETE", "OPTIONS", 200),
    ("POST", "PATCH", 204),
    ("PUT", "PATCH", 204),
    ("DELETE", "PATCH", 204),
    ("POST", "patch", 204),
    ("POST", "Patch", 204),
    ("POST", "DELETE", 204),
    ("GET", "DELETE", 204),
    ("POST", "GET", 404),
    ("PATCH", "POST", 405),
]


@pytest.mark.rule("T12", "T13")
@pytest.mark.parametrize(("method", "override", "status"), OVERRIDES)
def test_the_override_is_the_method(server: Server, method: str, override: str, status: int) -> None:
    """On an upload URL the overriding method alone decides what happens, whatever the real one is."""
    path = server.new(6)
    fields = {**patch_fields(0), "X-HTTP-Method-Override": override}
    with server.connect() as wire:
        answer = wire.ask(method, path, fields, b"abc" if override.upper() == "PATCH" else None)
    assert answer.status == status
    assert answer["Tus-Resumable"] == "1.0.0"
    kept = {"PATCH": 3, "DELETE": None}.get(override.upper(), 0)
    assert server.head(path).get("Upload-Offset") == (None if kept is None else str(kept))


@pytest.mark.rule("T12")
def test_a_get_can_be_made_a_creation(server: Server) -> None:
    """The rule knows no exceptions: GET on the creation URL with an override to POST creates."""
    answer = server.ask("GET", server.files, {**TUS, "Upload-Length": "3", "X-HTTP-Method-Override": "POST"})
    assert answer.status == 201
    assert server.offset(answer.path) == 0


@pytest.mark.rule("T12")
def test_a_real_delete_is_ignored_under_an_override(server: Server) -> None:
    """DELETE with an override to HEAD deletes nothing."""
    path = server.new(3)
    assert server.delete(path, {"X-HTTP-Method-Override": "HEAD"})["Upload-Offset"] == "0"
    assert server.head(path).status == 200


@pytest.mark.rule("T12")
@pytest.mark.parametrize("override", ["OPTIONS", "PATCH", "GET"])
def test_a_real_head_never_gets_a_body(server: Server, override: str) -> None:
    """Whatever a HEAD is overridden to, its response ends with the head, and the connection goes on."""
    path = server.new(3, body=b"abc")
    with server.connect() as wire:
        wire.ask("HEAD", path, {**patch_fields(3), "X-HTTP-Method-Override": override})
        assert wire.is_silent(0.05) or wire.is_closed()


@pytest.mark.rule("T13")
@pytest.mark.parametrize("override", ["FOO", "CONNECT", "PATCHY", "", "PATCH, HEAD"])
def test_an_unknown_override_is_refused(server: Server, override: str) -> None:
    """An overriding method that nobody knows is 405 or 501, and the real method is not carried out."""
    path = server.new(3)
    answer = server.delete(path, {"X-HTTP-Method-Override": override})
    assert answer.status in (400, 405, 501)
    assert answer["Tus-Resumable"] == "1.0.0"
    assert server.head(path).status == 200


@pytest.mark.rule("T11", "T53", "T37")
def test_the_size_limit_is_announced(server_with: StartServer) -> None:
    """A server with a limit says so in Tus-Max-Size and holds it."""
    server = server_with("--max-size", "1000")
    assert server.options()["Tus-Max-Size"] == "1000"
    assert server.create(1000).status == 201
    answer = server.create(1001)
    assert (answer.status, answer.code) == (413, "ERR_MAX_SIZE_EXCEEDED")
    assert "Location" not in answer


@pytest.mark.rule("T48")
@pytest.mark.parametrize("target", ["/files", "/files/"])
def test_the_slash_of_the_creation_url_is_optional(server: Server, target: str) -> None:
    """A creation works at both spellings, for tus clients follow no redirect from one to the other."""
    answer = server.ask("POST", target, {**TUS, "Upload-Length": "3"})
    assert answer.status == 201
    assert answer.path.startswith("/files/")
    assert server.offset(answer.path) == 0


@pytest.mark.rule("T48")
@pytest.mark.parametrize("target", ["/files//", "//files/", "/FILES/", "/files/../files/", "/"])
def test_nothing_is_redirected(server: Server, target: str) -> None:
    """A path that is not quite right is an error at once."""
    answer = server.ask("POST", target, {**TUS, "Upload-Length": "3"})
    assert answer.status in (400, 404, 405)
    assert answer["Tus-Resumable"] == "1.0.0"
