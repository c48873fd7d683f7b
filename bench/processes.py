"""What a server costs: CPU seconds and resident memory of its whole process tree, read from Linux."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
SCHEDULER_CLOCK = 2
LISTENING = "0A"  # in /proc/net/tcp


@dataclass
class Spent:
    """Filled when the measured block ends."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


def tree(root: int) -> list[int]:
    """`root` and all its living descendants."""
    children = _children_of_all()
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, ()))
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of the tree, children that have ended and were waited for included."""
    return sum(_own_cpu_seconds(pid) + _reaped_cpu_seconds(pid) for pid in tree(root))


def resident_kib(root: int) -> int:
    """Resident memory of the tree; pages that processes share are counted in each."""
    return sum(_resident_pages(pid) for pid in tree(root)) * PAGE_KIB


def proportional_kib(pid: int) -> float:
    """Memory of one process; of pages that it shares with others only its part."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    [line] = [line for line in rollup.splitlines() if line.startswith("Pss:")]
    return float(line.split()[1])


def serving(pids: Sequence[int], port: int, client_port: int) -> int | None:
    """Which of the processes has the server's end of this connection on 127.0.0.1; None if it is not there."""
    inode = _inode(port, client_port)
    return next((pid for pid in pids if f"socket:[{inode}]" in _open_files(pid)), None)


@contextmanager
def spending(root: int) -> Iterator[Spent]:
    """Wall-clock and CPU seconds of the tree during the block."""
    spent = Spent()
    cpu, start = cpu_seconds(root), time.perf_counter()
    yield spent
    spent.seconds = time.perf_counter() - start
    spent.cpu_seconds = cpu_seconds(root) - cpu


def stat_fields(text: str) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on: a command's name may hold blanks and brackets."""
    return text.rpartition(")")[2].split()


def _children_of_all() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    return children


def _stat(pid: int) -> list[str]:
    try:
        return stat_fields(Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return []


def _own_cpu_seconds(pid: int) -> float:
    """utime + stime without their rounding to ticks of 10 ms: the process's own CPU clock (clock_getcpuclockid(3))."""
    try:
        return time.clock_gettime((~pid << 3) | SCHEDULER_CLOCK)
    except OSError:
        fields = _stat(pid)
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND if fields else 0.0


def _reaped_cpu_seconds(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) / TICKS_PER_SECOND if fields else 0.0


def _inode(port: int, client_port: int) -> str:
    """Of the socket between these ports; addresses in /proc/net/tcp are hexadecimal, the local one first."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] != LISTENING and fields[1].endswith(f":{port:04X}") and fields[2].endswith(f":{client_port:04X}"):
            return fields[9]
    return ""


def _open_files(pid: int) -> set[str]:
    links = Path(f"/proc/{pid}/fd").iterdir()
    return {target for link in links if (target := _target(link))}


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""  # closed meanwhile


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
