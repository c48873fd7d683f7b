"""Clean up now, or see what would go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tusd_py.operating.api import Api
from tusd_py.operating.telling import Teller

GROUPS = {
    "expired": "unfinished and silent for too long",
    "retired": "finished and kept for long enough",
    "forgotten": "records of uploads that expired or failed long ago",
    "left_over": "bytes of an earlier run that no record names",
    "spared": "bytes without a record, kept since a restore found them",
    "failed": "could not be removed; the next round tries again",
}


def sweep(api: Api, teller: Teller, *, dry_run: bool) -> int:
    """Returns 1 if something could not be removed."""
    report = api.ask("POST", "/sweep", [("dry_run", "true")] if dry_run else [])
    teller.tell(report, lambda told: "\n".join(_lines(told)))
    return 1 if report["failed"]["count"] else 0


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield "would remove:" if report["dry_run"] else "removed:"
    for name, meaning in GROUPS.items():
        group = report[name]
        if name not in ("spared", "failed") or group["count"]:
            yield f"{group['count']:8}  {name.replace('_', ' ')}: {meaning}"
            yield from (f"{'':10}{id}" for id in group["ids"])
            if group["count"] > len(group["ids"]):
                yield f"{'':10}and {group['count'] - len(group['ids'])} more"
