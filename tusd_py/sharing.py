"""What several processes need so that they may work on the same uploads, and one that is alone does without."""

from __future__ import annotations

from dataclasses import dataclass

from tusd_py.locks.base import Locks
from tusd_py.locks.memory import MemoryLocks
from tusd_py.stamps import Stamps
from tusd_py.surroundings import Surroundings
from tusd_py.turnstile import Turnstile


@dataclass(frozen=True, slots=True)
class Sharing:
    """One writer an upload, whoever serves it; whether what is remembered is still good; one transaction at a time."""

    locks: Locks
    stamps: Stamps | None = None
    gate: Turnstile | None = None

    @classmethod
    def of(cls, around: Surroundings) -> Sharing:
        """Raises OSError."""
        if around.alone:
            return cls(MemoryLocks())
        folder = around.data.processes
        return cls(MemoryLocks(), Stamps(folder / "stamps"), Turnstile(folder))

    def close(self) -> None:
        """After everything that stands on it."""
        if self.gate is not None:
            self.gate.close()
        if self.stamps is not None:
            self.stamps.close()
