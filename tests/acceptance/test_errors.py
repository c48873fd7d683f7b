"""Errors: their order, their form, and that they reach the client."""

from __future__ import annotations

import pytest

from tests.acceptance.server import Server
from tests.acceptance.test_concatenation import final, partial
from tests.acceptance.wire import MIB, TUS, Fields, chunked, eventually, patch_fields
from tests.conftest import StartServer

UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"
EVERYTHING_WRONG: Fields = {"Upload-Offset": "x", "Content-Type": "text/plain", "Upload-Checksum": "md6 AAAA"}
WAIT: Fields = {"Expect": "100-continue"}


@pytest.mark.rule("T44", "T8", "T9")
def test_the_first_fault_answers(server: Server) -> None:
    """Mending one fault after the other shows them in the order of the rule."""
    path = server.new(10, body=b"abc")
    fields: dict[str, str | list[str] | None] = {
        **EVERYTHING_WRONG,
        "Tus-Resumable": "0.1",
        "X-HTTP-Method-Override": "FOO",
    }
    target = server.files + UNKNOWN
    seen = [server.ask("PATCH", target, fields, b"x" * 20).status]
    fields["X-HTTP-Method-Override"] = None
    seen.append(server.ask("PATCH", target, fields, b"x" * 20).status)
    fields["Tus-Resumable"] = None
    seen.append(server.ask("PATCH", target, fields, b"x" * 20).status)
    for mended in (
        {},
        {"Tus-Resumable": "1.0.0"},
        {"Content-Type": "application/offset+octet-stream"},
        {"Upload-Offset": "4"},
        {"Upload-Checksum": None},
        {"Upload-Offset": "3"},
    ):
        fields |= mended
        seen.append(server.ask("PATCH", path, fields, b"x" * 20).status)
    seen.append(server.ask("PATCH", path, fields, b"x" * 7).status)
    assert seen == [405, 412, 404, 412, 415, 400, 400, 409, 413, 204]


@pytest.mark.rule("T44", "T108")
def test_a_final_upload_is_told_before_the_rest(server: Server) -> None:
    """PATCH on a final upload is 403 before its media type, syntax or offset matter, but after the version."""
    path = final(server, partial(server, b"abc")).path
    assert server.patch(path, 0, b"x", EVERYTHING_WRONG).status == 403
    assert server.patch(path, 0, b"x", {"Tus-Resumable": None}).status == 412


@pytest.mark.rule("T45", "T44")
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Upload-Offset": "9"}, 409),
        ({"Upload-Offset": "x"}, 400),
        ({"Content-Type": "a/b"}, 415),
        ({"Tus-Resumable": None}, 412),
        ({"Upload-Checksum": "md6 AAAA"}, 400),
        ({"Content-Length": "11"}, 413),
    ],
)
def test_a_fault_is_told_before_100_continue(server: Server, fields: Fields, status: int) -> None:
    """A client that asks first does not send a body that is refused anyway."""
    path = server.new(10)
    wire = server.connect()
    wire.begin("PATCH", path, {**patch_fields(0), "Content-Length": "10", **WAIT, **fields})
    answer = wire.answer()
    assert (answer.status, answer.interim) == (status, ())


@pytest.mark.rule("T45", "T27")
def test_an_unknown_upload_is_told_before_100_continue(server: Server) -> None:
    """The same holds for a URL that is none."""
    wire = server.connect()
    wire.begin("PATCH", server.files + UNKNOWN, {**patch_fields(0), "Content-Length": "10", **WAIT})
    answer = wire.answer()
    assert (answer.status, answer.interim) == (404, ())


@pytest.mark.rule("T45", "T77")
@pytest.mark.parametrize("size", [10, MIB])
@pytest.mark.parametrize("expect", ["100-continue", "100-Continue"])
def test_100_continue_and_then_the_body(server: Server, size: int, expect: str) -> None:
    """A client that asks first and is right gets its 100 once, sends, and the connection goes on."""
    path = server.new(2 * size)
    wire = server.connect()
    for at in (0, size):
        wire.begin("PATCH", path, {**patch_fields(at), "Content-Length": str(size), "Expect": expect})
        assert wire.interim() == 100
        wire.send(b"x" * size)
        answer = wire.answer()
        assert (answer.status, answer.offset, answer.interim) == (204, at + size, ())


@pytest.mark.rule("T45", "T30")
def test_100_continue_and_then_chunks(server: Server) -> None:
    """Some clients ask first and then send without Content-Length."""
    path = server.new(10)
    wire = server.connect()
    wire.begin("PATCH", path, {**patch_fields(0), "Transfer-Encoding": "chunked", **WAIT})
    assert wire.interim() == 100
    wire.send(chunked(b"0123456789"))
    assert wire.answer().offset == 10


@pytest.mark.rule("T45")
def test_who_does_not_ask_gets_no_100(server: Server) -> None:
    """No interim response is sent to a client that did not ask for one, or that sends no body."""
    path = server.new(10)
    assert server.patch(path, 0, b"abc").interim == ()
    assert server.head(path, WAIT).status == 200


@pytest.mark.rule("T41", "T45")
def test_100_continue_beside_a_stalled_writer(server: Server) -> None:
    """A newcomer that asks first takes over before it sends."""
    path = server.new(10)
    old = server.connect()
    old.begin_patch(path, 0, 10, b"abc")
    server.until_offset(path, 3)
    new = server.connect()
    new.begin("PATCH", path, {**patch_fields(3), "Content-Length": "7", **WAIT})
    assert new.interim() == 100
    assert old.answer().status == 423
    new.send(b"defghij")
    assert new.answer().offset == 10


@pytest.mark.rule("T46", "T31")
@pytest.mark.parametrize("size", [100_000, 4 * MIB])
@pytest.mark.parametrize(("offset", "status"), [(7, 409), (0, 413)])
def test_a_client_that_sends_on_still_reads_its_answer(server: Server, size: int, offset: int, status: int) -> None:
    """The answer comes early; a client that looks only after its last byte finds it all the same."""
    path = server.new(10)
    wire = server.connect()
    wire.begin_patch(path, offset, size)
    wire.send_regardless(b"x" * size)
    assert wire.answer().status == status
    assert server.offset(path) == 0


@pytest.mark.rule("T46", "T31")
def test_a_chunked_client_that_sends_on_still_reads_its_answer(server: Server) -> None:
    """The same holds where the excess shows only on the way."""
    path = server.new(1000)
    wire = server.connect()
    wire.begin("PATCH", path, {**patch_fields(0), "Transfer-Encoding": "chunked"})
    for _ in range(40):
        wire.send_regardless(chunked(b"x" * 100_000, end=b""))
    assert wire.answer().status == 413
    assert server.offset(path) <= 1000


@pytest.mark.rule("T46")
@pytest.mark.parametrize("size", [10, 1000, 300_000])
def test_an_unread_body_is_not_taken_for_a_request(server: Server, size: int) -> None:
    """After an early error either the rest is skipped or the connection closes: no byte of a body is ever a request."""
    path, other = server.new(5, body=b"abc"), server.new(5)
    smuggled = f"DELETE {other} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n".encode()
    with server.connect() as wire:
        wire.begin_patch(path, 0, size, (smuggled * (size // len(smuggled) + 1))[:size])
        assert wire.answer().status == 409
    assert server.head(other).status == 200


@pytest.mark.rule("T5", "T47")
@pytest.mark.parametrize(
    "accept", ["application/problem+json", "application/json", "application/json, text/plain;q=0.5"]
)
def test_problem_details(server: Server, accept: str) -> None:
    """A client that prefers JSON gets the same error as problem details."""
    path = server.new(3)
    answer = server.patch(path, 1, b"a", {"Accept": accept})
    assert answer["Content-Type"].split(";")[0] == "application/problem+json"
    assert (answer.json["status"], answer.json["code"]) == (409, "ERR_MISMATCHED_OFFSET")
    assert answer.json["title"]
    assert answer.json["detail"]
    assert answer["Upload-Offset"] == "0"


@pytest.mark.rule("T5")
@pytest.mark.parametrize(
    "accept",
    [None, "*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "text/plain, application/json;q=0.1", "junk;;", ""],
)
def test_text_for_everybody_else(server: Server, accept: str | None) -> None:
    """Without a preference for JSON an error is a line of text."""
    answer = server.patch(server.new(3), 1, b"a", {"Accept": accept})
    assert answer["Content-Type"].startswith("text/plain")
    assert answer.code == "ERR_MISMATCHED_OFFSET"


@pytest.mark.rule("T5")
def test_the_framework_s_own_errors_have_the_same_form(server: Server) -> None:
    """A path that nobody serves and a method that nobody knows are no strangers."""
    for answer in (server.get("/nothing"), server.ask("PUT", server.new(3), TUS)):
        assert answer.code in ("ERR_NOT_FOUND", "ERR_METHOD_NOT_ALLOWED")
        assert answer["Cache-Control"] == "no-store"
    problem = server.get("/nothing", {"Accept": "application/json"})
    assert problem.json["status"] == 404


@pytest.mark.rule("T16", "T19")
def test_errors_of_head_have_no_body(server: Server) -> None:
    """Not even for a client that asks for JSON."""
    wire = server.connect()
    assert wire.head(server.files + UNKNOWN, {"Accept": "application/json"}).status == 404
    assert wire.is_silent(0.05)


def test_request_ids_come_back(server: Server) -> None:
    """X-Request-ID goes into the log and back to the client, on successes and on errors."""
    path = server.new(3)
    for answer in (
        server.head(path, {"X-Request-ID": "req-1234.abc"}),
        server.patch(path, 1, b"a", {"X-Request-ID": "req-1234.abc"}),
        server.get("/nothing", {"X-Request-ID": "req-1234.abc"}),
    ):
        assert answer["X-Request-ID"] == "req-1234.abc"
    eventually(lambda: "req-1234.abc" in server.log, "the log names the request")


@pytest.mark.parametrize("id", ["a b", "x" * 500, "ä", "<script>", "a,b;c=d"])
def test_odd_request_ids_do_no_harm(server: Server, id: str) -> None:
    """What is no identifier neither breaks a request nor spoils the log."""
    answer = server.head(server.new(3), {"X-Request-ID": id})
    assert answer.status == 200
    assert "x" * 500 not in server.log


def test_health(server: Server) -> None:
    """A load balancer may ask on the upload port whether the server lives."""
    assert server.get("/healthz").status == 200


@pytest.mark.rule("T46")
def test_a_storage_without_room_is_507(start_server: StartServer) -> None:
    """A creation that cannot fit on the disk beside the reserve is refused up front."""
    server = start_server("--free-space-reserve", "100TiB")
    answer = server.create(10)
    assert (answer.status, answer.code) == (507, "ERR_STORAGE_FULL")
    assert answer["Tus-Resumable"] == "1.0.0"
