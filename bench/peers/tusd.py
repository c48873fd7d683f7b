"""tusd, in Go: where `TUSD_BINARY` names it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from bench.peers.base import Absent, Peer


class Tusd(Peer):
    name = "tusd"

    def __init__(self) -> None:
        self.binary = os.environ.get("TUSD_BINARY", "")

    def prepare(self, home: Path) -> str:
        if not self.binary:
            raise Absent("TUSD_BINARY names no binary")
        done = subprocess.run([self.binary, "-version"], check=False, capture_output=True, text=True)
        found = re.search(r"Version: (\S+)", done.stdout)
        return found[1] if found else "of unknown version"

    def command(self, port: int, data: Path) -> list[str]:
        return [self.binary, "-host", "127.0.0.1", "-port", str(port), "-upload-dir", str(data)]
