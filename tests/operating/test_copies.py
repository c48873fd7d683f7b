"""Backups of the database, and their way back."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import stat
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.wire import eventually
from tests.conftest import StartServer
from tests.operating.commanding import Commands, OnFolder, finished, id_of
from tusd_py.datafolder import DataFolder

LEFT_OVER = "L" * 22


def test_a_backup_under_load(start_server: StartServer, commands_on: OnFolder, tmp_path: Path) -> None:
    """Copies taken while uploads are created hold everything that was acknowledged before, and keep nobody waiting."""
    server = start_server()
    commands = commands_on(server.folder)
    stop, slowest = threading.Event(), 0.0

    def create() -> None:
        nonlocal slowest
        with server.connect() as wire:
            while not stop.is_set():
                began = time.monotonic()
                wire.new(5, body=b"hello")
                slowest = max(slowest, time.monotonic() - began)

    clients = [threading.Thread(target=create) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        for number in range(5):
            known = id_of(server.new(5, body=b"hello"))
            copy = tmp_path / f"{number}.db"
            assert commands("backup", copy).code == 0
            with closing(sqlite3.connect(copy)) as db:
                assert db.execute("SELECT state FROM uploads WHERE id = ?", (known,)).fetchone() == ("finished",)
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert slowest < 2.0
    assert {path.name for path in tmp_path.iterdir()} == {f"{number}.db" for number in range(5)}


def test_a_backup_is_private_and_replaces_nothing_unasked(start_server: StartServer, commands_on: OnFolder) -> None:
    """Ids are URLs: only its owner can read it. A file that is there needs --overwrite, the database is never one."""
    server = start_server()
    commands, copy = commands_on(server.folder), server.home / "copy.db"
    [told] = commands("backup", copy, "--json").objects
    assert told == {"file": str(copy), "bytes": copy.stat().st_size}
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert commands("backup", copy).code == 2
    letter = finished(server, "letter.txt")
    assert commands("backup", copy, "--overwrite").code == 0
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("SELECT id FROM uploads").fetchall() == [(letter,)]
    assert commands("backup", server.folder / "tusd.db", "--overwrite").code == 2
    missing = commands("backup", server.home / "nowhere" / "copy.db")
    assert (missing.code, "could not be made" in missing.err) == (1, True)


@pytest.fixture
def damaged(tmp_path: Path) -> dict[str, Path]:
    """Files that are no backup."""
    text, other, absent = tmp_path / "text", tmp_path / "other.db", tmp_path / "absent"
    text.write_text("dear reader, " * 1000)
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE letters (id)")
    return {"text": text, "other": other, "absent": absent, "folder": tmp_path}


def test_a_restore_and_back(start_server: StartServer, commands_on: OnFolder, damaged: dict[str, Path]) -> None:
    """Uploads of the backup are there again. Later ones have bytes without a record: they are told, no sweep takes
    them, and restoring the database that was replaced brings them back."""
    server = start_server("--sweep-interval", "100ms")
    commands, copy = commands_on(server.folder), server.home / "copy.db"
    uploads = server.folder / "uploads"
    early, lost = finished(server, "early"), finished(server, "lost")
    assert commands("backup", copy).code == 0
    late = finished(server, "late")
    server.delete(f"{server.files}{lost}")
    beside = commands("restore", copy)
    assert (beside.code, "Another server already uses" in beside.err) == (2, True)
    server.terminate()
    for wrong in damaged.values():
        before = (server.folder / "tusd.db").read_bytes()
        assert commands("restore", wrong).code == 2
        assert (server.folder / "tusd.db").read_bytes() == before
    [told] = commands("restore", copy, "--json").objects
    assert (told["uploads"], told["spared"], told["missing"]) == (2, [late], [lost])
    _leave(uploads / LEFT_OVER)
    os.utime(uploads / late, (1, 1))
    server.restart()
    eventually(lambda: not (uploads / LEFT_OVER).exists(), "the sweep removes what is left over")
    _until_swept_again(commands)
    assert (uploads / late).read_bytes() == b"hello"
    assert commands("sweep", "--dry-run", "--json").objects[0]["spared"] == {"count": 1, "ids": [late]}
    assert server.get(f"{server.files}{early}").body == b"hello"
    assert server.head(f"{server.files}{late}").status == 404
    assert server.head(f"{server.files}{lost}").status == 410
    server.terminate()
    [told] = commands("restore", told["replaced"], "--json").objects
    assert (told["uploads"], told["spared"], told["missing"]) == (2, [], [])
    server.restart()
    assert server.get(f"{server.files}{late}").body == b"hello"


def test_a_restore_that_died_half_way_is_done_again(start_server: StartServer, commands_on: OnFolder) -> None:
    """Without its database the folder is refused; a log that was left beside it is not taken for the new one's."""
    server = start_server()
    commands, copy = commands_on(server.folder), server.home / "copy.db"
    early = finished(server, "early")
    assert commands("backup", copy).code == 0
    late = finished(server, "late")
    database, log = server.folder / "tusd.db", server.folder / "tusd.db-wal"
    shutil.copy(log, server.home / "wal")
    server.kill()
    DataFolder(server.folder).close()  # workers that were left alone have ended
    database.rename(server.home / "aside.db")
    shutil.copy(server.home / "wal", log)
    (server.folder / "tusd.db.restoring").write_bytes(b"half")
    assert commands("uploads", "list").code == 2
    restored = commands("restore", copy)
    assert restored.code == 0
    assert f"1 files have no record; the sweep leaves them:\n  {late}\n" in restored.out
    assert commands("uploads", "list", "--json").ids == [early]
    assert not (server.folder / "tusd.db.restoring").exists()


def _leave(path: Path) -> None:
    path.write_bytes(b"left over")
    os.utime(path, (1, 1))


def _until_swept_again(commands: Commands) -> None:
    """By hand, twice, so that every part of a round has been through."""
    for _ in itertools.repeat(None, 2):
        assert commands("sweep").code == 0
