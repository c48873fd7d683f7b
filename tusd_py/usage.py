"""What the processes of the server use together: CPU time, memory, descriptors, read from /proc at a scrape.

The CPU time of processes that have ended is that of the parent's children that it has waited for, so the sum never
goes back. Memory is the sum of what each has resident: pages that they share are counted once for each.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from prometheus_client import Metric, ProcessCollector

CPU: Final = "process_cpu_seconds"
START: Final = "process_start_time_seconds"
ATTEMPTS: Final = 3  # to read without a process ending meanwhile, which would be counted twice or not at all


def usage(pids: Sequence[int], parent: int | None) -> list[Metric]:
    """Prometheus' `process_` metrics, of these processes together and of those that `parent` has outlived."""
    for _ in range(ATTEMPTS):
        before = _outlived(parent)
        metrics = [metric for pid in pids for metric in _of(pid)]
        if _outlived(parent) == before:
            break
    return [_together(name, before, metrics) for name in dict.fromkeys(metric.name for metric in metrics)]


def _of(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()


def _together(name: str, outlived: float, metrics: Sequence[Metric]) -> Metric:
    alike = [metric for metric in metrics if metric.name == name]
    values = [sample.value for metric in alike for sample in metric.samples]
    value = min(values) if name == START else sum(values) + (outlived if name == CPU else 0)
    [sample] = alike[0].samples
    alike[0].samples = [sample._replace(value=value)]
    return alike[0]


def _outlived(parent: int | None) -> float:
    """CPU seconds of children that it has waited for."""
    if parent is None:
        return 0.0
    try:
        fields = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it is gone, and its workers are about to follow
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
