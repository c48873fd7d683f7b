"""Uploads whose length is told later."""

from __future__ import annotations

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import MIB, chunked
from tests.conftest import StartServer


@pytest.mark.rule("T50", "T62", "T64", "T74")
def test_a_deferred_creation(server: Server) -> None:
    """HEAD says that the length is deferred, and no length."""
    answer = server.create(None, {"Upload-Defer-Length": "1"})
    assert (answer.status, answer["Upload-Offset"]) == (201, "0")
    head = server.head(answer.path)
    assert (head["Upload-Defer-Length"], head["Upload-Offset"]) == ("1", "0")
    assert "Upload-Length" not in head


@pytest.mark.rule("T63", "T50")
@pytest.mark.parametrize("value", ["0", "+1", "1234", "hello", "", "01", "1.0", "true"])
def test_defer_length_is_1_or_wrong(server: Server, value: str) -> None:
    """No other value means anything."""
    answer = server.create(None, {"Upload-Defer-Length": value})
    assert answer.status == 400
    assert answer.code in ("ERR_INVALID_UPLOAD_LENGTH_DEFER", "ERR_INVALID_UPLOAD_LENGTH")


@pytest.mark.rule("T64", "T65")
def test_the_length_on_the_first_patch(server: Server) -> None:
    """Once declared the length takes the place of the deferral."""
    path = server.new()
    assert server.patch(path, 0, b"abc", {"Upload-Length": "6"}).offset == 3
    head = server.head(path)
    assert head["Upload-Length"] == "6"
    assert "Upload-Defer-Length" not in head
    assert server.patch(path, 3, b"def").status == 204
    assert server.get(path).body == b"abcdef"


@pytest.mark.rule("T65", "T69")
def test_the_length_on_the_last_patch(server: Server) -> None:
    """The length may come with the last bytes."""
    path = server.new()
    server.patch(path, 0, b"abc")
    assert server.head(path)["Upload-Defer-Length"] == "1"
    assert server.patch(path, 3, b"def", {"Upload-Length": "6"}).offset == 6
    assert server.get(path).body == b"abcdef"


@pytest.mark.rule("T65", "T69")
@pytest.mark.parametrize("body", [b"", None])
def test_the_length_on_an_empty_patch_at_the_end(server: Server, body: bytes | None) -> None:
    """A client that finds its end only after its last bytes declares the length with an empty PATCH."""
    path = server.new()
    server.patch(path, 0, b"abcdef")
    assert server.get(path).status == 404
    assert server.patch(path, 6, body, {"Upload-Length": "6"}).offset == 6
    assert server.get(path).body == b"abcdef"


@pytest.mark.rule("T65", "T69", "T51")
def test_an_empty_file_of_deferred_length(server: Server) -> None:
    """Nothing at all may turn out to be the whole file."""
    path = server.new()
    assert server.patch(path, 0, b"", {"Upload-Length": "0"}).offset == 0
    assert server.get(path).status == 200


@pytest.mark.rule("T66")
def test_the_same_length_again_is_fine(server: Server) -> None:
    """A client that lost the answer repeats the PATCH that declared the length."""
    path = server.new()
    server.patch(path, 0, b"abc", {"Upload-Length": "6"})
    assert server.patch(path, 3, b"d", {"Upload-Length": "6"}).status == 204
    assert server.patch(path, 4, b"ef", {"Upload-Length": "6"}).offset == 6
    assert server.patch(path, 6, b"", {"Upload-Length": "6"}).status == 204


@pytest.mark.rule("T66")
@pytest.mark.parametrize("length", ["5", "7", "0"])
def test_another_length_later_is_400(server: Server, length: str) -> None:
    """A declared length stays."""
    path = server.new()
    server.patch(path, 0, b"abc", {"Upload-Length": "6"})
    answer = server.patch(path, 3, b"d", {"Upload-Length": length})
    assert (answer.status, answer.code) == (400, "ERR_INVALID_UPLOAD_LENGTH")
    assert (server.head(path)["Upload-Length"], server.offset(path)) == ("6", 3)


@pytest.mark.rule("T67")
@pytest.mark.parametrize(("length", "statuses"), [("9", (400,)), ("11", (400,)), ("10", (204,))])
def test_a_fixed_length_stays(server: Server, length: str, statuses: tuple[int, ...]) -> None:
    """An upload created with a length keeps it; the same value again does no harm."""
    path = server.new(10)
    assert server.patch(path, 0, b"abc", {"Upload-Length": length}).status in statuses
    assert server.head(path)["Upload-Length"] == "10"


@pytest.mark.rule("T68")
def test_a_length_below_the_offset_is_400(server: Server) -> None:
    """What is there already cannot be more than the whole."""
    path = server.new()
    server.patch(path, 0, b"abcdef")
    answer = server.patch(path, 6, b"g", {"Upload-Length": "5"})
    assert (answer.status, answer.code) == (400, "ERR_INVALID_UPLOAD_LENGTH")
    assert (server.head(path)["Upload-Defer-Length"], server.offset(path)) == ("1", 6)


@pytest.mark.rule("T68", "T53", "T32")
def test_a_length_above_the_limit_is_413(server_with: StartServer) -> None:
    """The size limit holds for a length that is declared later, and nothing of that PATCH counts."""
    server = server_with("--max-size", "1000")
    path = server.new()
    answer = server.patch(path, 0, b"abc", {"Upload-Length": "1001"})
    assert (answer.status, answer.code) == (413, "ERR_MAX_SIZE_EXCEEDED")
    assert (server.head(path)["Upload-Defer-Length"], server.offset(path)) == ("1", 0)


@pytest.mark.rule("T68", "T31")
def test_a_body_that_passes_its_own_length_is_413(server: Server) -> None:
    """A length declared now already limits this PATCH, and nothing of it counts."""
    path = server.new()
    assert server.patch(path, 0, b"abcdef", {"Upload-Length": "5"}).status == 413
    assert server.offset(path) == 0


@pytest.mark.rule("T66", "T24", "T68")
def test_a_refused_patch_declares_nothing(server: Server) -> None:
    """A PATCH at the wrong offset does not fix the length."""
    path = server.new()
    assert server.patch(path, 7, b"abc", {"Upload-Length": "20"}).status == 409
    assert server.head(path)["Upload-Defer-Length"] == "1"


@pytest.mark.rule("T66", "T28")
def test_a_length_survives_the_drop_of_its_patch(server: Server) -> None:
    """The PATCH that declares the length may break off and be repeated from where it came."""
    path = server.new()
    wire = server.connect()
    wire.begin(
        "PATCH",
        path,
        {
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": "0",
            "Upload-Length": "6",
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": "6",
        },
        b"abc",
    )
    server.until_offset(path, 3)
    wire.reset()
    assert server.patch(path, 3, b"def", {"Upload-Length": "6"}).offset == 6
    assert server.get(path).body == b"abcdef"


@pytest.mark.rule("T65", "T30")
def test_a_stream_of_unknown_length(server: Server) -> None:
    """Chunked bodies and a length at the very end are how a live recording comes."""
    path = server.new()
    for at in range(3):
        answer = server.patch(path, at * MIB, chunked(b"x" * MIB), {"Transfer-Encoding": "chunked"})
        assert answer.offset == (at + 1) * MIB
    server.patch(path, 3 * MIB, b"", {"Upload-Length": str(3 * MIB)})
    assert len(server.get(path).body) == 3 * MIB
