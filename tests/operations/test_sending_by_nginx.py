"""nginx sends the bytes of downloads, with the location that docs/downloads.md shows."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import ROOT, Server
from tests.acceptance.wire import MIB
from tests.conftest import StartServer
from tests.operations import proxies
from tests.operations.running import Certificate, TlsWire

pytestmark = pytest.mark.slow

ORIGIN = "https://app.example"
SHOWN = re.compile(r"```nginx\n(location /downloads/ .*?)```", re.DOTALL)


def location(server: Server) -> str:
    """The one of the page, with the folder of this server."""
    found = SHOWN.search((ROOT / "docs" / "downloads.md").read_text())
    assert found
    return proxies.put_in(found[1], {"/var/lib/tusd-py/uploads/": f"{server.folder}/uploads/"})


@pytest.fixture
def front(start_server: StartServer, tmp_path: Path) -> Iterator[TlsWire]:
    """A connection to nginx in front of a server that hands its downloads over."""
    server = start_server("--trusted-proxies", "127.0.0.1", "--download-sender", "x-accel-redirect")
    certificate = Certificate.issue(tmp_path, "proxy")
    with proxies.running("nginx", tmp_path, server, certificate, more=location(server)) as port:
        wire = TlsWire(("127.0.0.1", port), certificate.authority)
        wire.files = server.files
        yield wire
        wire.close()


def test_downloads(front: TlsWire) -> None:
    """Whole, in one range, in two and not at all, with everything that guards a browser and lets a page read it."""
    data = os.urandom(20 * MIB)
    name = base64.b64encode("żółw.png".encode()).decode()
    path = front.new(len(data), {"Upload-Metadata": f"filename {name},filetype aW1hZ2UvcG5n"})
    assert front.patch(path, 0, data).status == 204
    whole = front.get(path, {"Origin": ORIGIN})
    assert (whole.status, whole.body) == (200, data)
    assert whole["Content-Type"] == "image/png"
    assert whole["Content-Disposition"].endswith("filename*=UTF-8''%C5%BC%C3%B3%C5%82w.png")
    assert whole["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert whole["X-Content-Type-Options"] == "nosniff"
    assert whole["Access-Control-Allow-Origin"] == "*"
    assert "X-Accel-Redirect" not in whole
    assert front.get(path, {"Range": "bytes=5-9"}).body == data[5:10]
    several = front.get(path, {"Range": "bytes=5-9,1000-1999"})
    assert several.status == 206
    assert data[1000:2000] in several.body
    assert front.get(path, {"If-None-Match": whole["ETag"]}).status == 304


def test_what_is_not_there(front: TlsWire) -> None:
    """Nobody reaches the files but through the server, which still says what is no finished upload."""
    path = front.new(3, body=b"ab")
    assert front.get(path).code == "ERR_INCOMPLETE_UPLOAD"
    assert front.get(path.replace("/files/", "/downloads/")).status == 404
    assert front.patch(path, 2, b"c").offset == 3
    assert front.get(path).body == b"abc"
    assert front.delete(path).status == 204
    assert front.get(path).code == "ERR_UPLOAD_NOT_FOUND"
