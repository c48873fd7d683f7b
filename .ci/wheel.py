"""Build the wheel, install it in an empty environment outside the checkout, and serve one upload from there."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
FILM = secrets.token_bytes(3 << 20)
GREETING = "You can now upload files to: "

INSIDE = """
import importlib.resources, tusd_py.plugins
from tusd_py.config import manual
assert "# upload_dir = " in manual()
package = importlib.resources.files("tusd_py")
schema = [file.name for file in package.joinpath("records", "schema").iterdir()]
assert "0001.sql" in schema, schema
assert package.joinpath("py.typed").is_file()
assert not str(package).startswith({root!r}), package
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tusd-py-wheel-") as folder:
        elsewhere = Path(folder)
        python = install(build(elsewhere), elsewhere / "venv")
        run(python, "-c", INSIDE.format(root=str(ROOT)), cwd=elsewhere)
        with serving(python.with_name("tusd-py"), elsewhere) as url:
            upload_and_compare(url)
    print("The wheel holds plugins, manual and schema, and served an upload.")


def build(folder: Path) -> Path:
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # setuptools would pack what an older build has left there
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.whl"))


def install(wheel: Path, environment: Path) -> Path:
    """The Python of a new environment with the wheel and just what requirements.lock names."""
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--require-hashes", "--requirement", ROOT / "requirements.lock")
    run(*pip, "--no-deps", wheel)
    return python


@contextlib.contextmanager
def serving(command: Path, folder: Path) -> Iterator[str]:
    """The URL that the server says it can be reached at."""
    argv = [command, "serve", "--port", "0", "--ops-listen", "off", "--upload-dir", folder / "data"]
    with subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, text=True, env=plain_environment()) as server:
        assert server.stdout is not None
        try:
            greeting = next((line for line in server.stdout if line.startswith(GREETING)), None)
            if greeting is None:
                raise SystemExit(f"the server did not start; it ended with {server.wait()}")
            yield greeting.removeprefix(GREETING).strip()
        finally:
            server.terminate()
    if server.returncode != 0:
        raise SystemExit(f"the server ended with {server.returncode}")


def upload_and_compare(url: str) -> None:
    """Create, append twice, download: the same bytes come back."""
    half = len(FILM) // 2
    tus = {"Tus-Resumable": "1.0.0"}
    created, _ = exchange("POST", url, {**tus, "Upload-Length": str(len(FILM))})
    location = created["Location"]
    for offset, piece in ((0, FILM[:half]), (half, FILM[half:])):
        fields = {**tus, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        exchange("PATCH", location, fields, piece)
    _, film = exchange("GET", location, {})
    if film != FILM:
        raise SystemExit("the bytes that came back are not those that were sent")


def exchange(method: str, url: str, fields: dict[str, str], body: bytes = b"") -> tuple[http.client.HTTPMessage, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, parts.path, body, fields)
        response = connection.getresponse()
        if response.status >= 300:
            raise SystemExit(f"{method} {url}: {response.status} {response.read().decode()}")
        return response.headers, response.read()


def plain_environment() -> dict[str, str]:
    """Nothing that could lead back into the checkout, or configure the server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TUSD_PY_"))}


def run(*command: str | Path, cwd: Path | None = None, stdout: int | None = None) -> None:
    subprocess.run(command, check=True, cwd=cwd, stdout=stdout, env=plain_environment())


if __name__ == "__main__":
    main()
