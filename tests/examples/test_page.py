"""The page of examples/uppy in a real browser, with an upload that is cut in each of the ways there are."""

from __future__ import annotations

import hashlib
import http.server
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.acceptance.cutting_proxy import CuttingProxy
from tests.acceptance.server import ROOT, Server
from tests.acceptance.wire import MIB, eventually
from tests.conftest import StartServer
from tests.examples.webdriver import Browser
from tests.operations import proxies

pytestmark = pytest.mark.browser

SIZE = 24 * MIB + 123
RATE = 8 * MIB  # bytes a second, so that there is a middle
PICTURES = ROOT / "build" / "pictures"
INPUT = "input[type=file]:not([webkitdirectory])"
LINKS = "return [...document.querySelectorAll('#finished a')].map((link) => link.href)"

CREATE = """
const headers = { 'Tus-Resumable': '1.0.0', 'Upload-Length': '3' }
return fetch(arguments[0], { method: 'POST', headers }).then((answer) => answer.status)
"""
AROUND = """
window.upload = () => new Promise(async (saveForm, tell) => {
  const file = document.querySelector('input').files[0]
  const show = (part) => console.log(part)
  SCRIPT
})
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page as `make example` builds and serves it, from an origin of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    log = tmp_path_factory.mktemp("make") / "log"
    programs = Path(sys.executable).parent  # where the development lock puts npm, if the machine has none
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:{programs}"}
    command = ["make", "--no-print-directory", "example", f"ARGS={port}"]
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment) as make:
        eventually(lambda: make.poll() is not None or _answers(port), "the page is served", within=120)
        assert make.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}/"
        make.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A file that no other test has uploaded, so that the page knows nothing of it."""
    path = tmp_path / "holidays.mp4"
    path.write_bytes(random.Random(os.urandom(8)).randbytes(SIZE))
    return path


def begin(browser: Browser, page_url: str, endpoint: str, film: Path) -> None:
    """Choose the file on a page that was just opened; it is uploaded at once, slowly."""
    browser.go(f"{page_url}?{urlencode({'endpoint': endpoint})}")
    browser.slow_down(RATE)
    browser.choose(INPUT, film)


def until_middle(server: Server) -> Path:
    """Wait until some of the only upload is kept; gives its file."""
    folder = server.folder / "uploads"
    eventually(lambda: sum(path.stat().st_size for path in folder.iterdir()) > 4 * MIB, "some of it is kept")
    (kept,) = folder.iterdir()
    assert kept.stat().st_size < SIZE
    return kept


def until_finished(browser: Browser) -> str:
    """Let it run; gives the URL that the page shows when it is done."""
    browser.full_speed()
    eventually(lambda: browser.script(LINKS) != [], "the page says that it is finished", within=60)
    (url,) = browser.script(LINKS)
    return str(url)


def arrived(server: Server, url: str, film: Path) -> bool:
    """Whether the upload holds the file and went on each time: nothing else was ever created."""
    answer = server.get("/" + url.split("/", 3)[3])
    assert len(list((server.folder / "uploads").iterdir())) == 1
    return hashlib.sha256(answer.body).digest() == hashlib.sha256(film.read_bytes()).digest()


@pytest.mark.rule("T20", "T28")
def test_the_server_is_killed(start_server: StartServer, browser: Browser, page_url: str, film: Path) -> None:
    """An upload goes on by itself after `kill -9` of the server, from what was kept."""
    server = start_server()
    begin(browser, page_url, server.url, film)
    kept = until_middle(server)
    take_picture(browser)
    server.kill()
    at_the_kill = kept.stat().st_size
    server.restart()
    assert arrived(server, until_finished(browser), film)
    assert sent_again(server, kept.name) <= SIZE - at_the_kill


def take_picture(browser: Browser) -> None:
    """For docs/, whoever wants a new one."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / "uppy.png").write_bytes(browser.picture())


def sent_again(server: Server, id: str) -> int:
    """How many bytes the last PATCH brought."""
    eventually(lambda: f"method=PATCH path=/files/{id} status=204" in server.log, "the last PATCH is logged")
    line = next(line for line in reversed(server.log.splitlines()) if f"method=PATCH path=/files/{id}" in line)
    return int(line.partition("received=")[2].split()[0])


def test_the_page_is_left(start_server: StartServer, browser: Browser, page_url: str, film: Path) -> None:
    """After a reload the same file, chosen again, goes on where it stopped."""
    server = start_server()
    begin(browser, page_url, server.url, film)
    kept = until_middle(server)
    browser.reload()
    before = kept.stat().st_size
    browser.choose(INPUT, film)
    assert arrived(server, until_finished(browser), film)
    assert sent_again(server, kept.name) <= SIZE - before


def test_the_page_must_be_allowed(
    server: Server, server_with: StartServer, browser: Browser, page_url: str, film: Path
) -> None:
    """A page may upload where its origin is listed, or any is; elsewhere the browser tells it of a failure only."""
    browser.go(page_url)
    browser.full_speed()
    allowing = server_with("--cors-allow-origins", page_url.rstrip("/"))
    refusing = server_with("--cors-allow-origins", "https://app.example")
    assert [browser.promise(CREATE, each.url) for each in (server, allowing, refusing)] == [
        201,
        201,
        "TypeError: Failed to fetch",
    ]


@pytest.fixture
def snippet_url(page_url: str, server: Server, tmp_path: Path) -> Iterator[str]:
    """A page with the script that docs/moving-from-a-chunk-endpoint.md shows, and an input to choose a file by."""
    text = (ROOT / "docs" / "moving-from-a-chunk-endpoint.md").read_text()
    shown = proxies.put_in(text.split("```js\n")[1].split("```")[0], {"https://uploads.example.org/files/": server.url})
    imports, _, script = shown.partition("\n\n")
    (tmp_path / "source.js").write_text(f"{imports}\n{AROUND.replace('SCRIPT', script)}")
    (tmp_path / "index.html").write_text('<input type="file"><script src="page.js"></script>')
    packages = ROOT / "examples" / "uppy" / "node_modules"
    esbuild = [str(packages / ".bin" / "esbuild"), "source.js", "--bundle", "--outfile=page.js"]
    subprocess.run(esbuild, check=True, cwd=tmp_path, env={**os.environ, "NODE_PATH": str(packages)}, timeout=60)
    serve = partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{site.server_address[1]}/"
        site.shutdown()


def test_the_script_for_pages_of_ones_own(server: Server, browser: Browser, snippet_url: str, film: Path) -> None:
    """It uploads the chosen file under its name, and hands its URL over when all is there."""
    browser.go(snippet_url)
    browser.full_speed()
    browser.choose("input", film)
    url = browser.promise("return upload()")
    answer = server.get("/" + str(url).split("/", 3)[3])
    assert answer.body == film.read_bytes()
    assert film.name in answer["Content-Disposition"]


def test_the_network_cuts(start_server: StartServer, browser: Browser, page_url: str, film: Path) -> None:
    """An upload comes through three cut connections."""
    server = start_server()
    with CuttingProxy((server.host, server.port), [5 * MIB, 10 * MIB, 15 * MIB]) as proxy:
        begin(browser, page_url, proxy.url(server.files), film)
        url = until_finished(browser)
        assert proxy.cuts_made == 3
    assert arrived(server, url, film)
