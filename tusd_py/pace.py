"""Whether a transaction is over sooner than the hop into a thread that would spare the loop from waiting for it.

On tmpfs, and on a disk whose cache survives a power cut, a commit takes less than it costs to hand it over: the thread
has to win the interpreter's lock from a busy loop for each of its statements. On other disks a commit is milliseconds,
for which the loop must never wait.
"""

from __future__ import annotations

from typing import Final

INSTANT: Final = 0.000_25  # seconds a transaction takes in the thread when nobody is in its way
LOOKED_AT: Final = 16  # transactions of which the quickest tells how quick the disk is: the others were kept waiting
SLOW: Final = 0.002  # seconds that the loop waited
SLOW_IN_A_ROW: Final = 3  # one may be the scheduler's doing
VERY_SLOW: Final = 0.02  # seconds: once is enough


class Pace:
    """Begins in the thread, looks at LOOKED_AT transactions there, and goes back to it once the loop had to wait."""

    __slots__ = ("_quickest", "_seen", "_slow", "at_once")

    def __init__(self) -> None:
        self.rest()

    def rest(self) -> None:
        """Use the thread, and look again."""
        self.at_once = False
        self._seen = 0
        self._quickest = INSTANT
        self._slow = 0

    def took(self, seconds: float) -> None:
        """A transaction in the thread took so long."""
        self._seen += 1
        self._quickest = min(self._quickest, seconds)
        if self._seen >= LOOKED_AT:
            self.at_once = self._quickest < INSTANT
            self._seen, self._quickest = 0, INSTANT

    def took_at_once(self, seconds: float) -> None:
        """A transaction on the loop took so long."""
        self._slow = self._slow + 1 if seconds > SLOW else 0
        if self._slow >= SLOW_IN_A_ROW or seconds > VERY_SLOW:
            self.rest()
