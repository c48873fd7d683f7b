"""Browsers of other origins: what they may send and read, on successes and on errors."""

from __future__ import annotations

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import TUS, Fields, patch_fields
from tests.conftest import StartServer

ORIGIN = "https://app.example.org"
EXPOSED = {
    "upload-offset", "location", "upload-length", "upload-defer-length", "upload-metadata", "upload-expires",
    "upload-concat", "upload-complete", "upload-incomplete", "upload-limit", "upload-draft-interop-version",
    "tus-version", "tus-resumable", "tus-max-size", "tus-extension", "tus-checksum-algorithm", "etag",
    "retry-after", "content-disposition",
}  # fmt: skip
SENT = {
    "tus-resumable", "upload-offset", "upload-length", "upload-defer-length", "upload-metadata", "upload-concat",
    "upload-checksum", "x-http-method-override", "content-type", "authorization", "x-requested-with", "x-request-id",
    "x-csrf-token", "upload-complete", "upload-incomplete", "upload-draft-interop-version",
}  # fmt: skip
PREFLIGHT: Fields = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "content-type,tus-resumable,upload-offset",
}


@pytest.mark.rule("T39")
def test_a_preflight_lists_what_clients_send(server: Server) -> None:
    """Every method and field of the protocol is allowed by name."""
    answer = server.options(fields=PREFLIGHT)
    assert answer.status == 200
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert {"post", "head", "patch", "options", "get", "delete"} <= answer.listed("Access-Control-Allow-Methods")
    assert answer.listed("Access-Control-Allow-Headers") >= SENT
    assert int(answer["Access-Control-Max-Age"]) > 0
    assert answer["Tus-Resumable"] == "1.0.0"


@pytest.mark.rule("T39", "T6")
@pytest.mark.parametrize(
    ("method", "target", "fields", "status"),
    [
        ("POST", "{files}", {**TUS, "Upload-Length": "3"}, 201),
        ("HEAD", "{upload}", TUS, 200),
        ("PATCH", "{upload}", patch_fields(0), 204),
        ("DELETE", "{upload}", TUS, 204),
        ("GET", "{finished}", {}, 200),
        ("POST", "{files}", TUS, 400),
        ("HEAD", "{files}AAAAAAAAAAAAAAAAAAAAAA", TUS, 404),
        ("PATCH", "{upload}", patch_fields(5), 409),
        ("PATCH", "{upload}", {**patch_fields(0), "Tus-Resumable": "9"}, 412),
        ("PATCH", "{upload}", {**patch_fields(0), "Content-Type": "a/b"}, 415),
        ("PATCH", "{upload}", {**patch_fields(0), "Upload-Checksum": "sha1 AAAA"}, 460),
        ("PUT", "{upload}", TUS, 405),
        ("GET", "/nothing", {}, 404),
    ],
)
def test_every_response_can_be_read(server: Server, method: str, target: str, fields: Fields, status: int) -> None:
    """A page sees status and fields of successes and of errors alike; otherwise it would see a network error."""
    where = target.format(files=server.files, upload=server.new(3), finished=server.new(3, body=b"abc"))
    answer = server.ask(method, where, {**fields, "Origin": ORIGIN})
    assert answer.status == status
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert answer.listed("Access-Control-Expose-Headers") >= EXPOSED
    assert "Access-Control-Allow-Credentials" not in answer


def test_an_early_error_can_be_read(impatient: Server) -> None:
    """An answer that ends a running body carries the same fields."""
    wire = impatient.connect()
    wire.begin("PATCH", impatient.new(10), {**patch_fields(0), "Content-Length": "10", "Origin": ORIGIN}, b"abc")
    answer = wire.answer()
    assert (answer.status, answer["Access-Control-Allow-Origin"]) == (423, "*")
    assert answer.listed("Access-Control-Expose-Headers") >= EXPOSED


LISTED = ("--cors-allow-origins", f"{ORIGIN},https://other.example:8443")
MORE = ("--cors-allow-headers", "X-Tenant", "--cors-expose-headers", "X-Result,X-More")
GENEROUS = (*LISTED, "--cors-allow-credentials", *MORE)


@pytest.mark.parametrize("origin", [ORIGIN, "https://other.example:8443"])
def test_a_listed_origin_is_echoed(server_with: StartServer, origin: str) -> None:
    """With a list the answer names the origin that asked, and says that it depends on it."""
    server = server_with(*LISTED)
    for answer in (server.create(3, {"Origin": origin}), server.options(fields={**PREFLIGHT, "Origin": origin})):
        assert answer["Access-Control-Allow-Origin"] == origin
        assert "origin" in answer.listed("Vary")


@pytest.mark.rule("T6", "T44")
@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{ORIGIN}.evil.example", "http://app.example.org", f"{ORIGIN}:444", "null"]
)
def test_another_origin_is_refused(server_with: StartServer, origin: str) -> None:
    """A page of another origin gets 403 and does nothing."""
    server = server_with(*LISTED)
    path = server.new(3)
    answer = server.patch(path, 0, b"abc", {"Origin": origin})
    assert (answer.status, answer.code) == (403, "ERR_ORIGIN_NOT_ALLOWED")
    assert answer["Tus-Resumable"] == "1.0.0"
    assert "origin" in answer.listed("Vary")
    assert "Access-Control-Allow-Origin" not in answer
    assert server.offset(path) == 0


def test_who_sends_no_origin_is_no_browser(server_with: StartServer) -> None:
    """Other clients are served, and caches are told that browsers would see something else."""
    answer = server_with(*LISTED).create(3)
    assert answer.status == 201
    assert "origin" in answer.listed("Vary")


def test_credentials_need_the_origin_by_name(server_with: StartServer) -> None:
    """With credentials nothing is `*`: the exact origin is echoed on the preflight, successes and errors."""
    server = server_with(*GENEROUS)
    for answer in (
        server.options(fields=PREFLIGHT),
        server.create(3, {"Origin": ORIGIN}),
        server.create(None, {"Origin": ORIGIN}),
    ):
        assert answer["Access-Control-Allow-Origin"] == ORIGIN
        assert answer["Access-Control-Allow-Credentials"] == "true"
        assert "origin" in answer.listed("Vary")
        assert "*" not in {value for name, value in answer.fields if name.lower().startswith("access-control")}


def test_more_fields_by_setting(server_with: StartServer) -> None:
    """A page may be allowed to send and read fields of its own."""
    server = server_with(*GENEROUS)
    assert "x-tenant" in server.options(fields=PREFLIGHT).listed("Access-Control-Allow-Headers")
    assert (
        server.create(3, {"Origin": ORIGIN}).listed("Access-Control-Expose-Headers") >= {"x-result", "x-more"} | EXPOSED
    )


def test_a_proxy_may_do_it_alone(server_with: StartServer) -> None:
    """With CORS switched off no such field is sent, so that a proxy's are not doubled, and no origin is refused."""
    server = server_with("--no-cors")
    for answer in (server.create(3, {"Origin": ORIGIN}), server.options(fields=PREFLIGHT)):
        assert answer.status in (200, 201)
        assert not [name for name, _ in answer.fields if name.lower().startswith("access-control")]


def test_preflights_need_nothing(server: Server) -> None:
    """A preflight carries neither version nor credentials, and no upload has to be there."""
    answer = server.options(server.files + "A" * 22, {**PREFLIGHT, "Access-Control-Request-Method": "DELETE"})
    assert answer.status == 200
