"""examples/systemd/tusd-py.service without systemd: its commands, with what systemd would give them."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import PROCESSES, ROOT
from tusd_py.config import Options

UNIT = ROOT / "examples" / "systemd" / "tusd-py.service"
PROGRAM = "/opt/tusd-py/bin/tusd-py"
CONFIG = "/etc/tusd-py/tusd.toml"


def setting(name: str) -> str:
    """The value of a setting that the unit has once."""
    (value,) = [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{name}=")]
    return value


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket on which it listens for what a service tells."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20)
        yield listener


def test_its_commands(tmp_path: Path, systemd: socket.socket) -> None:
    """ExecStart starts the server with the manual as its configuration, ExecReload makes it read that again, and
    SIGTERM ends it."""
    (tmp_path / "tusd.toml").write_text((ROOT / "config" / "tusd.toml").read_text())
    given = {"STATE_DIRECTORY": str(tmp_path / "state"), "NOTIFY_SOCKET": str(tmp_path / "notify")}
    own = {"TUSD_PY_PORT": "0", "TUSD_PY_OPS_LISTEN": "off", "TUSD_PY_PROCESSES": PROCESSES, "PYTHONPATH": str(ROOT)}
    start = setting("ExecStart").replace("${STATE_DIRECTORY}", given["STATE_DIRECTORY"])
    start = start.replace(CONFIG, str(tmp_path / "tusd.toml"))
    assert start.startswith(f"{PROGRAM} ")
    command = [sys.executable, "-m", "tusd_py", *shlex.split(start)[1:]]
    with subprocess.Popen(
        command, env={**os.environ, **given, **own}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        assert setting("Type") == "notify"
        assert systemd.recv(256) == b"READY=1"
        assert (tmp_path / "state" / "uploads").is_dir()
        reload = setting("ExecReload").replace("$MAINPID", str(process.pid))
        subprocess.run(shlex.split(reload), check=True)
        assert systemd.recv(256).startswith(b"RELOADING=1\n")
        assert systemd.recv(256) == b"READY=1"
        process.terminate()
    assert process.returncode == 0


def test_systemd_is_the_more_patient() -> None:
    """It kills later than the server stops by itself, and allows the descriptors that all connections may need."""
    options = Options()
    assert int(setting("TimeoutStopSec").removesuffix("s")) > options.shutdown_timeout
    assert int(setting("LimitNOFILE")) >= 3 * options.max_connections
