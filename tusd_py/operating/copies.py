"""Whole copies of the SQLite file. sqlite3's exceptions pass through here: backup.py and restore.py say what they mean.

A copy is made by SQLite's own backup in one step, from one snapshot: in WAL mode a reader keeps no writer waiting and
sees nothing half written, however many processes write. (In several steps it would begin anew after each commit of
somebody else, and under load never end.)
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

BUSY_TIMEOUT: Final = 30.0  # seconds; only a server that is just starting or emptying its log can be in the way
SIDE_FILES: Final = ("-wal", "-shm", "-journal")


class Damaged(Exception):
    """SQLite's check found what it says."""


def copy(source: Path, target: Path) -> None:
    """Into an empty file: checked, complete in itself and on the disk. Raises sqlite3.Error, Damaged, OSError."""
    with closing(_existing(source)) as from_db, closing(sqlite3.connect(target)) as to_db:
        from_db.backup(to_db, pages=-1)
        to_db.execute("PRAGMA journal_mode = DELETE").fetchall()  # the copy has no log beside it
        said = [str(row[0]) for row in to_db.execute("PRAGMA quick_check(1)")]
    if said != ["ok"]:
        raise Damaged("; ".join(said))
    sync(target)


def sync(path: Path) -> None:
    """A file, or the entries of a folder."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _existing(path: Path) -> sqlite3.Connection:
    """Never makes a file where there is none."""
    uri = f"file:{quote(os.path.abspath(path))}?mode={'rw' if os.access(path, os.W_OK) else 'ro'}"
    return sqlite3.connect(uri, BUSY_TIMEOUT, uri=True)
