"""The real command as a process: started, watched, stopped, killed and started again on the same port and folder."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import urlsplit

from tests.acceptance.wire import Address, Answer, Fields, Verbs, Wire, eventually

ROOT = Path(__file__).parent.parent.parent
PROMISE = re.compile(r"^You can now upload files to: (\S+)$", re.MULTILINE)
TROUBLE = re.compile(r"Traceback \(most recent call last\)|ERR_INTERNAL_SERVER_ERROR|never retrieved|never awaited")
PROCESSES = os.environ.get("TUSD_TEST_PROCESSES", "1")  # one starts faster; `make test-processes` takes three
START_PATIENCE = 30.0  # seconds
STOP_PATIENCE = 30.0


class Server(Verbs):
    """One server process. `log` is all that it has written, on both streams; a restart goes on in the same log."""

    command: tuple[str, ...] = ("tusd_py", "serve")
    paths: tuple[Path, ...] = (ROOT,)  # where it finds its modules

    def __init__(self, *options: str, folder: Path | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tus-"))  # short, for the Unix sockets in it
        self.folder = folder or self.home / "data"
        self.arguments = options
        self.errors_expected = False
        self._lines: list[str] = []
        self._said_url = threading.Event()
        self._wires: list[Wire] = []
        self._run("0")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return "".join(self._lines)

    @property
    def trouble(self) -> list[str]:
        """Lines of the log that no run may show."""
        return [] if self.errors_expected else [line for line in self._lines if TROUBLE.search(line)]

    def ask(self, method: str, target: str, fields: Fields | None = None, body: bytes | None = None) -> Answer:
        """One request on a connection of its own."""
        with Wire(self.address, self.files) as wire:
            return wire.ask(method, target, fields, body)

    def connect(self) -> Wire:
        """A connection that is closed at the end of the test."""
        wire = Wire(self.address, self.files)
        self._wires.append(wire)
        return wire

    def disconnect(self) -> None:
        for wire in self._wires:
            wire.close()
        self._wires.clear()

    def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        self._process.terminate()
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        self._process.kill()
        self.wait()

    def wait(self) -> int:
        status = self._process.wait(STOP_PATIENCE)
        self._reader.join(STOP_PATIENCE)
        return status

    def restart(self) -> None:
        """Start again, on the same port and folder; kills the process first if it still runs."""
        if self._process.poll() is None:
            self.kill()
        if not isinstance(self.address, str):
            eventually(self._may_listen, "nobody else was given the port", within=60)
        self._run(str(self.port))

    def _may_listen(self) -> bool:
        """A client of somebody's may have got the port for its end while nobody listened there."""
        with socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((self.host, self.port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                return False
        return True

    def remove(self) -> None:
        """Kill it and delete its folder."""
        self.disconnect()
        if self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def _run(self, port: str) -> None:
        self._said_url.clear()
        self._process = subprocess.Popen(
            [sys.executable, "-m", *self.command, *self._flags(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            cwd=self.home,
            env=_environment(self.paths),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._said_url.wait(START_PATIENCE)
        self._learn_url()

    def _flags(self, port: str) -> list[str]:
        where = ["--port", port, "--ops-listen", "off", "--upload-dir", str(self.folder)]
        return [*where, "--processes", PROCESSES, *self.arguments]

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.append(line)
                if PROMISE.search(line):
                    self._said_url.set()
        self._said_url.set()  # it has ended; whoever waits looks at the log

    def _learn_url(self) -> None:
        found = PROMISE.findall(self.log)
        if not found or self._process.poll() is not None:
            self.remove()
            raise AssertionError(f"the server did not start:\n{self.log}")
        self.url = found[-1]
        on_socket = re.fullmatch(r"unix:(.*):(/.*)", self.url)
        if on_socket:
            self.address: Address = str(self.home / on_socket[1])
            self.files = on_socket[2]
        else:
            parts = urlsplit(self.url)
            self.host, self.port, self.files = parts.hostname or "", parts.port or 80, parts.path
            self.address = (self.host, self.port)


def _environment(paths: tuple[Path, ...]) -> dict[str, str]:
    """Ours, without settings of whoever runs the tests. No certificates of others: aiohttp's client, which no server
    here uses, would read them all at each start."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TUSD_PY_", "PYTHON"))}
    return {**kept, "PYTHONPATH": ":".join(map(str, paths)), "SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
