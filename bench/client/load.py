"""Builds and runs load.c."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.client.wire import Failed

SOURCE = Path(__file__).with_name("load.c")
RESULT = re.compile(r'seconds=(\S+) right=(\d+) wrong=(\d+) reconnects=(\d+) first="(.*)"')


@dataclass(frozen=True)
class Load:
    """What one run counted; `first_wrong` is what the first wrong answer said."""

    seconds: float
    right: int
    wrong: int
    reconnects: int
    first_wrong: str


def build(folder: Path) -> Path | None:
    """The compiled client, or None without a C compiler."""
    binary = folder / "load"
    if binary.exists() and binary.stat().st_mtime >= SOURCE.stat().st_mtime:
        return binary
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-O2", "-o", str(binary), str(SOURCE)], check=True)
    return binary


def parse(line: str) -> Load:
    """The line that load.c prints; Failed when it is none."""
    if not (found := RESULT.search(line)):
        raise Failed(f"the load client said: {line.strip()[:120]}")
    seconds, right, wrong, reconnects, first_wrong = found.groups()
    return Load(float(seconds), int(right), int(wrong), int(reconnects), first_wrong)


@dataclass(frozen=True)
class Loader:
    """The compiled client, aimed at one server; `paths` is the file in which upload paths go from run to run."""

    binary: Path
    host: str
    port: int
    root: str
    paths: Path

    def create(self, connections: int, requests: int, seconds: float, size: int, length: int) -> Load:
        return self._run("create", self.root, connections, requests, seconds, size, length)

    def head(self, connections: int, requests: int, seconds: float, offset: int) -> Load:
        return self._run("head", "-", connections, requests, seconds, offset, 0)

    def delete(self, connections: int) -> Load:
        return self._run("delete", "-", connections, 10**9, 600, 0, 0)

    def _run(self, mode: str, root: str, *figures: float) -> Load:
        command = [str(self.binary), mode, self.host, str(self.port), root, *map(str, figures), str(self.paths)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
        load = parse(done.stdout or done.stderr)
        if load.wrong:
            raise Failed(f"{mode}: {load.wrong} of {load.wrong + load.right} answers wrong, first: {load.first_wrong}")
        return load
