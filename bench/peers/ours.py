"""This server, as the checkout's own environment runs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.peers.base import Absent, Peer

CHECKOUT = Path(__file__).resolve().parents[2]
BINARY = CHECKOUT / ".venv" / "bin" / "tusd-py"


class TusdPy(Peer):
    """Default settings and default logging but for the number of processes; `extra` for a variant."""

    ours = True

    def __init__(self, name: str = "tusd-py", extra: tuple[str, ...] = (), processes: int = 1) -> None:
        self.name, self.extra, self.processes = name, extra, processes
        self.knows_processes = True

    def prepare(self, home: Path) -> str:
        if not BINARY.exists():
            raise Absent("`make install` has not been run")
        self.knows_processes = "--processes" in _said("serve", "--help")
        if self.processes > 1 and not self.knows_processes:
            raise Absent("this version has no --processes")
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty"], check=False, cwd=CHECKOUT, capture_output=True, text=True
        ).stdout.strip()
        return f"{_said('--version').strip().split(' ')[-1]} ({revision})"

    def command(self, port: int, data: Path) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(port), "--ops-listen", "off", "--upload-dir", str(data)]
        processes = ["--processes", str(self.processes)] if self.knows_processes else []
        return [str(BINARY), "serve", *where, *processes, *self.extra]


def _said(*arguments: str) -> str:
    return subprocess.run([str(BINARY), *arguments], check=False, capture_output=True, text=True).stdout


OURS = TusdPy()
OURS_WITHOUT_SYNC = TusdPy("tusd-py os", ("--durability", "os"))
OURS_TWICE = TusdPy("tusd-py x2", processes=2)
