"""What several processes need so that they may work on the same uploads, and one that is alone does without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tusd_py.counters import Sheet
from tusd_py.locks.base import Locks
from tusd_py.locks.host import HostLocks
from tusd_py.locks.memory import MemoryLocks
from tusd_py.stamps import Stamps
from tusd_py.surroundings import Surroundings
from tusd_py.turnstile import Turnstile


@dataclass(frozen=True, slots=True)
class Sharing:
    """One writer an upload, whoever serves it; one sum of what all count; whether what is remembered is still good; one
    transaction at a time."""

    locks: Locks
    sheet: Sheet
    stamps: Stamps | None = None
    gate: Turnstile | None = None
    _ends: Sequence[Callable[[], None]] = ()

    @classmethod
    def of(cls, around: Surroundings) -> Sharing:
        """Raises OSError, or StartError."""
        if around.alone:
            return cls(MemoryLocks(), Sheet())
        folder = around.data.processes
        sheet = Sheet.open(folder / "counters", around.number)
        locks, stamps, gate = HostLocks(folder), Stamps(folder / "stamps"), Turnstile(folder)
        return cls(locks, sheet, stamps, gate, (locks.close, gate.close, stamps.close))

    def close(self) -> None:
        """After everything that stands on it."""
        for end in self._ends:
            end()
