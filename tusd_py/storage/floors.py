"""Floors: what keeps an unverified chunk from counting, whatever dies in the middle of it (law 1b).

Before the first byte of a large checksummed chunk is written, `<id>.floor` holds the offset at which it begins, by an
atomic rename; after the verdict it is removed (on a mismatch the file is truncated first). Whoever looks at the
upload obeys it. Floors of this process are in the dictionary; those of a life before are read once at the start.
No sync is needed: after a machine crash the file falls back to `synced`, which never passes a floor.
"""

from __future__ import annotations

import os

from tusd_py.upload import is_id

SUFFIX = ".floor"


class Floors:
    """The floors of one upload folder. Methods may raise OSError."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self.known: dict[str, int] = {}
        self._read_left_over()

    def of(self, id: str) -> int | None:
        return self.known.get(id)

    def lay(self, id: str, at: int) -> None:
        new = f"{id}{SUFFIX}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o664, dir_fd=self._folder)
        try:
            os.write(fd, b"%d\n" % at)
        finally:
            os.close(fd)
        os.rename(new, id + SUFFIX, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self.known[id] = at

    def lift(self, id: str) -> None:
        if id in self.known:
            self._remove(id + SUFFIX)
            del self.known[id]

    def _read_left_over(self) -> None:
        with os.scandir(self._folder) as entries:
            names = {entry.name for entry in entries}
        for name in names:
            id, _, kind = name.partition(".")
            if not is_id(id):
                continue
            if f".{kind}" == f"{SUFFIX}.new" or (f".{kind}" == SUFFIX and id not in names):
                self._remove(name)  # half made, or of an upload that is gone
            elif f".{kind}" == SUFFIX:
                self.known[id] = self._read(name)

    def _read(self, name: str) -> int:
        """0, so that nothing of the upload is trusted, if it is not one of ours."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._folder)
        except OSError:
            return 0
        try:
            text = os.read(fd, 32)
        except OSError:
            return 0
        finally:
            os.close(fd)
        return int(text) if text.strip().isdigit() else 0

    def _remove(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._folder)
        except (FileNotFoundError, IsADirectoryError):
            return  # somebody was quicker, or put something of theirs in its place
