"""What this server must reach, as bounds beside a peer, beside `cp`, or by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.peers.ours import OURS, OURS_TWICE
from bench.rounds import Outcome

CP = "cp"
NOT_SLOWER = 0.95  # medians of the same server differ by as much from run to run


@dataclass(frozen=True)
class Must:
    """`server`'s `metric` of `row` is at least (or at most) `bound` times the peer's; without a peer `bound` itself."""

    row: str
    metric: str
    at_least: bool
    bound: float
    beside: str = ""
    server: str = OURS.name

    @property
    def demand(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.bound:.3g} x {self.beside}" if self.beside else f"{sign} {self.bound:.3g}"


@dataclass(frozen=True)
class Verdict:
    """`reached` is the ratio to the peer, or the figure itself; None when one side was not measured."""

    must: Must
    reached: float | None

    @property
    def met(self) -> bool | None:
        if self.reached is None:
            return None
        return self.reached >= self.must.bound if self.must.at_least else self.reached <= self.must.bound

    @property
    def word(self) -> str:
        return {True: "met", False: "NOT MET", None: "not measured"}[self.met]


def pair(row: str, peer: str, rate: float, cpu: float) -> tuple[Must, Must]:
    """At least `rate` times the peer's rate for at most `cpu` times its CPU."""
    return Must(row, "rate", True, rate, peer), Must(row, "cpu", False, cpu, peer)


def twice(row: str, metric: str, at_least: bool, bound: float, beside: str = "") -> Must:
    """The same of this server with two processes."""
    return Must(row, metric, at_least, bound, beside, OURS_TWICE.name)


RUSTUS, TUS_NODE, TUSD, NGINX = "rustus", "@tus/server", "tusd", "nginx"
ALL: tuple[Must, ...] = (
    *pair("patch", RUSTUS, 1.7, 0.55),
    *pair("patch", TUS_NODE, 1.9, 0.4),
    *pair("four", RUSTUS, 1.2, 0.63),
    *pair("four", TUS_NODE, 2.0, 0.4),
    *pair("creation-8", RUSTUS, 0.4, 1.8),
    *pair("creation-8", TUS_NODE, 3.5, 0.25),
    *pair("creation-32", RUSTUS, 0.4, 1.8),
    *pair("creation-32", TUS_NODE, 3.5, 0.25),
    *pair("head-8", RUSTUS, 0.55, 1.4),
    *pair("head-8", TUS_NODE, 4.0, 0.22),
    *pair("head-32", RUSTUS, 0.55, 1.4),
    *pair("head-32", TUS_NODE, 4.0, 0.22),
    Must("stalled", "kib", False, 24),
    Must("takeover", "ms", False, 5),
    Must("concat", "ms", False, 1 / 3, TUSD),
    Must("concat", "ms", False, 1.2, CP),
    Must("download", "cpu", False, 1.5, NGINX),
    Must("growth", "mib", False, 5),
    twice("creation-32", "rate", True, 0.6, RUSTUS),
    twice("creation-32", "rate", True, 1.4, OURS.name),
    twice("head-32", "rate", True, 0.85, RUSTUS),
    twice("head-32", "rate", True, 1.25, OURS.name),
    twice("patch", "rate", True, NOT_SLOWER, OURS.name),
    twice("four", "rate", True, NOT_SLOWER, OURS.name),
    twice("across", "ms", False, 5),
    twice("idle", "each_mib", False, 45),
)


def judge(outcomes: Mapping[str, Mapping[str, Outcome]], musts: Iterable[Must] = ALL) -> list[Verdict]:
    """A verdict for each must whose row was run; `outcomes` by row and server."""
    return [Verdict(must, _reached(must, outcomes[must.row])) for must in musts if must.row in outcomes]


def _reached(must: Must, row: Mapping[str, Outcome]) -> float | None:
    ours = _median(row, must.server, must.metric)
    if not must.beside or ours is None:
        return ours
    if must.beside == CP:
        theirs = _median(row, must.server, f"cp_{must.metric}")
    else:
        theirs = _median(row, must.beside, must.metric)
    return ours / theirs if theirs else None


def _median(row: Mapping[str, Outcome], server: str, metric: str) -> float | None:
    return row[server].median(metric) if server in row else None
