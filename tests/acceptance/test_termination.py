"""DELETE: throwing an upload away."""

from __future__ import annotations

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import MIB, eventually
from tests.conftest import StartServer


def files_of(server: Server, path: str) -> list[str]:
    """What the data folder still holds of an upload."""
    return [file.name for file in server.folder.rglob(path.rsplit("/", 1)[1] + "*")]


@pytest.mark.rule("T95", "T96", "T97")
@pytest.mark.parametrize("size", [0, 3, 10])
def test_an_upload_is_deleted(server: Server, size: int) -> None:
    """Empty, begun or finished: the answer is 204, the bytes are freed, and nobody finds it again."""
    path = server.new(10, body=b"x" * size if size else None)
    answer = server.delete(path)
    assert (answer.status, answer.body) == (204, b"")
    assert answer["Tus-Resumable"] == "1.0.0"
    eventually(lambda: files_of(server, path) == [], "the bytes are freed")
    assert server.head(path).status == 404
    assert server.patch(path, size, b"x").status == 404
    assert server.get(path).status == 404
    assert server.delete(path).status == 404


@pytest.mark.rule("T98")
def test_an_unknown_upload(server: Server) -> None:
    """What is not there cannot be deleted, whether the client speaks tus or not."""
    path = server.files + "A" * 22
    assert server.delete(path).status == 404
    assert server.ask("DELETE", path).status == 404


@pytest.mark.rule("T97")
def test_it_stays_deleted_over_a_restart(start_server: StartServer) -> None:
    """kill -9 right after the answer brings nothing back."""
    server = start_server()
    path = server.new(10, body=b"abc")
    assert server.delete(path).status == 204
    server.restart()
    assert server.head(path).status == 404
    assert files_of(server, path) == []


@pytest.mark.rule("T99", "T41")
@pytest.mark.parametrize("length", [1000, 4 * MIB])
def test_deletion_ends_a_running_upload(server: Server, length: int) -> None:
    """The writer is stopped first, and what it still sends re-creates nothing."""
    path = server.new(length)
    writer = server.connect()
    writer.begin_patch(path, 0, length, b"x" * 500)
    server.until_offset(path, 500)
    assert server.delete(path).status == 204
    writer.send_regardless(b"x" * (length - 500))
    assert writer.answer().status in (404, 410, 423)
    assert server.head(path).status == 404
    eventually(lambda: files_of(server, path) == [], "the bytes are freed")


@pytest.mark.rule("T99", "T96")
def test_deletion_beside_a_download(server: Server) -> None:
    """A finished upload can be deleted while somebody reads it; the reader gets what it asked for or an end."""
    data = b"x" * (8 * MIB)
    path = server.new(len(data), body=data)
    reader = server.connect()
    reader.begin("GET", path)
    assert server.delete(path).status == 204
    assert server.head(path).status == 404
    assert reader.answer().body == data
