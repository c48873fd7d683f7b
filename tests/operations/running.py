"""What these tests need beside a running server: starts that fail, certificates, connections with TLS."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import trustme

from tests.acceptance.server import PROCESSES, ROOT, Server
from tests.acceptance.wire import Address, Wire, eventually

MIB = 1 << 20
RELOADED = re.compile(r"^\S+ (INFO reloaded|ERROR reload-failed .*)\n", re.MULTILINE)
REFUSAL_PATIENCE = 20.0  # seconds; a start that fails must not hang


class Refusal(NamedTuple):
    """How a start ended that could not succeed."""

    code: int
    sentence: str


FORKS = """
import json, os, sys
from tusd_py import app
from tusd_py.cli import main

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ.update(order["environment"])
        for descriptor, path in ((1, order["out"]), (2, order["err"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), descriptor)
        if order["user"]:
            os.setuid(order["user"])
        sys.exit(main(order["arguments"]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Starter:
    """Tries to start servers that cannot: a process that has loaded the command once, and forks for each try."""

    def __init__(self, folder: Path) -> None:
        self._out, self._err = folder / "out", folder / "err"
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()
        )

    def __call__(
        self, *arguments: str | Path, environment: dict[str, str] | None = None, user: int | None = None
    ) -> Refusal:
        """Try to serve; the process must end by itself and say one sentence on stderr."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        self._out.unlink(missing_ok=True)
        self._err.unlink(missing_ok=True)
        argv = ["serve", "--port", "0", "--ops-listen", "off", "--processes", PROCESSES, *map(str, arguments)]
        order = {"arguments": argv, "environment": environment or {}, "user": user}
        process.stdin.write(json.dumps({**order, "out": str(self._out), "err": str(self._err)}) + "\n")
        process.stdin.flush()
        assert select.select([process.stdout], [], [], REFUSAL_PATIENCE)[0], "a start that failed did not end"
        code = int(process.stdout.readline())
        sentence = self._err.read_text()
        assert self._out.read_text() == ""
        assert sentence.count("\n") == 1
        assert sentence.startswith("tusd-py: ")
        return Refusal(code, sentence.removeprefix("tusd-py: ").rstrip("\n"))

    def close(self) -> None:
        self._process.communicate("")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TUSD_PY_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


class Certificate(NamedTuple):
    """Files of a certificate for localhost, and the authority that signed it."""

    chain: Path
    key: Path
    authority: trustme.CA

    @classmethod
    def issue(cls, folder: Path, name: str) -> Certificate:
        authority = trustme.CA()
        made = authority.issue_cert("127.0.0.1")
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        made.cert_chain_pems[0].write_to_path(chain)
        made.private_key_pem.write_to_path(key)
        return cls(chain, key, authority)

    def replace(self, other: Certificate) -> None:
        """Put the other certificate in the place of this one, as certbot does."""
        self.chain.write_bytes(other.chain.read_bytes())
        self.key.write_bytes(other.key.read_bytes())

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--tls-certificate", str(self.chain), "--tls-key", str(self.key))


class TlsWire(Wire):
    """A connection with TLS that trusts just one authority."""

    def __init__(self, address: Address, authority: trustme.CA) -> None:
        super().__init__(address)
        context = ssl.create_default_context()
        authority.configure_trust(context)
        self._socket = context.wrap_socket(self._socket, server_hostname="127.0.0.1")


def reload(server: Server, *, fails: bool = False) -> str:
    """SIGHUP; returns what is logged until it is done."""
    before = len(server.log)
    os.kill(server.pid, signal.SIGHUP)
    eventually(lambda: RELOADED.search(server.log, before) is not None, "the reload is logged")
    news = server.log[before:]
    assert (" ERROR reload-failed " in news) == fails
    return news
