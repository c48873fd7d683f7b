"""When a worker that died is started again, and when it is hopeless. PURE."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_PAUSE = 0.1  # seconds; doubled up to
LAST_PAUSE = 5.0
SETTLED_AFTER = 5.0  # seconds of service after which a death counts as the first again
HOPELESS = 5  # deaths in a row, none of which had begun to serve


@dataclass(frozen=True, slots=True)
class Restarts:
    """The deaths of one worker's predecessors in a row, and how many of them never served."""

    deaths: int = 0
    stillborn: int = 0

    def after(self, served: float | None) -> Restarts:
        """One more, which served for so many seconds, None if it never did."""
        if served is None:
            return Restarts(self.deaths + 1, self.stillborn + 1)
        return Restarts(1 if served >= SETTLED_AFTER else self.deaths + 1)

    @property
    def pause(self) -> float:
        """Seconds to wait; the first is replaced at once."""
        return 0.0 if self.deaths <= 1 else min(FIRST_PAUSE * 2 ** (self.deaths - 2), LAST_PAUSE)

    @property
    def hopeless(self) -> bool:
        return self.stillborn >= HOPELESS
