"""How much room the file system of a folder has."""

from __future__ import annotations

import os
import time

from tusd_py.storage.foreign import mapped

GOOD_FOR = 0.2  # seconds that an answer is good for


class Room:
    """Asks the file system, but not for every request."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._seen: os.statvfs_result | None = None
        self._seen_at = 0.0

    def free(self) -> int:
        """Bytes that it still has for us."""
        seen = self._look()
        return seen.f_bavail * seen.f_frsize

    def capacity(self) -> int:
        """Bytes of all of it."""
        seen = self._look()
        return seen.f_blocks * seen.f_frsize

    def _look(self) -> os.statvfs_result:
        now = time.monotonic()
        if self._seen is None or now - self._seen_at > GOOD_FOR:
            with mapped:
                self._seen, self._seen_at = os.fstatvfs(self._folder), now
        return self._seen
