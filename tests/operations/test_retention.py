"""How long uploads are kept, seen from the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import eventually
from tests.conftest import StartServer


def file_of(server: Server, target: str) -> Path:
    return server.folder / "uploads" / target.rpartition("/")[2]


def test_expiry(start_server: StartServer) -> None:
    """An unfinished upload that has been silent is refused and its bytes go; a finished one stays."""
    server = start_server("--expire-after", "1s", "--sweep-interval", "200ms")
    stale, finished = server.new(100, body=b"stale"), server.new(8, body=b"finished")
    eventually(lambda: not file_of(server, stale).exists(), "the sweep removes it")
    answer = server.patch(stale, 5, b"more")
    assert (answer.status, answer.code) == (410, "ERR_UPLOAD_EXPIRED")
    assert server.get(finished).body == b"finished"
    eventually(lambda: f"upload-expired id={stale.rpartition('/')[2]}" in server.log, "it is logged")


def test_retention_of_finished_uploads(start_server: StartServer) -> None:
    """With keep_finished a finished upload is removed too, and then nobody knows it; tombstones are short if wanted."""
    server = start_server("--keep-finished", "500ms", "--sweep-interval", "100ms", "--expired-status", "404")
    finished, running = server.new(8, body=b"finished"), server.new(100, body=b"running")
    eventually(lambda: not file_of(server, finished).exists(), "the sweep removes it")
    eventually(lambda: server.head(finished).status == 404, "it is forgotten")
    assert server.offset(running) == 7


@pytest.mark.slow
def test_left_over_bytes(start_server: StartServer) -> None:
    """Bytes that no record names, left by a life before, are swept; what is not ours stays."""
    server = start_server("--sweep-interval", "100ms")
    path = server.new(10, body=b"abc")
    server.kill()
    orphan = server.folder / "uploads" / ("A" * 22)
    orphan.write_bytes(b"left over")
    letter = server.folder / "uploads" / "letter.txt"
    letter.write_text("dear reader")
    server.restart()
    eventually(lambda: not orphan.exists(), "the sweep removes it")
    assert letter.read_text() == "dear reader"
    assert server.offset(path) == 3
