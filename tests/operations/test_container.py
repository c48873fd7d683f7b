"""Dockerfile and docker-compose.yml, as far as they can be judged without an engine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.server import PROMISE, ROOT, Server
from tests.acceptance.wire import Wire, eventually
from tests.operations import dockerfile
from tests.operations.dockerfile import named
from tusd_py.config import Options

USER = 1000
PORT = 1080
DATA = "/srv/uploads"

SERVICE_KEYS = {
    "build", "restart", "ports", "volumes", "environment", "stop_grace_period", "read_only", "tmpfs", "cap_drop",
    "security_opt", "ulimits",
}  # fmt: skip


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


# The rules that linters of Dockerfiles have, each for its reason


def test_bases_are_pinned() -> None:
    """No base image is the latest, and all stages have the same, since the environment's Python is that of the base."""
    bases = {instruction.rest.split()[0] for instruction in named("FROM")}
    (base,) = bases
    assert base.partition(":")[2] not in {"", "latest"}


def test_installing_is_reproducible() -> None:
    """pip installs by hashes or without dependencies, and leaves no cache in a layer."""
    commands = [part for run in named("RUN") for part in run.rest.split(" && ") if "pip install" in part]
    assert commands
    assert all("--no-cache-dir" in command for command in commands)
    assert all("--require-hashes" in command or "--no-deps" in command for command in commands)


def test_nothing_runs_as_root() -> None:
    """The last user is a number, so that orchestrators can tell that it is not root."""
    assert named("USER")[-1].rest == f"{USER}:{USER}"
    assert named("USER")[-1].stage == named("FROM")[-1].stage


@pytest.mark.parametrize("name", ["ENTRYPOINT", "CMD", "HEALTHCHECK"])
def test_no_shell_stands_between(name: str) -> None:
    """The exec form: a shell would not pass signals on."""
    (instruction,) = named(name)
    assert all(isinstance(word, str) for word in instruction.words)


def test_only_known_and_safe_instructions() -> None:
    """COPY rather than ADD, absolute folders, and none of what is out of use."""
    names = {instruction.name for instruction in dockerfile.instructions()}
    allowed = "FROM WORKDIR COPY RUN USER ENV VOLUME EXPOSE STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD"
    assert names <= set(allowed.split())
    assert all(instruction.rest.startswith("/") for instruction in named("WORKDIR"))
    assert named("STOPSIGNAL")[0].rest == "SIGTERM"


def copied() -> list[str]:
    return [source for copy in named("COPY") if "--from" not in copy.rest for source in copy.rest.split()[:-1]]


def test_what_is_copied_is_sent() -> None:
    """Everything that is copied exists, and .dockerignore lets it and nothing else through."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line[0] == "!"} == set(copied())
    assert all((ROOT / name).exists() for name in copied())


def test_the_build_has_all_packages() -> None:
    """What pyproject.toml packs and reads is copied before it is built."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = project["tool"]["setuptools"]["package-dir"].values()
    assert {*folders, project["project"]["readme"], "pyproject.toml"} <= set(copied())


def test_image_and_server_agree() -> None:
    """Its variables are options; port and data folder are the same wherever they are named."""
    variables = dockerfile.variables()
    assert {name.removeprefix("TUSD_PY_").lower() for name in variables} <= set(Options.model_fields)
    assert Options.model_fields["port"].default == PORT
    assert named("EXPOSE")[0].rest == str(PORT)
    assert f"'127.0.0.1', {PORT}" in named("HEALTHCHECK")[0].rest
    assert variables["TUSD_PY_UPLOAD_DIR"] == DATA
    assert named("VOLUME")[0].words == [DATA]


# docker-compose.yml


def test_compose_has_known_keys(compose: dict[str, Any]) -> None:
    """One service, whose keys are those of the Compose specification that it needs, and a volume for its data."""
    assert set(compose) == {"services", "volumes"}
    (service,) = compose["services"].values()
    assert set(service) == SERVICE_KEYS
    (mount,) = service["volumes"]
    volume, _, folder = mount.partition(":")
    assert list(compose["volumes"]) == [volume]
    assert folder == DATA


def test_compose_opens_no_door(compose: dict[str, Any]) -> None:
    """Only the upload port is published, to this machine, and nothing can be written but the volume."""
    (service,) = compose["services"].values()
    assert service["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_compose_sets_options(compose: dict[str, Any]) -> None:
    """Its variables are options with values that the server takes."""
    (service,) = compose["services"].values()
    options = {name.removeprefix("TUSD_PY_").lower(): value for name, value in service["environment"].items()}
    assert set(options) <= set(Options.model_fields)
    Options(**options)


def test_the_engine_is_more_patient(compose: dict[str, Any]) -> None:
    """The server has stopped by itself before it would be killed."""
    (service,) = compose["services"].values()
    assert int(service["stop_grace_period"].removesuffix("s")) > Options().shutdown_timeout


# What it runs


def health(python: Path | str, port: int) -> int:
    """The exit code of the health check's command."""
    _, *words = named("HEALTHCHECK")[0].words
    words = [word.replace(f"'127.0.0.1', {PORT}", f"'127.0.0.1', {port}") for word in words]
    return subprocess.run([python, *words], capture_output=True, timeout=30, check=False).returncode


def test_the_health_check(server: Server) -> None:
    """0 where a server answers, 1 where none does."""
    assert health(sys.executable, server.port) == 0
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert health(sys.executable, nobody.getsockname()[1]) == 1


def python_for_all() -> Path:
    """A Python that an ordinary user may run; that of the tests may lie in root's home."""
    candidates = [Path(sys.executable).resolve(), Path("/usr/local/bin/python3"), Path("/usr/bin/python3")]
    usable = [python for python in candidates if python.exists() and _runs_for_all(python)]
    assert usable, "this test needs a Python with venv outside root's home; on Debian: apt-get install python3-venv"
    return usable[0]


def _runs_for_all(python: Path) -> bool:
    test = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([python, "-c", test], user=USER, group=USER, cwd="/", check=False).returncode == 0
    except PermissionError:
        return False


@pytest.fixture
def image() -> Iterator[Path]:
    """A folder that stands for the file system of the image; its user owns it."""
    root = Path(tempfile.mkdtemp(prefix="image-"))
    for name in ("build", "srv", "opt", "home", "bin"):
        (root / name).mkdir()
    (root / "bin" / "python").symlink_to(python_for_all())
    for name in copied():
        source, target = ROOT / name, root / "build" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=lambda _, names: [n for n in names if fnmatch(n, "__pycache__")])
        else:
            shutil.copy(source, target)
    subprocess.run(["chown", "-R", f"{USER}:{USER}", str(root)], check=True)
    yield root
    shutil.rmtree(root)


def inside(image: Path, text: str) -> str:
    """The same with its absolute paths below the folder."""
    return text.replace("/opt/tusd-py", f"{image}/opt/tusd-py").replace(DATA, f"{image}{DATA}")


def environment(image: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    return {**kept, "PATH": f"{image}/bin:/usr/bin:/bin", "HOME": f"{image}/home"}


@pytest.mark.root
def test_its_commands(image: Path) -> None:
    """Its RUN lines, run by an ordinary user, make an environment whose server is healthy, takes an upload and stops
    with exit code 0."""
    for run in named("RUN"):
        command = ["/bin/sh", "-euc", inside(image, run.rest)]
        subprocess.run(command, check=True, cwd=image / "build", env=environment(image), user=USER, group=USER)
    assert not (image / "opt/tusd-py/bin/pip").exists()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = {name: inside(image, value) for name, value in dockerfile.variables().items()}
    own |= {"TUSD_PY_HOST": "127.0.0.1", "TUSD_PY_PORT": str(port), "TUSD_PY_OPS_LISTEN": "off"}
    argv = [inside(image, word) for name in ("ENTRYPOINT", "CMD") for word in named(name)[0].words]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, env={**environment(image), **own}, user=USER, group=USER
    ) as process:
        assert process.stdout is not None
        assert any(PROMISE.match(line) for line in process.stdout)
        eventually(lambda: health(f"{image}/opt/tusd-py/bin/python", port) == 0, "the image is healthy")
        with Wire(("127.0.0.1", port)) as wire:
            path = wire.new(3, body=b"abc")
            assert wire.get(path).body == b"abc"
        process.terminate()
    assert process.returncode == 0
    (kept,) = (image / DATA[1:] / "uploads").iterdir()
    assert (kept.stat().st_uid, kept.read_bytes()) == (USER, b"abc")
