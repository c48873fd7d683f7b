"""What a run found, as JSON and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.musts import Must, Verdict
from bench.peers import OURS
from bench.rounds import Outcome
from bench.rows.base import Metric, Row

Outcomes = Mapping[str, Mapping[str, Outcome]]


@dataclass(frozen=True)
class Section:
    """The rows that were run on one file system."""

    title: str
    rows: Sequence[Row]
    outcomes: Outcomes


@dataclass(frozen=True)
class Report:
    command: str
    facts: Mapping[str, str]
    versions: Mapping[str, str]
    left_out: Mapping[str, str]
    rounds: int
    quick: bool
    sections: Sequence[Section]
    verdicts: Sequence[Verdict]

    def as_json(self) -> dict[str, Any]:
        """Every sample, so that others may judge by other means than medians."""
        return {
            "command": self.command,
            "machine": dict(self.facts),
            "versions": dict(self.versions),
            "left_out": dict(self.left_out),
            "rounds": self.rounds,
            "quick": self.quick,
            "sections": {section.title: _samples(section) for section in self.sections},
            "musts": [_judged(verdict) for verdict in self.verdicts],
        }

    def as_markdown(self) -> str:
        """Tables of medians, the musts, and what made them."""
        parts = [self._made_by()]
        parts += [f"## {section.title}\n\n{table(section)}" for section in self.sections]
        if self.verdicts:
            parts.append(f"## What must be reached\n\n{verdict_table(self.verdicts, self.sections[0].rows)}")
        return "\n\n".join(parts) + "\n"

    def _made_by(self) -> str:
        lines = [f"Made by `{self.command}`; medians of {self.rounds} rounds" + (", a quick run" if self.quick else "")]
        lines += [f"{name}: {fact}" for name, fact in self.facts.items()]
        lines += [f"{name}: {version}" for name, version in self.versions.items()]
        lines += [f"{name}: left out, {why}" for name, why in self.left_out.items()]
        return "\n".join(f"- {line}" for line in lines)


def table(section: Section) -> str:
    """A line for each metric, a column for each server; reasons of failures below."""
    servers = list(dict.fromkeys(name for row in section.outcomes.values() for name in row))
    lines = ["| measure | " + " | ".join(servers) + " |", "|---|" + "---:|" * len(servers)]
    notes = []
    for row in section.rows:
        outcomes = section.outcomes[row.key]
        for metric in row.metrics:
            cells = (cell(outcomes.get(server), metric) for server in servers)
            lines.append(f"| {row.title}, {metric.title} | " + " | ".join(cells) + " |")
        notes += [f"- {row.title}, {name}: failed: {found.failed}" for name, found in outcomes.items() if found.failed]
        notes += [f"- {row.title}, {name}: {said}" for name, found in outcomes.items() if (said := remark(found))]
    return "\n".join([*lines, "", *notes] if notes else lines)


def cell(outcome: Outcome | None, metric: Metric) -> str:
    """A median with the digits of its metric, "failed", or "-" where nothing was measured."""
    if outcome is None:
        return "-"
    if outcome.failed:
        return "failed"
    if (median := outcome.median(metric.key)) is None:
        return "-"
    return f"{median:,.{metric.digits}f}"


def remark(outcome: Outcome) -> str:
    """What a takeover's time does not tell: that nothing got through, or that no lock was there to pass on."""
    if outcome.failed or outcome.median("through") is None:
        return ""
    if not outcome.median("through"):
        return "nothing got through; the time is the cap"
    return "" if outcome.median("old_ended") else "no lock: the stalled PATCH goes on beside the second"


def verdict_table(verdicts: Sequence[Verdict], rows: Sequence[Row]) -> str:
    titles = {(row.key, metric.key): f"{row.title}, {metric.title}" for row in rows for metric in row.metrics}
    lines = ["| measure | must | reached | |", "|---|---|---:|---|"]
    for verdict in verdicts:
        title = titles.get((verdict.must.row, verdict.must.metric), verdict.must.row)
        title += "" if verdict.must.server == OURS.name else f" ({verdict.must.server})"
        lines.append(f"| {title} | {verdict.must.demand} | {_reached(verdict)} | {verdict.word} |")
    return "\n".join(lines)


def _reached(verdict: Verdict) -> str:
    if verdict.reached is None:
        return "-"
    return f"{verdict.reached:.2f} x" if verdict.must.beside else f"{verdict.reached:.1f}"


def _samples(section: Section) -> dict[str, Any]:
    return {
        row: {name: {"samples": found.samples, "failed": found.failed} for name, found in outcomes.items()}
        for row, outcomes in section.outcomes.items()
    }


def _judged(verdict: Verdict) -> dict[str, Any]:
    must: Must = verdict.must
    return {
        "row": must.row,
        "server": must.server,
        "metric": must.metric,
        "demand": must.demand,
        "reached": verdict.reached,
        "met": verdict.met,
    }
