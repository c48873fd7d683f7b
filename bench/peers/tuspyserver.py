"""tuspyserver, in Python: from PyPI in an environment of its own, under uvicorn with uvloop and httptools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.peers.base import Peer, run

APP = Path(__file__).with_name("tuspyserver_app.py")


class Tuspyserver(Peer):
    name = "tuspyserver"
    root = "/files"

    def __init__(self) -> None:
        self.python = Path()

    def prepare(self, home: Path) -> str:
        self.python = home / "tuspyserver" / "bin" / "python"
        if not self.python.exists():
            run([sys.executable, "-m", "venv", str(self.python.parents[1])], home, "python -m venv")
        if not self._version():
            run([str(self.python), "-m", "pip", "install", "tuspyserver", "uvicorn[standard]"], home, "pip install")
        return self._version()

    def command(self, port: int, data: Path) -> list[str]:
        """-P: beside the script lies a module of the package's name."""
        return [str(self.python), "-P", str(APP), str(port), str(data)]

    def _version(self) -> str:
        ask = "from importlib.metadata import version; print(version('tuspyserver'))"
        return subprocess.run([str(self.python), "-c", ask], check=False, capture_output=True, text=True).stdout.strip()
