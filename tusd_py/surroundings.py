"""What a process of the server has around it: it is alone, or one of several workers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tusd_py.datafolder import DataFolder


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Worker `number`, from 0, of `count`. `started` is when the server started, in seconds since the epoch: a worker
    that replaces another is younger than that, and must not take the uploads of its siblings for left-overs."""

    data: DataFolder
    number: int = 0
    count: int = 1
    started: float = field(default_factory=time.time)

    @property
    def alone(self) -> bool:
        return self.count == 1

    @property
    def name(self) -> int | None:
        """What the log calls it: its number where there are several."""
        return None if self.alone else self.number

    def share(self, budget: int, least: int = 1) -> int:
        """This process's part of a budget that is meant for the whole server."""
        return max(least, -(-budget // self.count))
