"""This server, as the checkout's own environment runs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.peers.base import Absent, Peer

CHECKOUT = Path(__file__).resolve().parents[2]
BINARY = CHECKOUT / ".venv" / "bin" / "tusd-py"


class TusdPy(Peer):
    """Default settings and default logging; `extra` for a variant."""

    ours = True

    def __init__(self, name: str = "tusd-py", extra: tuple[str, ...] = ()) -> None:
        self.name, self.extra = name, extra

    def prepare(self, home: Path) -> str:
        if not BINARY.exists():
            raise Absent("`make install` has not been run")
        done = subprocess.run([str(BINARY), "--version"], check=False, capture_output=True, text=True)
        revision = subprocess.run(
            ["git", "describe", "--always", "--dirty"], check=False, cwd=CHECKOUT, capture_output=True, text=True
        ).stdout.strip()
        return f"{done.stdout.strip().split(' ')[-1]} ({revision})"

    def command(self, port: int, data: Path) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(port), "--ops-listen", "off", "--upload-dir", str(data)]
        return [str(BINARY), "serve", *where, *self.extra]


OURS = TusdPy()
OURS_WITHOUT_SYNC = TusdPy("tusd-py os", ("--durability", "os"))
