"""A backup of the database, made beside a running server or without one."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

from tusd_py.datafolder import DATABASE
from tusd_py.errors import CommandError, StartError
from tusd_py.operating.copies import Damaged, copy, sync
from tusd_py.operating.reach import insist_on_database


def backup(folder: Path, target: Path, *, overwrite: bool) -> int:
    """Copy the database of a data folder; returns the bytes of the copy, which is there as a whole or not at all, and
    readable by its owner only: whoever knows the ids knows the URLs. Raises StartError, CommandError."""
    database = folder / DATABASE
    insist_on_database(folder)
    if target.exists() and (not overwrite or not target.is_file() or target.samefile(database)):
        raise StartError(f"{target} exists already; choose another name{'' if overwrite else ', or say --overwrite'}.")
    try:
        return _written(database, target)
    except (sqlite3.Error, Damaged, OSError) as error:
        raise CommandError(f"The backup {target} could not be made: {error}.") from error


def _written(database: Path, target: Path) -> int:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(descriptor)
    part = Path(name)
    try:
        copy(database, part)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(target.parent)
    return target.stat().st_size
