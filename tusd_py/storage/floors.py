"""Floors: what keeps an unverified chunk from counting, whatever dies in the middle of it (law 1b).

Before the first byte of a large checksummed chunk is written, `<id>.floor` holds the offset at which it begins, by an
atomic rename; after the verdict it is removed (on a mismatch the file is truncated first). Whoever looks at the
upload obeys it. No sync is needed: after a machine crash the file falls back to `synced`, which never passes a floor.

`Floors` are those of the only process: its own are in a dictionary, with those of a life before, read once at the
start. `SharedFloors` are those of one of several: another process's floor, or what it left when it was killed, may lie
there at any moment, so the disk is asked. That there was none is remembered under the upload's stamp, which changes
after a floor was laid and before one is lifted. Whoever reads a file's size between two looks at the same stamp
therefore knows that the floor he found, or none, was there all the while.
"""

from __future__ import annotations

import os
from collections import OrderedDict

from tusd_py.stamps import Stamps
from tusd_py.upload import is_id

SUFFIX = ".floor"
WITHOUT_KNOWN = 10_000  # uploads of which it is remembered that they have none


class Floors:
    """The floors of one upload folder. Methods may raise OSError."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._known = {name.partition(".")[0]: self._read(name) or 0 for name in clear_litter(folder)}

    def of(self, id: str) -> int | None:
        return self._known.get(id)

    def lay(self, id: str, at: int) -> None:
        new = f"{id}{SUFFIX}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o664, dir_fd=self._folder)
        try:
            os.write(fd, b"%d\n" % at)
        finally:
            os.close(fd)
        os.rename(new, id + SUFFIX, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._known[id] = at

    def lift(self, id: str) -> None:
        """Remove it, if there is one."""
        if self.of(id) is not None:
            _remove(id + SUFFIX, self._folder)
            self._known.pop(id, None)

    def _read(self, name: str) -> int | None:
        """None if there is none; 0, so that nothing of the upload is trusted, if it is not one of ours."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._folder)
        except FileNotFoundError:
            return None
        except OSError:
            return 0
        try:
            text = os.read(fd, 32)
        except OSError:
            return 0
        finally:
            os.close(fd)
        return int(text) if text.strip().isdigit() else 0


class SharedFloors(Floors):
    """Likewise, of one of several processes."""

    def __init__(self, folder: int, stamps: Stamps) -> None:
        self._folder = folder
        self._known = {}
        self._stamps = stamps
        self._without: OrderedDict[str, int] = OrderedDict()  # the stamp under which there was none

    def of(self, id: str) -> int | None:
        mine = self._known.get(id)
        if mine is not None:
            return mine
        stamp = self._stamps.of(id)
        if self._without.get(id) == stamp:
            return None
        floor = self._read(id + SUFFIX)
        if floor is None:
            self._remember(id, stamp)
        return floor

    def lay(self, id: str, at: int) -> None:
        super().lay(id, at)
        self._stamps.change(id)

    def lift(self, id: str) -> None:
        if self.of(id) is not None:
            self._stamps.change(id)
            super().lift(id)

    def _remember(self, id: str, stamp: int) -> None:
        self._without[id] = stamp
        self._without.move_to_end(id)
        if len(self._without) > WITHOUT_KNOWN:
            self._without.popitem(last=False)


def clear_litter(folder: int) -> list[str]:
    """Remove floors that were half made or belong to uploads that are gone; returns the names of the others. Only while
    nobody else is at work in the folder."""
    with os.scandir(folder) as entries:
        names = {entry.name for entry in entries}
    stay = []
    for name in names:
        id, _, kind = name.partition(".")
        if is_id(id) and f".{kind}" == SUFFIX and id in names:
            stay.append(name)
        elif is_id(id) and f".{kind}" in (SUFFIX, f"{SUFFIX}.new"):
            _remove(name, folder)
    return stay


def _remove(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except (FileNotFoundError, IsADirectoryError):
        return  # somebody was quicker, or put something of theirs in its place
