"""What one must know of the machine to read the figures."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
from pathlib import Path


def facts() -> dict[str, str]:
    """Facts by name, in the order to print them."""
    model = _found("/proc/cpuinfo", r"model name\s*: (.*)")
    memory_kib = int(_found("/proc/meminfo", r"MemTotal:\s*(\d+)", "0"))
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "processor": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory_kib / 1024**2:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


def file_system(folder: Path) -> str:
    """The type of the file system that holds the folder."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    holding = [(len(at), kind) for _, at, kind, *_ in mounts if folder.resolve().is_relative_to(at)]
    return max(holding)[1] if holding else "unknown"


def load_average() -> float:
    """Of the last minute: other work on the machine spoils figures."""
    return os.getloadavg()[0]


def _found(file: str, pattern: str, otherwise: str = "unknown") -> str:
    found = re.search(pattern, Path(file).read_text())
    return found[1].strip() if found else otherwise
