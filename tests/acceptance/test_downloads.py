"""Downloads from the real command: what a page and a person get, and what the operator decides."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import MIB, Fields
from tests.conftest import StartServer
from tests.operations.running import reload
from tests.web.stage import pattern


def told(**values: str) -> Fields:
    """The metadata of an upload."""
    pairs = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())
    return {"Upload-Metadata": ",".join(pairs)}


def test_large(server: Server) -> None:
    """A large upload comes back whole, and from where a cut connection left it."""
    data = pattern(1, 20 * MIB)
    path = server.new(len(data), body=data)
    wire = server.connect()
    whole = wire.get(path)
    assert whole.body == data
    rest = wire.get(path, {"Range": f"bytes={7 * MIB}-", "If-Range": whole["ETag"]})
    assert (rest.status, rest.body) == (206, data[7 * MIB :])
    assert wire.head(path).offset == len(data)


def test_a_page_of_another_origin(server: Server) -> None:
    """It may ask for ranges and read what is told of them."""
    preflight = server.options(fields={"Origin": "https://a.example", "Access-Control-Request-Method": "GET"})
    assert preflight.listed("Access-Control-Allow-Headers") >= {"range", "if-range", "if-none-match"}
    answer = server.get(server.new(3, body=b"abc"), {"Origin": "https://a.example", "Range": "bytes=1-"})
    assert answer.listed("Access-Control-Expose-Headers") >= {"content-range", "etag", "content-disposition"}


@pytest.mark.rule("T59", "T61")
def test_name_and_type(server: Server) -> None:
    """Those that were uploaded with it, made harmless."""
    answer = server.get(server.new(3, told(filename="../żółw\u202e.png", filetype="image/png"), b"abc"))
    assert (
        answer["Content-Disposition"] == "attachment; filename=\"zo_w.png\"; filename*=UTF-8''%C5%BC%C3%B3%C5%82w.png"
    )
    assert answer["Content-Type"] == "image/png"
    svg = server.get(server.new(3, told(name="a.svg", type="image/svg+xml"), b"abc"))
    assert svg["Content-Type"] == "application/octet-stream"


def test_switched_off(server_with: StartServer) -> None:
    """Where files are only taken in, GET is no method of an upload."""
    server = server_with("--no-downloads")
    answer = server.get(server.new(3, body=b"abc"))
    assert (answer.status, answer["Allow"]) == (405, "HEAD, PATCH, DELETE, OPTIONS")


def test_decided_anew(start_server: StartServer, tmp_path: Path) -> None:
    """SIGHUP takes over types and sender."""
    file = tmp_path / "tusd.toml"
    file.write_text('download_types = ["text/*"]\n')
    server = start_server("--config", str(file))
    path = server.new(3, told(type="text/plain"), b"abc")
    assert server.get(path)["Content-Type"] == "text/plain"
    file.write_text('download_types = []\ndownload_sender = "x-sendfile"\ndownload_prefix = "/srv"\n')
    reload(server)
    answer = server.get(path)
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["X-Sendfile"] == path.replace("/files/", "/srv/")
