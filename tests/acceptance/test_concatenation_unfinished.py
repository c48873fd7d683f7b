"""Final uploads over partials that are still coming."""

from __future__ import annotations

import pytest

from tests.acceptance.server import Server
from tests.acceptance.test_concatenation import final, partial
from tests.acceptance.wire import Fields, eventually
from tests.conftest import StartServer


@pytest.fixture
def server(server_with: StartServer) -> Server:
    return server_with("--concatenation-unfinished")


@pytest.mark.rule("T117", "T118", "T119", "T111", "T116")
def test_it_completes_by_itself(server: Server) -> None:
    """The final upload grows with its partials and is complete with the last of them."""
    a, b = partial(server, b"ab", 4), partial(server, b"", 3)
    answer = final(server, a, b)
    assert answer.status == 201
    head = server.head(answer.path)
    assert (head["Upload-Length"], head.get("Upload-Offset")) == ("7", "2")
    server.patch(b, 0, b"xyz")
    assert server.head(answer.path)["Upload-Offset"] == "5"
    assert server.get(answer.path).status == 404
    server.patch(a, 2, b"cd")
    eventually(lambda: server.get(answer.path).body == b"abcdxyz", "the final upload is complete")
    assert server.head(answer.path)["Upload-Offset"] == "7"


@pytest.mark.rule("T111", "T64")
def test_a_partial_of_deferred_length(server: Server) -> None:
    """While one length is unknown so is the sum."""
    a, b = partial(server, b"abc"), server.new(None, {"Upload-Concat": "partial"})
    joined = final(server, a, b).path
    assert server.head(joined)["Upload-Defer-Length"] == "1"
    server.patch(b, 0, b"d", {"Upload-Length": "2"})
    assert server.head(joined)["Upload-Length"] == "5"
    server.patch(b, 1, b"e")
    eventually(lambda: server.get(joined).body == b"abcde", "the final upload is complete")


@pytest.mark.rule("T120", "T108")
@pytest.mark.parametrize("fields", [{}, {"Content-Type": "text/plain"}, {"Upload-Offset": "7"}])
def test_nobody_writes_to_it(server: Server, fields: Fields) -> None:
    """PATCH is 403 before it is complete, too."""
    joined = final(server, partial(server, b"a", 3)).path
    assert server.patch(joined, 1, b"b", fields).status == 403


@pytest.mark.rule("T121")
def test_a_partial_that_is_terminated(server: Server) -> None:
    """Without one of its partials it can never be complete, and says that it is gone."""
    a, b = partial(server, b"abc"), partial(server, b"d", 3)
    joined = final(server, a, b).path
    assert server.delete(b).status == 204
    eventually(lambda: server.head(joined).status in (404, 410), "the final upload is gone")


@pytest.mark.rule("T118", "T113")
def test_finished_partials_make_it_at_once(server: Server) -> None:
    """With nothing missing it is complete with its creation."""
    joined = final(server, partial(server, b"abc"), partial(server, b"def"))
    assert joined.status == 201
    assert server.get(joined.path).body == b"abcdef"
    assert final(server, server.files + "A" * 22).status in (400, 404)


@pytest.mark.slow
@pytest.mark.rule("T118")
def test_it_completes_over_a_restart(start_server: StartServer) -> None:
    """A crash in between does not lose what was promised."""
    server = start_server("--concatenation-unfinished")
    a = partial(server, b"a", 3)
    joined = final(server, a).path
    server.restart()
    assert server.head(joined)["Upload-Offset"] == "1"
    server.patch(a, 1, b"bc")
    eventually(lambda: server.get(joined).body == b"abc", "the final upload is complete")
