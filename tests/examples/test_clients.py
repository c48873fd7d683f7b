"""The clients of examples/: killed after a cut, and run again."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import node
from tests.acceptance.cutting_proxy import CuttingProxy
from tests.acceptance.server import ROOT, Server
from tests.acceptance.wire import MIB, eventually

EXAMPLES = ROOT / "examples"
SIZE = 5 * MIB + 321
CUTS = range(2 * MIB, 2 * MIB + 60_000, 3000)  # those that try again at once do not get far before they are killed


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(random.Random(11).randbytes(SIZE))
    return path


def node_command(folder: Path) -> list[str]:
    """The example among its packages; Node looks for them beside the file."""
    packages = node.installed(EXAMPLES / "node", "upload.mjs")
    return [*node.program("node"), str(packages / "upload.mjs")]


def python_command(folder: Path) -> list[str]:
    return [sys.executable, str(EXAMPLES / "python" / "upload.py")]


def curl_command(folder: Path) -> list[str]:
    return [str(EXAMPLES / "curl" / "upload.sh")]


COMMANDS = {"node": (node_command, CUTS), "python": (python_command, CUTS[:1]), "curl": (curl_command, CUTS[:1])}


@pytest.mark.rule("T20", "T28")
@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_command_goes_on(server: Server, name: str, film: Path, tmp_path: Path) -> None:
    """A client that was killed in the middle of a file goes on with the same upload when it is run again."""
    make_command, cuts = COMMANDS[name]
    before = len(server.log)
    with CuttingProxy((server.host, server.port), cuts) as proxy:
        command = [*make_command(tmp_path), str(film), proxy.url(server.files)]
        kill_after_a_cut(command, proxy, tmp_path)
        url = node.run(command, tmp_path).split()[-1]
    answer = server.get("/" + url.split("/", 3)[3])
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(film.read_bytes()).digest()
    assert 'filename="film.mp4"' in answer["Content-Disposition"]
    assert creations(server, before, url) == 1


def creations(server: Server, before: int, url: str) -> int:
    """How many uploads were created since then; the download of the last one is logged after them."""
    path = "/" + url.split("/", 3)[3]
    eventually(lambda: f"method=GET path={path}" in server.log, "the download is logged")
    return server.log[before:].count("method=POST")


def kill_after_a_cut(command: Sequence[str], proxy: CuttingProxy, folder: Path) -> None:
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: proxy.cuts_made > 0, "the wire is cut")
        process.kill()
    assert process.returncode == -9
