"""A copy of a running server's folder, made as docs/operations.md says."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import MIB
from tests.conftest import StartServer


@pytest.mark.slow
def test_database_first_then_uploads(start_server: StartServer, tmp_path: Path) -> None:
    """A server on the copy has every finished upload whole, and goes on with the unfinished ones."""
    server = start_server()
    finished, deleted, running = server.new(6, body=b"letter"), server.new(3, body=b"old"), server.new(2 * MIB)
    wire = server.connect()
    wire.begin_patch(running, 0, 2 * MIB, bytes(MIB))
    server.until_offset(running, MIB)
    copy = tmp_path / "data"
    copy.mkdir()
    with sqlite3.connect(server.folder / "tusd.db") as source, sqlite3.connect(copy / "tusd.db") as target:
        source.backup(target)
    source.close()
    target.close()
    server.delete(deleted)
    wire.send(bytes(MIB))
    assert wire.answer("PATCH").status == 204
    shutil.copytree(server.folder / "uploads", copy / "uploads")
    restored = Server(folder=copy)
    try:
        assert restored.get(finished).body == b"letter"
        assert restored.head(deleted).status == 410
        assert restored.offset(running) == 2 * MIB
    finally:
        restored.remove()
