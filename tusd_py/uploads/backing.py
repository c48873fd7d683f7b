"""What the service stands on: one value for all of its parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from tusd_py.hooks.events import Listeners
from tusd_py.instruments import Instruments
from tusd_py.locks.base import Locks
from tusd_py.records.base import Records
from tusd_py.storage.base import Storage


@dataclass(frozen=True, slots=True)
class Backing:
    """The back ends, who hears of what happens, and the time. `clock` gives seconds since the epoch; `patience` is how
    long, in seconds, a request waits for a lock, for instance that of a finish (law 4)."""

    storage: Storage
    records: Records
    locks: Locks
    listeners: Listeners
    instruments: Instruments
    clock: Callable[[], float] = time.time
    patience: float = 25.0

    def undisturbed(self, id: str, patience: float | None = None) -> AbstractAsyncContextManager[None]:
        """The lock of an upload for one who does not give way to a newcomer. Raises UploadLocked."""
        return self.locks.hold(id, when_wanted=None, patience=self.patience if patience is None else patience)
