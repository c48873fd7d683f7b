"""Samples into medians: all servers of a row run side by side and are measured in turn, round by round."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench.client.wire import Failed
from bench.peers.base import Peer, Server, serving
from bench.rows.base import Row, Sample, Scale, Stage

Item = TypeVar("Item")
FAULTS = (Failed, OSError, subprocess.SubprocessError, ValueError)


@dataclass
class Outcome:
    """All samples of one server in one row, or why there are none."""

    samples: list[Sample] = field(default_factory=list)
    failed: str = ""

    def median(self, metric: str) -> float | None:
        """None for a row that failed or was not measured."""
        found = [sample[metric] for sample in self.samples if metric in sample]
        return statistics.median(found) if found and not self.failed else None


@dataclass(frozen=True)
class Course:
    """How rows are run: on which folder, how often, with how much."""

    place: Path
    rounds: int
    scale: Scale
    load_binary: Path | None

    def run(self, row: Row, peers: Sequence[Peer]) -> dict[str, Outcome]:
        """Outcomes by server's name. A server that fails is out for the rest of this row."""
        outcomes = {peer.name: Outcome() for peer in peers}
        with ExitStack() as stack:
            running = {} if row.fresh else self._start(peers, outcomes, stack)
            if not row.fresh:
                self._round(row, peers, running, outcomes)  # warms up: pages, compilers, caches
                for outcome in outcomes.values():
                    outcome.samples.clear()
            for turn in range(row.rounds or self.rounds):
                self._round(row, turned(peers, turn), running, outcomes)
        return outcomes

    def _start(self, peers: Sequence[Peer], outcomes: dict[str, Outcome], stack: ExitStack) -> dict[str, Server]:
        running = {}
        for peer in peers:
            with self._failing(outcomes[peer.name]):
                running[peer.name] = stack.enter_context(serving(peer, self.place))
        return running

    def _round(self, row: Row, peers: Sequence[Peer], running: dict[str, Server], outcomes: dict[str, Outcome]) -> None:
        for peer in peers:
            outcome = outcomes[peer.name]
            if outcome.failed:
                continue
            with self._failing(outcome), ExitStack() as stack:
                server = running.get(peer.name) or stack.enter_context(serving(peer, self.place))
                outcome.samples.append(row.measure(Stage(server, self.scale, self.place, self.load_binary)))

    @contextmanager
    def _failing(self, outcome: Outcome) -> Iterator[None]:
        try:
            yield
        except FAULTS as fault:
            outcome.failed = str(fault) or type(fault).__name__


def turned(items: Sequence[Item], by: int) -> list[Item]:
    """The items in another order each round, so that none is always the first."""
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder that is wiped in the end."""
    place = Path(tempfile.mkdtemp(prefix="tus-bench-", dir=parent))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
