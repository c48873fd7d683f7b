"""What the benchmark knows of a server: how to get it, start it, and where its uploads are."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.client.wire import Answer, Connection, Failed

HOST = "127.0.0.1"
MANY = str(512 * 1024 * 1024)


class Absent(Exception):
    """This server cannot be had here; the sentence is printed and it is left out."""


class Peer(ABC):
    """One server: `prepare` before anything else."""

    name: str
    root = "/files/"
    ours = False
    takes_uploads = True

    @abstractmethod
    def prepare(self, home: Path) -> str:
        """Install it below `home` where it is missing; returns its version. Raises Absent."""

    @abstractmethod
    def command(self, port: int, data: Path) -> list[str]:
        """The command that serves `root` on 127.0.0.1:`port` and stores in `data`."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    peer: Peer
    pid: int
    port: int
    data: Path

    def connect(self, patience: float = 60.0) -> Connection:
        return Connection(HOST, self.port, patience)

    def stored(self, size: int) -> int:
        """How many files of exactly `size` bytes lie in its folder."""
        return sum(
            1
            for folder, _, names in os.walk(self.data)
            for name in names
            if (Path(folder) / name).stat().st_size == size
        )


@contextmanager
def serving(peer: Peer, place: Path) -> Iterator[Server]:
    """The server on a fresh folder below `place`, its output in a file beside it; killed and wiped in the end."""
    home = place / peer.name.replace("/", "-").replace(" ", "-")
    shutil.rmtree(home, ignore_errors=True)
    (home / "data").mkdir(parents=True)
    port = _free_port()
    with (home / "log").open("wb") as log:
        command = peer.command(port, home / "data")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_until_it_answers(process, peer, port, home / "log")
        yield Server(peer, process.pid, port, home / "data")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def run(command: list[str], folder: Path, what: str) -> None:
    """A step of an installation, quietly; Absent with the end of its output when it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise Absent(f"{what} failed: {(done.stderr or done.stdout).strip()[-160:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(process: subprocess.Popen[bytes], peer: Peer, port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            _greet(port, peer.root)
            return
        except (OSError, Failed):
            time.sleep(0.05)
    said = log.read_text(errors="replace").strip().rpartition("\n")[2] or "no word in its log"
    raise Failed(f"it does not start: {said[-160:]}")


def _greet(port: int, root: str) -> Answer:
    with Connection(HOST, port, 2) as connection:
        return connection.ask("OPTIONS", root, {})
