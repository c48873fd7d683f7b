"""Background work of the whole server is done by one process at a time: the one that holds a lock, which dies with it.

The lock is flock on a file that all workers open for themselves; the kernel lets go of it however its holder ends, and
another process has it within `LOOK_AGAIN_AFTER`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

LOOK_AGAIN_AFTER = 0.5  # seconds


class Leadership:
    """Of one process. `held` tells whether it leads."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.held = False

    async def win(self) -> None:
        """Return once this process leads, which it then does until `close`, or its end."""
        while not self._try():  # noqa: ASYNC110  # the kernel tells nobody that a lock is free
            await asyncio.sleep(LOOK_AGAIN_AFTER)

    def close(self) -> None:
        os.close(self._file)
        self.held = False

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.held = True
        return True
