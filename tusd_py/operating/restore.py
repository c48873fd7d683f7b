"""Put a backup of the database in the place of the present one, while nobody else has the data folder.

A backup knows nothing of the uploads that came after it. Their bytes are in the folder without a record, older than the
next start: that is what the sweep takes for left-overs. So a restore writes down, in the table `spared` of the restored
database itself, which files it found without a record, and the sweep leaves those alone for ever. Being in the
database, the note takes effect in the same instant as the records do, goes with them when another backup is restored,
which makes its own, and is in every later backup.

Order, so that a death anywhere leaves either database whole: the new one is complete and on the disk under another
name; the present one is renamed, then its log, or SQLite would take it for a log of the new one; then the new one gets
its name. Without any the server does not start on a folder with uploads, and the restore can be done again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tusd_py.datafolder import DATABASE, DataFolder
from tusd_py.errors import CommandError, StartError
from tusd_py.migrations import connect, migrate
from tusd_py.operating.copies import SIDE_FILES, Damaged, copy, sync
from tusd_py.upload import is_id

NEW = f"{DATABASE}.restoring"


@dataclass(frozen=True, slots=True)
class Restored:
    """What the folder holds now. `spared` are files without a record, `missing` are uploads without their file, which
    answer 410; `replaced` is where the database went that was there before."""

    uploads: int
    spared: tuple[str, ...]
    missing: tuple[str, ...]
    replaced: Path | None


def restore(folder: Path, backup: Path) -> Restored:
    """Raises StartError, and has changed nothing, if a server or a worker has the folder or the file is no backup;
    CommandError if something failed on the way."""
    if not backup.is_file():
        raise StartError(f"There is no file {backup}.")
    data = DataFolder(folder, restoring=True)
    try:
        if data.database.exists() and backup.samefile(data.database):
            raise StartError(f"{backup} is the database itself.")
        return _restore(data, backup)
    except (sqlite3.Error, OSError) as error:
        raise CommandError(f"{backup} could not be restored: {error}.") from error
    finally:
        data.close()


def _restore(data: DataFolder, backup: Path) -> Restored:
    new = data.path / NEW
    _remove(new)
    try:
        _copy(backup, new)
        files = set(_files(data.uploads))
        with closing(connect(new)) as db:
            migrate(db, backup)
            spared, missing = _compare(db, files)
            uploads = int(db.execute("SELECT count(*) FROM uploads").fetchone()[0])
        sync(new)
        _like_its_folder(new, data)
        return Restored(uploads, spared, missing, _exchange(data, new))
    except BaseException:
        _remove(new)
        raise


def _copy(backup: Path, new: Path) -> None:
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        copy(backup, new)
        with closing(sqlite3.connect(new)) as db:
            db.execute("SELECT id, handle FROM uploads LIMIT 1").fetchall()
    except (sqlite3.Error, Damaged) as error:
        raise StartError(f"{backup} is damaged, or no backup of tusd-py: {error}.") from error


def _files(uploads: Path) -> Iterator[str]:
    """Names that can be an upload's; whatever else is there is not ours."""
    if uploads.is_dir():
        with os.scandir(uploads) as entries:
            yield from (entry.name for entry in entries if is_id(entry.name))


def _compare(db: sqlite3.Connection, files: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files without a record, which are written down, and uploads without a file."""
    missing = []
    without_record = set(files)
    for id, state in db.execute("SELECT id, state FROM uploads"):
        without_record.discard(id)
        if state in ("receiving", "finished") and id not in files:
            missing.append(str(id))
    spared = tuple(sorted(without_record))
    db.execute("BEGIN IMMEDIATE")
    db.execute("DELETE FROM spared")
    db.executemany("INSERT INTO spared (id) VALUES (?)", [(id,) for id in spared])
    db.execute("COMMIT")
    return spared, tuple(sorted(missing))


def _exchange(data: DataFolder, new: Path) -> Path | None:
    """The new one in the place of the present one, of which nothing is lost; returns where it is."""
    old = data.path / f"{DATABASE}.replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    had_one = data.database.exists()
    if had_one:
        data.database.rename(old)
        sync(data.path)
    for suffix in SIDE_FILES:
        beside = data.path / f"{DATABASE}{suffix}"
        if beside.exists():
            beside.rename(f"{old}{suffix}")
    sync(data.path)
    new.rename(data.database)
    sync(data.path)
    return old if had_one else None


def _like_its_folder(new: Path, data: DataFolder) -> None:
    """Who restores is often root, and the server another user."""
    if os.geteuid() == 0:
        owner = data.path.stat()
        os.chown(new, owner.st_uid, owner.st_gid)


def _remove(new: Path) -> None:
    for suffix in ("", *SIDE_FILES):
        Path(f"{new}{suffix}").unlink(missing_ok=True)


def told(restored: Restored) -> dict[str, object]:
    """For scripts."""
    return {
        "uploads": restored.uploads,
        "spared": list(restored.spared),
        "missing": list(restored.missing),
        "replaced": None if restored.replaced is None else str(restored.replaced),
    }


def spelt(restored: Restored) -> str:
    """For people."""
    lines = [f"{restored.uploads} uploads are restored."]
    if restored.replaced is not None:
        lines.append(f"The database that was there is kept as {restored.replaced}.")
    if restored.missing:
        lines += [f"{len(restored.missing)} of them have lost their bytes and answer 410:", *_listed(restored.missing)]
    if restored.spared:
        lines += [f"{len(restored.spared)} files have no record; the sweep leaves them:", *_listed(restored.spared)]
    return "\n".join(lines)


def _listed(ids: tuple[str, ...]) -> list[str]:
    return [f"  {id}" for id in ids]
