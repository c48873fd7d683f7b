"""rustus, in Rust: `RUSTUS_BINARY`, or built by cargo."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.peers.base import MANY, Absent, Peer, run

VERSION = "0.5.10"


class Rustus(Peer):
    name = "rustus"
    root = "/files"

    def __init__(self) -> None:
        self.binary = os.environ.get("RUSTUS_BINARY", "")

    def prepare(self, home: Path) -> str:
        if not self.binary:
            self.binary = str(self._built(home / "rustus"))
        done = subprocess.run([self.binary, "--version"], check=False, capture_output=True, text=True)
        return done.stdout.strip().split(" ")[-1]

    def command(self, port: int, data: Path) -> list[str]:
        """Its limit for a body (256 KiB) must be raised: it takes no larger PATCH otherwise."""
        where = ["--host", "127.0.0.1", "--port", str(port), "--data-dir", str(data), "--info-dir", str(data)]
        return [self.binary, *where, "--max-body-size", MANY]

    def _built(self, home: Path) -> Path:
        binary = home / "bin" / "rustus"
        if not binary.exists():
            if not (cargo := shutil.which("cargo")):
                raise Absent("neither cargo nor RUSTUS_BINARY is there")
            install = [cargo, "install", "rustus", "--version", VERSION, "--locked", "--root", str(home)]
            run(install, home, "cargo install rustus")
        return binary
