"""Uploads made of partial uploads."""

from __future__ import annotations

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import MIB, TUS, Answer, Fields
from tests.conftest import StartServer

PARTIAL: Fields = {"Upload-Concat": "partial"}


def partial(server: Server, data: bytes, length: int | None = None) -> str:
    """A partial upload that holds `data`, and is finished unless it is longer."""
    return server.new(len(data) if length is None else length, PARTIAL, data)


def final(server: Server, *urls: str, fields: Fields | None = None, body: bytes | None = None) -> Answer:
    """The request that makes one upload of several."""
    listed = "final;" + " ".join(urls)
    return server.ask("POST", server.files, {**TUS, "Upload-Concat": listed, **(fields or {})}, body)


@pytest.mark.rule("T101", "T109", "T112", "T115")
def test_a_partial_upload(server: Server) -> None:
    """It is written like any other, says what it is, and minds no client that repeats this."""
    path = server.new(6, PARTIAL)
    assert server.head(path)["Upload-Concat"] == "partial"
    assert server.patch(path, 0, b"abc", PARTIAL).offset == 3
    head = server.head(path, PARTIAL)
    assert (head["Upload-Offset"], head["Upload-Length"], head["Upload-Concat"]) == ("3", "6", "partial")


@pytest.mark.rule("T101", "T64")
def test_a_partial_upload_of_deferred_length(server: Server) -> None:
    """Partial uploads may learn their length later."""
    path = server.new(None, {**PARTIAL})
    assert server.head(path)["Upload-Defer-Length"] == "1"
    assert server.patch(path, 0, b"abc", {**PARTIAL, "Upload-Length": "3"}).offset == 3
    answer = final(server, path)
    assert server.get(answer.path).body == b"abc"


@pytest.mark.rule("T101", "T50")
def test_a_partial_upload_needs_a_length(server: Server) -> None:
    """Its creation says exactly one of the two, like any other."""
    assert server.create(None, PARTIAL).status == 400
    assert server.create(3, {**PARTIAL, "Upload-Defer-Length": "1"}).status == 400


@pytest.mark.rule("T102", "T103", "T110", "T111", "T52")
@pytest.mark.parametrize("sizes", [(3, 4), (0, 3), (4096, 1, 100_000), (MIB, 3 * MIB + 1)])
def test_a_final_upload(server: Server, sizes: tuple[int, ...]) -> None:
    """It holds its partials' bytes in the order of the list and is complete at once."""
    pieces = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    paths = [partial(server, piece) for piece in pieces]
    answer = final(server, *paths)
    assert answer.status == 201
    head = server.head(answer.path)
    assert head["Upload-Offset"] == head["Upload-Length"] == str(sum(sizes))
    assert "Upload-Defer-Length" not in head
    assert server.get(answer.path).body == b"".join(pieces)


@pytest.mark.rule("T103", "T106")
def test_the_order_is_the_lists(server: Server) -> None:
    """Partials may be used in another order and several times, in one list or in many."""
    a, b = partial(server, b"aa"), partial(server, b"bbb")
    assert server.get(final(server, b, a).path).body == b"bbbaa"
    assert server.get(final(server, a, b, a).path).body == b"aabbbaa"
    assert server.get(final(server, a, a).path).body == b"aaaa"
    assert server.offset(a) == 2


@pytest.mark.rule("T102", "T114")
@pytest.mark.parametrize(
    "form",
    ["{path}", "http://127.0.0.1{path}", "https://elsewhere.example:8443{path}", "https://cdn.example/prefix{path}"],
)
def test_urls_may_be_absolute_or_relative(server: Server, form: str) -> None:
    """Only the path counts, since a proxy may have shown the client another host."""
    path = partial(server, b"abc")
    answer = final(server, form.format(path=path), path)
    assert answer.status == 201
    assert server.get(answer.path).body == b"abcabc"


@pytest.mark.rule("T102", "T112")
def test_a_space_after_the_semicolon(server: Server) -> None:
    """One space is tolerated, and HEAD gives it back."""
    path = partial(server, b"abc")
    listed = f"final; {path} {path}"
    answer = server.ask("POST", server.files, {**TUS, "Upload-Concat": listed})
    assert answer.status == 201
    assert server.head(answer.path)["Upload-Concat"] == listed


@pytest.mark.rule("T112")
def test_the_list_comes_back_as_it_was_sent(server: Server) -> None:
    """HEAD tells Upload-Concat letter for letter, hosts included."""
    path = partial(server, b"abc")
    listed = f"final;https://elsewhere.example{path} {path}"
    answer = server.ask("POST", server.files, {**TUS, "Upload-Concat": listed})
    assert server.head(answer.path)["Upload-Concat"] == listed


@pytest.mark.rule("T104", "T50")
@pytest.mark.parametrize("length", ["6", "7", "0"])
def test_a_final_upload_takes_no_length(server: Server, length: str) -> None:
    """Its length is its partials' sum, so a client that says one is refused."""
    path = partial(server, b"abc")
    answer = final(server, path, path, fields={"Upload-Length": length})
    assert answer.status == 400
    assert "Location" not in answer


@pytest.mark.rule("T104", "T108")
def test_a_final_upload_takes_no_bytes(server: Server) -> None:
    """A body on the request that makes it is refused."""
    path = partial(server, b"abc")
    body: Fields = {"Content-Type": "application/offset+octet-stream"}
    answer = final(server, path, fields=body, body=b"x")
    assert (answer.status, answer.code) == (403, "ERR_MODIFY_FINAL")
    assert final(server, path, fields=body, body=b"").status == 201


@pytest.mark.rule("T105", "T58")
def test_metadata_is_the_finals_own(server: Server) -> None:
    """What was said about a partial does not pass on."""
    path = server.new(3, {**PARTIAL, "Upload-Metadata": "a YQ=="}, b"abc")
    assert "Upload-Metadata" not in server.head(final(server, path).path)
    answer = final(server, path, path, fields={"Upload-Metadata": "b Yg=="})
    assert server.head(answer.path)["Upload-Metadata"] == "b Yg=="


@pytest.mark.rule("T107")
def test_the_same_list_again_gives_the_same_upload(server: Server) -> None:
    """A client that lost the answer to its final request asks again and gets the upload that there is."""
    a, b = partial(server, b"a"), partial(server, b"b")
    first = final(server, a, b)
    again = final(server, a, b)
    assert (again.status, again["Location"]) == (201, first["Location"])
    assert final(server, b, a)["Location"] != first["Location"]


@pytest.mark.rule("T108", "T44", "T120")
@pytest.mark.parametrize(
    "fields",
    [{}, {"Upload-Offset": "0"}, {"Upload-Offset": "x"}, {"Upload-Offset": None}, {"Content-Type": "text/plain"}],
)
def test_nobody_writes_to_a_final_upload(server: Server, fields: Fields) -> None:
    """PATCH is 403, whatever else is wrong with it, and changes neither the upload nor its partials."""
    path = partial(server, b"abc")
    joined = final(server, path).path
    answer = server.patch(joined, 3, b"d", fields)
    assert (answer.status, answer.code) == (403, "ERR_MODIFY_FINAL")
    assert server.get(joined).body == b"abc"
    assert server.offset(path) == 3


@pytest.mark.rule("T113")
def test_an_unknown_partial(server: Server) -> None:
    """A list that names what is not there makes nothing."""
    path = partial(server, b"abc")
    answer = final(server, path, server.files + "A" * 22)
    assert answer.status in (400, 404)
    assert "Location" not in answer


@pytest.mark.rule("T113")
def test_only_partial_uploads_are_joined(server: Server) -> None:
    """A regular upload and a final one are no partials."""
    path = partial(server, b"abc")
    regular = server.new(3, body=b"abc")
    assert final(server, path, regular).status == 400
    assert final(server, final(server, path).path).status == 400


@pytest.mark.rule("T113")
@pytest.mark.parametrize(
    "listed",
    [
        "final;",
        "final; ",
        "final",
        "Final;{path}",
        "partial;{path}",
        "final,{path}",
        "final;{path}  {path}",
        "both",
        "",
    ],
)
def test_a_list_that_is_none(server: Server, listed: str) -> None:
    """Upload-Concat is `partial` or `final;` and URLs."""
    fields: Fields = {**TUS, "Upload-Concat": listed.format(path=partial(server, b"abc"))}
    answer = server.ask("POST", server.files, fields)
    assert answer.status == 400
    assert "Location" not in answer


@pytest.mark.rule("T113", "T122")
def test_an_unfinished_partial_is_400(server: Server) -> None:
    """Without concatenation-unfinished every partial has to be finished, and may be tried again once it is."""
    a, b = partial(server, b"abc"), partial(server, b"d", 3)
    answer = final(server, a, b)
    assert (answer.status, answer.code) == (400, "ERR_UPLOAD_NOT_FINISHED")
    server.patch(b, 1, b"ef")
    assert server.get(final(server, a, b).path).body == b"abcdef"


@pytest.mark.rule("T113", "T53", "T32")
def test_a_sum_above_the_limit_is_413(server_with: StartServer) -> None:
    """The size limit holds for what is joined."""
    server = server_with("--max-size", "1000")
    path = partial(server, b"x" * 501)
    answer = final(server, path, path)
    assert (answer.status, answer.code) == (413, "ERR_MAX_SIZE_EXCEEDED")
    assert final(server, path).status == 201


@pytest.mark.rule("T114")
@pytest.mark.parametrize(
    "url",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "{files}../../../etc/passwd",
        "{files}%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "http://127.0.0.1:1/secret",
        "{path}/../../other",
        "{path}.floor",
        "{path}%00",
        "/elsewhere/{id}",
        "{id}",
    ],
)
def test_a_list_opens_no_door(server: Server, url: str) -> None:
    """What is not the path of an upload of ours is refused, and neither opened nor fetched."""
    path = partial(server, b"abc")
    answer = final(server, url.format(files=server.files, path=path, id=path.rsplit("/", 1)[1]))
    assert answer.status in (400, 404)
    assert "Location" not in answer


@pytest.mark.rule("T106", "T96")
def test_a_final_upload_outlives_its_partials(server: Server) -> None:
    """Its bytes are its own once it is made."""
    path = partial(server, b"abc")
    joined = final(server, path).path
    assert server.delete(path).status == 204
    assert server.get(joined).body == b"abc"
    assert server.delete(joined).status == 204
    assert server.head(joined).status == 404


@pytest.mark.rule("T102")
def test_a_long_list(server: Server) -> None:
    """A list of a few hundred URLs is still one field."""
    path = partial(server, b"ab")
    answer = final(server, *[f"https://uploads.example.org{path}"] * 400)
    assert answer.status == 201
    assert server.get(answer.path).body == b"ab" * 400


@pytest.mark.slow
@pytest.mark.rule("T103", "T20")
def test_a_final_upload_survives_kill_9(start_server: StartServer) -> None:
    """What was answered with 201 is whole after a crash."""
    server = start_server()
    a, b = partial(server, b"a" * MIB), partial(server, b"b" * MIB)
    joined = final(server, a, b).path
    server.restart()
    assert server.get(joined).body == b"a" * MIB + b"b" * MIB
