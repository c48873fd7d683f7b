"""Each symptom of docs/troubleshooting.md, from its cause, and gone by what the page advises."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.server import ROOT, Server
from tests.acceptance.wire import MIB, TUS, Fields, Wire, patch_fields
from tests.conftest import StartServer
from tests.operations import proxies
from tests.operations.running import Certificate, TlsWire

PAGE = ROOT / "docs" / "troubleshooting.md"
ORIGIN = "https://app.example"
TRUST = ("--trusted-proxies", "127.0.0.1")

PARTICULAR = ("--cors-allow-origins", ORIGIN, "--cors-allow-headers", "X-Api-Key", "--base-path", "/")

Behind = Callable[..., TlsWire]


@pytest.fixture
def behind_nginx(tmp_path: Path) -> Iterator[Behind]:
    """`behind_nginx(server, changes)`: a connection to nginx with the example's lines changed like that."""
    certificate = Certificate.issue(tmp_path, "proxy")
    with ExitStack() as stack:

        def behind(server: Server, instead: dict[str, str] | None = None, more: str = "") -> TlsWire:
            folder = tmp_path / f"nginx-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            running = proxies.running("nginx", folder, server, certificate, instead=instead, more=more)
            port = stack.enter_context(running)
            wire = TlsWire(("127.0.0.1", port), certificate.authority)
            stack.callback(wire.close)
            return wire

        yield behind


CORS = "The browser speaks of CORS"


@pytest.mark.slow
@pytest.mark.symptom(CORS)
def test_two_that_allow(start_server: StartServer, behind_nginx: Behind) -> None:
    """A proxy that adds the header as well makes it two, which browsers refuse; one of them must be silent."""
    more = 'add_header Access-Control-Allow-Origin "*" always;'
    fields: Fields = {**TUS, "Origin": ORIGIN, "Upload-Length": "3"}
    with behind_nginx(start_server(*TRUST), more=more) as wire:
        assert wire.ask("POST", wire.files, fields).all("Access-Control-Allow-Origin") == ["*", "*"]
    with behind_nginx(start_server(*TRUST, "--no-cors"), more=more) as wire:
        assert wire.ask("POST", wire.files, fields).all("Access-Control-Allow-Origin") == ["*"]
    with behind_nginx(start_server(*TRUST)) as wire:
        assert wire.ask("POST", wire.files, fields).all("Access-Control-Allow-Origin") == ["*"]


@pytest.mark.symptom(CORS)
def test_an_origin_that_is_not_listed(server_with: StartServer) -> None:
    """Scheme, host and port have to be those of the page, to the letter."""
    server = server_with(*PARTICULAR)
    for origin, status in (("https://www.app.example", 403), ("http://app.example", 403), (ORIGIN, 201)):
        answer = server.create(3, {"Origin": origin})
        assert answer.status == status
        assert (answer.get("Access-Control-Allow-Origin") == origin) == (status == 201)
        assert status == 201 or answer.code == "ERR_ORIGIN_NOT_ALLOWED"


@pytest.mark.symptom(CORS)
def test_a_header_of_ones_own(server: Server, server_with: StartServer) -> None:
    """A header that is not of the protocol is allowed once it is listed."""
    asked: Fields = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key",
    }
    assert "x-api-key" not in server.options(fields=asked).listed("Access-Control-Allow-Headers")
    listing = server_with(*PARTICULAR)
    assert "x-api-key" in listing.options(fields=asked).listed("Access-Control-Allow-Headers")


LOCATION = "`Location` has the wrong scheme or host"


@pytest.mark.slow
@pytest.mark.symptom(LOCATION)
def test_the_proxy_is_not_trusted(start_server: StartServer, behind_nginx: Behind) -> None:
    """Without trust a page of https:// is sent to http://; with it, or a fixed URL, or a path only, it is not."""
    ways = {
        (): "http://{host}/files/",
        TRUST: "https://{host}/files/",
        ("--public-url", "https://uploads.example.org"): "https://uploads.example.org/files/",
        ("--path-only-location",): "/files/",
    }
    for options, begins in ways.items():
        with behind_nginx(start_server(*options)) as wire:
            assert wire.create(3)["Location"].startswith(begins.format(host=wire.host))


NOT_FOUND = "Every request answers 404"


@pytest.mark.symptom(NOT_FOUND)
def test_a_path_that_was_taken_away(server: Server, server_with: StartServer) -> None:
    """A proxy that cuts off /files asks for /, where nothing is unless base_path says so."""
    assert server.ask("POST", "/", {**TUS, "Upload-Length": "3"}).code == "ERR_NOT_FOUND"
    at_the_root = server_with(*PARTICULAR)
    assert at_the_root.ask("POST", "/", {**TUS, "Upload-Length": "3"}).status == 201


TOO_LARGE = "413"


@pytest.mark.slow
@pytest.mark.symptom(TOO_LARGE)
def test_whose_413_it_is(start_server: StartServer, behind_nginx: Behind) -> None:
    """That of nginx has no Tus-Resumable and comes at 1 MiB unless it is told otherwise; ours has a code."""
    server = start_server(*TRUST, "--max-size", "8MiB")
    unlimited = (
        "    client_max_body_size 0;  # max_size of the server decides, and tells clients; the default here is 1 MiB\n"
    )
    with behind_nginx(server, {unlimited: ""}) as wire:
        path = wire.new(2 * MIB)
        answer = wire.patch(path, 0, bytes(2 * MIB))
        assert (answer.status, "Tus-Resumable" in answer) == (413, False)
    with behind_nginx(server) as wire:
        assert wire.patch(path, 0, bytes(2 * MIB)).offset == 2 * MIB
        answer = wire.create(9 * MIB)
        assert (answer.status, answer.code, answer["Tus-Resumable"]) == (413, "ERR_MAX_SIZE_EXCEEDED", "1.0.0")


BUFFERED = "Progress is quick, then nothing moves, and a cut loses everything"


@pytest.mark.slow
@pytest.mark.symptom(BUFFERED)
def test_a_proxy_that_collects(start_server: StartServer, behind_nginx: Behind) -> None:
    """Half of a body is lost with the connection if the proxy waits for the whole, and kept if it does not."""
    server = start_server(*TRUST)
    kept = {}
    for buffering in ("on", "off"):
        wire = behind_nginx(server, {"proxy_request_buffering off;": f"proxy_request_buffering {buffering};"})
        path = wire.new(8 * MIB)
        wire.begin_patch(path, 0, 8 * MIB, bytes(4 * MIB))
        if buffering == "off":
            server.until_offset(path, 4 * MIB)
        wire.reset()
        kept[buffering] = server.offset(path)
    assert kept == {"on": 0, "off": 4 * MIB}


FROM_ZERO = "Clients start again from 0"


@pytest.mark.symptom(FROM_ZERO)
def test_the_data_folder_is_another(start_server: StartServer) -> None:
    """A server that was started over an empty folder, as a container without a volume is, knows nothing: 404."""
    server = start_server()
    path = server.new(3, body=b"a")
    server.kill()
    server.folder.rename(server.folder.with_name("before"))
    server.restart()
    answer = server.patch(path, 1, b"bc")
    assert (answer.status, answer.code) == (404, "ERR_UPLOAD_NOT_FOUND")
    assert server.head(path).status == 404


@pytest.mark.symptom(FROM_ZERO)
def test_the_upload_has_expired(server_with: StartServer) -> None:
    """The date was in Upload-Expires; afterwards the answer is 410."""
    server = server_with("--expire-after", "1ms")
    created = server.create(3, body=b"a")
    assert "Upload-Expires" in created
    answer = server.patch(created.path, 1, b"bc")
    assert (answer.status, answer.code) == (410, "ERR_UPLOAD_EXPIRED")


@pytest.mark.symptom(FROM_ZERO)
def test_the_client_creates_each_time(server: Server) -> None:
    """Nothing of a request but its URL names an upload: the same POST twice is two uploads."""
    assert server.new(3, body=b"a") != server.new(3, body=b"a")


LOCKED = "423"


@pytest.mark.symptom(LOCKED)
def test_a_silent_body(impatient: Server) -> None:
    """A client that stops in the middle of a body hears 423 and when to come back; what it sent is kept."""
    path = impatient.new(10)
    wire = impatient.connect()
    wire.begin("PATCH", path, {**patch_fields(0), "Content-Length": "10"}, b"abc")
    answer = wire.answer()
    assert (answer.status, answer.code) == (423, "ERR_READ_TIMEOUT")
    assert "Retry-After" in answer
    assert impatient.offset(path) == 3


@pytest.mark.symptom(LOCKED)
def test_two_at_once(server: Server) -> None:
    """Whoever comes second goes on, and the first hears 423: two clients with the same URL take turns for ever."""
    path = server.new(10)
    first = server.connect()
    first.begin("PATCH", path, {**patch_fields(0), "Content-Length": "10"}, b"abc")
    server.until_offset(path, 3)
    with Wire(server.address) as second:
        assert second.patch(path, 3, b"def").offset == 6
    answer = first.answer()
    assert (answer.status, answer.code) == (423, "ERR_UPLOAD_INTERRUPTED")


def test_every_section_is_reproduced() -> None:
    """The symptoms of the page are those of the tests here."""
    tree = ast.parse(Path(__file__).read_text())
    marks = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("symptom")
    ]
    reproduced = {globals()[ast.unparse(mark.args[0])] for mark in marks}
    assert set(re.findall(r"^## (.*)$", PAGE.read_text(), re.MULTILINE)) == reproduced
