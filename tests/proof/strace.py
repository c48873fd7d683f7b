"""A running server under strace: every system call of a kind seen, killed at or made to fail.

strace attaches after the start, so that only what a request causes is counted. It counts the calls of each thread for
itself; a server with one thread of a kind, and looking at one file at a time, leave no call out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.server import Server

FEW_THREADS = ("--byte-threads", "1", "--sync-threads", "1")
ATTACHED = re.compile(r"Process \d+ attached")
PATIENCE = 20.0  # seconds
GRACE = 0.2


class Trace:
    """What strace has written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def lines(self) -> list[str]:
        return self._path.read_text("utf-8", "backslashreplace").splitlines()

    @property
    def injected(self) -> bool:
        """Whether the call in question was reached."""
        return any("(INJECTED)" in line or "+++ killed by SIGKILL" in line for line in self.lines)


@contextmanager
def traced(server: Server, *arguments: str, file: Path | None = None, pid: int | None = None) -> Iterator[Trace]:
    """The server, or one process of it, under strace, for all files or one; it is let go at the end, unless it died."""
    output = server.home / "strace"
    output.write_bytes(b"")
    only = [] if file is None else ["-P", str(file)]
    process = subprocess.Popen(
        [*_command(), "-f", "-y", "-p", str(pid or server.pid), "-o", str(output), *only, *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr:
        first = process.stderr.readline()
        assert ATTACHED.search(first), f"strace may not look at other processes here ({first.strip()}); run it as root"
        try:
            yield Trace(output)
        finally:
            _let_go(process)


def _let_go(process: subprocess.Popen[str]) -> None:
    """It ends by itself when the server has died, where a signal in between can leave both hanging."""
    for say in (process.terminate, process.kill):
        try:
            process.wait(GRACE)
            return
        except subprocess.TimeoutExpired:
            say()
    process.wait(PATIENCE)


def injection(calls: Sequence[str], effect: str, when: int) -> tuple[str, ...]:
    """Arguments for `effect` at the n-th of these calls in any thread."""
    names = ",".join(calls)
    return ("-e", f"trace={names}", "-e", f"inject={names}:{effect}:when={when}")


def _command() -> list[str]:
    found = shutil.which("strace")
    assert found is not None, "these tests need strace: apt-get install strace"
    return [found]
