"""Which files of a folder have been left alone for long enough to ask whose they are."""

from __future__ import annotations

import os

from tusd_py.upload import is_id


def older_than(folder: int, before: float) -> list[str]:
    """Ids whose files were last written to before `before`, in seconds since the epoch. Raises OSError."""
    with os.scandir(folder) as entries:
        return [
            entry.name
            for entry in entries
            if is_id(entry.name) and entry.is_file(follow_symlinks=False) and _touched(entry) < before
        ]


def _touched(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return float("inf")  # deleted since the folder was read
