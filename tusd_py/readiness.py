"""What an operator wants to know before sending traffic."""

from __future__ import annotations

import os

from tusd_py.errors import TusError
from tusd_py.records.base import Records
from tusd_py.storage.local import LocalStorage

READY_BELOW = 16 << 20  # 16 MiB: with less free space the server is not ready


class Readiness:
    """Looks at database and folder each time it is asked."""

    def __init__(self, records: Records, storage: LocalStorage) -> None:
        self._records = records
        self._storage = storage

    async def __call__(self) -> dict[str, str]:
        """A check's name and "ok", or a sentence."""
        return {"database": await self._database(), "folder": self._folder()}

    async def _database(self) -> str:
        try:
            await self._records.check()
        except TusError as error:
            return str(error)
        return "ok"

    def _folder(self) -> str:
        folder = self._storage.folder
        try:
            free = self._storage.free()
        except TusError as error:
            return str(error)
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"the folder {folder} cannot be written to"
        return "ok" if free >= READY_BELOW else f"only {free >> 20} MiB are free in {folder}"
