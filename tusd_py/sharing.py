"""What several processes need so that they may work on the same uploads, and one that is alone does without."""

from __future__ import annotations

from dataclasses import dataclass, field

from tusd_py.counters import Sheet
from tusd_py.locks.base import Locks
from tusd_py.locks.memory import MemoryLocks
from tusd_py.stamps import Stamps
from tusd_py.surroundings import Surroundings
from tusd_py.turnstile import Turnstile


@dataclass(frozen=True, slots=True)
class Sharing:
    """One writer an upload, whoever serves it; whether what is remembered is still good; one transaction at a time; one
    sum of what all count."""

    locks: Locks
    stamps: Stamps | None = None
    gate: Turnstile | None = None
    sheet: Sheet = field(default_factory=Sheet)

    @classmethod
    def of(cls, around: Surroundings) -> Sharing:
        """Raises OSError."""
        if around.alone:
            return cls(MemoryLocks())
        folder = around.data.processes
        return cls(
            MemoryLocks(), Stamps(folder / "stamps"), Turnstile(folder), Sheet.open(folder / "counters", around.number)
        )

    def close(self) -> None:
        """After everything that stands on it."""
        if self.gate is not None:
            self.gate.close()
        if self.stamps is not None:
            self.stamps.close()
