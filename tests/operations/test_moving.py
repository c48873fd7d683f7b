"""The pages about moving here from other servers."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import ROOT
from tests.acceptance.wire import TUS
from tests.conftest import StartServer
from tests.operations import proxies
from tests.operations.running import Certificate, TlsWire
from tusd_py.config import Options

PAGES = {"moving-from-tusd.md": "127.0.0.1:8080", "moving-from-tus-node-server.md": "127.0.0.1:3000"}
SHOWN = re.compile(r"^ *```nginx\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
OLD = "0123456789abcdef0123456789abcdef"


def text(page: str) -> str:
    return (ROOT / "docs" / page).read_text()


@pytest.mark.parametrize("page", PAGES)
def test_the_options_exist(page: str) -> None:
    """What stands beside an option of the other server is one of ours, and no option of theirs occurs twice."""
    table = re.search(r"^## (?:Flags|Options)$(.*?)^## ", text(page), re.DOTALL | re.MULTILINE)
    assert table
    rows = [line.split("|")[1:3] for line in table[1].splitlines() if line.startswith("|")]
    theirs = [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]
    ours = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row[1])}
    assert len(theirs) == len(set(theirs)) > 10
    assert ours - set(Options.model_fields) == set()


class Another(http.server.BaseHTTPRequestHandler):
    """A server that has an upload which it began."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Upload-Offset", "4711")
        self.send_header("X-Path", self.path)
        self.send_header("X-Seen-Host", self.headers["X-Forwarded-Host"])
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def another() -> Iterator[str]:
    """Its address."""
    with http.server.HTTPServer(("127.0.0.1", 0), Another) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_old_uploads_go_to_the_old_server(page: str, another: str, start_server: StartServer, tmp_path: Path) -> None:
    """With the location that the page shows, its uploads are found there, and ours here."""
    shown = SHOWN.search(text(page))
    assert shown
    more = proxies.put_in(shown[1], {PAGES[page]: another})
    certificate = Certificate.issue(tmp_path, "proxy")
    server = start_server("--trusted-proxies", "127.0.0.1")
    with (
        proxies.running("nginx", tmp_path, server, certificate, more=more) as port,
        TlsWire(("127.0.0.1", port), certificate.authority) as wire,
    ):
        old = wire.ask("HEAD", f"/files/{OLD}", TUS)
        assert (old.offset, old["X-Path"], old["X-Seen-Host"]) == (4711, f"/files/{OLD}", f"127.0.0.1:{port}")
        assert wire.offset(wire.new(3, body=b"ab")) == 2
