"""What a round of the sweep did, or would do."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_NAMED = 1000  # ids; more are only counted


@dataclass(slots=True)
class Tally:
    """How many, and the first of them."""

    count: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, id: str) -> None:
        self.count += 1
        if self.count <= MOST_NAMED:
            self.ids.append(id)


@dataclass(slots=True)
class Swept:
    """Of one round. Nothing has been done if it was `dry`."""

    dry: bool = False
    expired: Tally = field(default_factory=Tally)  # unfinished and silent for too long
    retired: Tally = field(default_factory=Tally)  # finished, and kept for long enough
    forgotten: Tally = field(default_factory=Tally)  # tombstones whose time is over
    left_over: Tally = field(default_factory=Tally)  # bytes of a life before that no record names
    spared: Tally = field(default_factory=Tally)  # such bytes as a restore found
    failed: Tally = field(default_factory=Tally)  # which the next round tries again
