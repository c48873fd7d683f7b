"""OPTIONS: what the server says that it can do."""

from __future__ import annotations

import re

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import BYTES, TUS
from tests.conftest import StartServer

ALL = [
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "checksum",
    "termination",
    "concatenation",
]
BARE = (
    "--no-checksum",
    "--no-termination",
    "--no-creation-defer-length",
    "--no-concatenation",
    "--expire-after",
    "off",
)


@pytest.mark.rule("T128", "T10", "T70")
def test_what_is_switched_off_is_not_announced(server_with: StartServer) -> None:
    """The list follows from the settings."""
    assert server_with(*BARE).options()["Tus-Extension"].split(",") == ["creation", "creation-with-upload"]


@pytest.mark.rule("T37", "T7", "T10", "T6")
def test_options_describes_the_server(server: Server) -> None:
    """The answer is 200, empty, and lists versions and extensions without spaces."""
    answer = server.options()
    assert (answer.status, answer.body) == (200, b"")
    assert answer["Tus-Resumable"] == "1.0.0"
    assert re.fullmatch(r"\d+\.\d+\.\d+(,\d+\.\d+\.\d+)*", answer["Tus-Version"])
    assert "1.0.0" in answer["Tus-Version"].split(",")
    assert re.fullmatch(r"[a-z-]+(,[a-z-]+)*", answer["Tus-Extension"])
    assert "Tus-Max-Size" not in answer


@pytest.mark.rule("T49", "T62", "T70", "T83", "T95", "T100", "T122", "T128", "T129")
def test_a_default_server_offers_what_it_has(server: Server) -> None:
    """Without settings every extension is announced but those that need a switch or trailers."""
    assert sorted(server.options()["Tus-Extension"].split(",")) == sorted(ALL)


@pytest.mark.rule("T117", "T122", "T129")
def test_a_switch_adds_concatenation_unfinished(server_with: StartServer) -> None:
    """concatenation-unfinished is announced once it is switched on."""
    server = server_with("--concatenation-unfinished")
    assert sorted(server.options()["Tus-Extension"].split(",")) == sorted([*ALL, "concatenation-unfinished"])


@pytest.mark.rule("T83", "T85")
def test_checksum_algorithms_are_listed(server: Server) -> None:
    """Tus-Checksum-Algorithm lists lower-case names without spaces, sha1 among them."""
    listed = server.options()["Tus-Checksum-Algorithm"]
    assert re.fullmatch(r"[a-z0-9-]+(,[a-z0-9-]+)*", listed)
    assert set(listed.split(",")) >= {"sha1", "sha256", "sha512", "md5", "crc32"}


@pytest.mark.rule("T38")
@pytest.mark.parametrize("version", ["0.2.2", "junk", "1.0.0"])
def test_the_version_in_the_request_does_not_matter(server: Server, version: str) -> None:
    """OPTIONS is how a client learns the version, so it is never 412."""
    assert server.options(fields={"Tus-Resumable": version}).status == 200


@pytest.mark.rule("T39")
@pytest.mark.parametrize("target", ["{files}", "{bare}", "{upload}", "{files}AAAAAAAAAAAAAAAAAAAAAA", "*"])
def test_options_works_everywhere(server: Server, target: str) -> None:
    """The creation URL, uploads that are there or not, and the server as a whole can be described."""
    where = target.format(files=server.files, bare=server.files.rstrip("/"), upload=server.new(3))
    answer = server.ask("OPTIONS", where)
    assert answer.status == 200
    assert answer["Tus-Version"] == "1.0.0"


@pytest.mark.rule("T39")
def test_options_is_a_preflight(server: Server) -> None:
    """The same answer lets a browser's cross-origin PATCH through."""
    asked = {
        "Origin": "https://app.example.org",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "content-type,tus-resumable,upload-offset",
    }
    answer = server.options(server.new(3), asked)
    assert answer.status == 200
    assert "patch" in answer.listed("Access-Control-Allow-Methods")
    assert {"content-type", "tus-resumable", "upload-offset"} <= answer.listed("Access-Control-Allow-Headers")


@pytest.mark.rule("T130", "T90", "T128")
def test_checksum_switched_off(server_with: StartServer) -> None:
    """Without the checksum extension nothing is announced, and a checksum is refused rather than ignored."""
    server = server_with(*BARE)
    assert "checksum" not in server.options().listed("Tus-Extension")
    assert "Tus-Checksum-Algorithm" not in server.options()
    path = server.new(3)
    assert server.patch(path, 0, b"abc", {"Upload-Checksum": "sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0="}).status == 400
    assert server.offset(path) == 0


@pytest.mark.rule("T130", "T128")
def test_termination_switched_off(server_with: StartServer) -> None:
    """Without the termination extension DELETE is 405 and deletes nothing."""
    server = server_with(*BARE)
    assert "termination" not in server.options().listed("Tus-Extension")
    path = server.new(3)
    answer = server.delete(path)
    assert answer.status == 405
    assert "delete" not in answer.listed("Allow")
    assert server.head(path).status == 200


@pytest.mark.rule("T130", "T62", "T128")
def test_deferred_length_switched_off(server_with: StartServer) -> None:
    """Without the creation-defer-length extension a creation has to know its length."""
    server = server_with(*BARE)
    assert "creation-defer-length" not in server.options().listed("Tus-Extension")
    assert server.create(None, {"Upload-Defer-Length": "1"}).status == 501


@pytest.mark.rule("T130", "T128")
def test_concatenation_switched_off(server_with: StartServer) -> None:
    """Without the concatenation extension neither partial nor final uploads are created."""
    server = server_with(*BARE)
    assert not {"concatenation", "concatenation-unfinished"} & server.options().listed("Tus-Extension")
    for concat in ("partial", f"final;{server.files}AAAAAAAAAAAAAAAAAAAAAA"):
        answer = server.ask("POST", server.files, {**TUS, "Upload-Concat": concat, "Upload-Length": "3"})
        assert (answer.status, answer.code) == (400, "ERR_CONCATENATION_UNSUPPORTED")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_a_method_that_the_creation_url_does_not_know(server: Server, method: str) -> None:
    """The creation URL is there for POST and OPTIONS, and says so."""
    answer = server.ask(method, server.files, {**TUS, "Upload-Offset": "0", "Content-Type": BYTES})
    assert answer.status in (404, 405)
    assert answer.status == 404 or "post" in answer.listed("Allow")
