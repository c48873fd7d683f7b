"""Real clients, over a network that breaks."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tusclient.client import TusClient

from tests import node
from tests.acceptance.cutting_proxy import CuttingProxy
from tests.acceptance.server import Server
from tests.acceptance.wire import MIB, eventually
from tests.conftest import StartServer

LOCKED = Path(__file__).parent / "node"
SIZE = 5 * MIB + 321
CUTS = [100_000, MIB, 3 * MIB, 5 * MIB]
RETRIES = {"retryDelays": [0, 20, 50, 100, 200, 400]}


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A file in which no two places look alike."""
    path = tmp_path / "film.mp4"
    path.write_bytes(random.Random(7).randbytes(SIZE))
    return path


@pytest.fixture
def proxy(server: Server) -> Iterator[CuttingProxy]:
    with CuttingProxy((server.host, server.port), CUTS) as proxy:
        yield proxy


def arrived(server: Server, url: str | None, film: Path) -> bool:
    """Whether the upload at `url`, which may lead through a proxy, holds the file."""
    assert url
    answer = server.get("/" + url.split("/", 3)[3])
    return answer.status == 200 and hashlib.sha256(answer.body).digest() == hashlib.sha256(film.read_bytes()).digest()


# tuspy


@pytest.fixture
def stream(film: Path) -> Iterator[BinaryIO]:
    """The file, open: tuspy does not close what it opens itself."""
    with film.open("rb") as stream:
        yield stream


def test_tuspy(server: Server, film: Path, stream: BinaryIO) -> None:
    """tuspy uploads a file in chunks, with its metadata."""
    client = TusClient(server.url)
    uploader = client.uploader(file_stream=stream, chunk_size=MIB, metadata={"filename": "film.mp4"})
    uploader.upload()
    assert arrived(server, uploader.url, film)


@pytest.mark.rule("T84")
def test_tuspy_with_checksums(server: Server, film: Path, stream: BinaryIO) -> None:
    """tuspy sends a sha1 with each chunk if told so."""
    uploader = TusClient(server.url).uploader(file_stream=stream, chunk_size=2 * MIB, upload_checksum=True)
    uploader.upload()
    assert arrived(server, uploader.url, film)


@pytest.mark.rule("T28", "T41")
def test_tuspy_over_cuts(server: Server, proxy: CuttingProxy, film: Path, stream: BinaryIO) -> None:
    """tuspy comes through a network that loses its connection four times."""
    client = TusClient(proxy.url(server.files))
    uploader = client.uploader(file_stream=stream, chunk_size=MIB, retries=8, retry_delay=0)
    uploader.upload()
    assert proxy.cuts_made == len(CUTS)
    assert arrived(server, uploader.url, film)


@pytest.mark.slow
@pytest.mark.rule("T20", "T28")
def test_tuspy_goes_on_after_kill_9(start_server: StartServer, film: Path, stream: BinaryIO) -> None:
    """A second run of the client finds, after a crash of the server, where the first one stopped."""
    server = start_server()
    first = TusClient(server.url).uploader(file_stream=stream, chunk_size=MIB)
    first.upload(stop_at=2 * MIB)
    server.restart()
    second = TusClient(server.url).uploader(file_stream=stream, chunk_size=MIB, url=first.url)
    assert second.offset == 2 * MIB
    second.upload()
    assert arrived(server, first.url, film)


# tus-js-client


@pytest.fixture(scope="session")
def npm_folder() -> Path:
    """Where the locked packages are installed."""
    return node.installed(LOCKED, "upload.mjs")


@pytest.fixture(params=["tus-js-client", "tus-js-client-5"])
def library(request: pytest.FixtureRequest) -> str:
    """The deployed version, and the next one, which sends chunked bodies."""
    name: str = request.param
    return name


def js_upload(folder: Path, library: str, endpoint: str, file: Path, **options: Any) -> dict[str, Any]:
    asked = {"library": library, "endpoint": endpoint, "file": str(file), "abortAt": options.pop("abortAt", None)}
    asked = {name: value for name, value in asked.items() if value is not None} | {"options": {**RETRIES, **options}}
    outcome: dict[str, Any] = json.loads(node.run([*node.program("node"), "upload.mjs", json.dumps(asked)], folder))
    return outcome


@pytest.mark.rule("T26", "T74")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunkSize": MIB},
        {"uploadDataDuringCreation": True},
        {"uploadDataDuringCreation": True, "chunkSize": 2 * MIB},
        {"overridePatchMethod": True},
        {"metadata": {"filename": "żółw.mp4", "empty": ""}},
        {"addRequestId": True},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_tus_js_client(server: Server, npm_folder: Path, library: str, film: Path, options: dict[str, Any]) -> None:
    """Each way of sending that tus-js-client knows arrives."""
    assert arrived(server, js_upload(npm_folder, library, server.url, film, **options)["url"], film)


@pytest.mark.rule("T28", "T41", "T42")
def test_tus_js_client_over_cuts(
    server: Server, proxy: CuttingProxy, npm_folder: Path, library: str, film: Path
) -> None:
    """tus-js-client comes through a network that loses its connection four times."""
    outcome = js_upload(npm_folder, library, proxy.url(server.files), film)
    assert proxy.cuts_made == len(CUTS)
    assert outcome["retries"] >= len(CUTS)
    assert arrived(server, outcome["url"], film)


@pytest.mark.rule("T101", "T102", "T103", "T115")
def test_tus_js_client_in_parallel_over_cuts(
    server: Server, proxy: CuttingProxy, npm_folder: Path, library: str, film: Path
) -> None:
    """Four parts at once, each cut now and then, become one file."""
    outcome = js_upload(npm_folder, library, proxy.url(server.files), film, parallelUploads=4)
    assert proxy.cuts_made == len(CUTS)
    assert arrived(server, outcome["url"], film)


@pytest.mark.rule("T51")
def test_tus_js_client_with_an_empty_file(server: Server, npm_folder: Path, library: str, tmp_path: Path) -> None:
    """An empty file is uploaded with its creation."""
    empty = tmp_path / "empty"
    empty.touch()
    assert arrived(server, js_upload(npm_folder, library, server.url, empty)["url"], empty)


@pytest.mark.rule("T96", "T97")
def test_tus_js_client_cancels(server: Server, npm_folder: Path, library: str, film: Path) -> None:
    """A cancelled upload is deleted, and exactly 404 afterwards."""
    outcome = js_upload(npm_folder, library, server.url, film, abortAt=MIB, chunkSize=MIB)
    assert outcome["aborted"]
    eventually(lambda: server.get("/" + outcome["url"].split("/", 3)[3]).status == 404, "the upload is gone")


# curl


@pytest.mark.rule("T45", "T26", "T52")
def test_curl(server: Server, film: Path, tmp_path: Path) -> None:
    """Two curl commands, one of them asking for 100 Continue, are a whole upload."""
    curl = ["curl", "--silent", "--show-error", "--fail", "--dump-header", "-", "--header", "Tus-Resumable: 1.0.0"]
    created = node.run([*curl, "--request", "POST", "--header", f"Upload-Length: {SIZE}", server.url], tmp_path)
    url = next(line.split(": ")[1] for line in created.splitlines() if line.lower().startswith("location"))
    label = ["--header", "Upload-Offset: 0", "--header", "Content-Type: application/offset+octet-stream"]
    patched = node.run(
        [*curl, *label, "--header", "Expect: 100-continue", "--request", "PATCH", "--upload-file", str(film), url],
        tmp_path,
    )
    assert "100 Continue" in patched
    assert f"upload-offset: {SIZE}" in patched.lower()
    assert arrived(server, url, film)
