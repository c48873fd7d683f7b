"""How the SQLite file is opened, and its schema brought up to date.

A migration is a file of records/schema, applied in the order of their names and each in a transaction of its own; what
has been released is never edited. sqlite3's exceptions pass through here: whoever opens the file says what they mean.
"""

from __future__ import annotations

import sqlite3
from importlib import resources
from pathlib import Path
from typing import Final

from tusd_py.errors import StartError

BUSY_TIMEOUT: Final = 5_000  # ms; only outsiders (a backup, a shell) can be in the way
LOG_LIMIT: Final = 4 << 20  # bytes; SQLite cuts a longer log back when it begins it anew
OLDEST_SQLITE: Final = (3, 35, 0)  # RETURNING


def connect(path: Path) -> sqlite3.Connection:
    """A connection that may move from thread to thread, whose commits are synced before they return. Raises StartError,
    sqlite3.Error."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StartError(f"SQLite {sqlite3.sqlite_version} is too old; this Python needs one of at least 3.35.")
    db = sqlite3.connect(
        path, BUSY_TIMEOUT / 1000, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
        # So that the size of the log tells how much is in it.
        db.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT}").fetchall()
    except sqlite3.Error:
        db.close()
        raise
    return db


def migrate(db: sqlite3.Connection, path: Path) -> int:
    """Apply the migrations that the file lacks; returns the version it has then. Raises StartError, sqlite3.Error."""
    folder = resources.files("tusd_py.records") / "schema"
    scripts = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    have = int(db.execute("PRAGMA user_version").fetchone()[0])
    if have > len(scripts):
        message = f"The database {path} was made by a newer version (schema {have}, known here: {len(scripts)})"
        raise StartError(f"{message}; install that version again.")
    for number, script in enumerate(scripts[have:], start=have + 1):
        db.executescript(f"BEGIN IMMEDIATE;\n{script.read_text('utf-8')}\nPRAGMA user_version = {number};\nCOMMIT;")
    return len(scripts)


def advice(error: Exception) -> str:
    """What the operator can do about a file that cannot be opened."""
    if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return "restore it from a backup, or choose another --upload-dir to start empty"
    return "look whether the disk is full, failing or not writable"
