"""The configurations in examples/ for nginx and Caddy, with the real programs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import MIB, Fields
from tests.conftest import StartServer
from tests.operations import proxies
from tests.operations.running import Certificate, TlsWire

pytestmark = pytest.mark.slow

ORIGIN = "https://app.example"
FORGED: Fields = {
    "Forwarded": "host=evil.example;proto=http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-For": "203.0.113.66",
}


class Front:
    """What clients reach: the proxy's address, and the server behind it."""

    def __init__(self, server: Server, port: int, certificate: Certificate) -> None:
        self.server = server
        self.origin = f"https://127.0.0.1:{port}"
        self._address = ("127.0.0.1", port)
        self._certificate = certificate

    def connect(self, prefix: str = "") -> TlsWire:
        wire = TlsWire(self._address, self._certificate.authority)
        wire.files = f"{prefix}/files/"
        return wire


TRUST = "--trusted-proxies 127.0.0.1"
SOCKET = "--unix-socket tusd.sock"  # whoever reaches it is trusted


@pytest.fixture(params=[f"{name} {flag}" for name in proxies.COMMANDS for flag in (TRUST, SOCKET)])
def front(request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path) -> Iterator[Front]:
    name, *options = request.param.split()
    server = start_server(*options)
    certificate = Certificate.issue(tmp_path, "proxy")
    with proxies.running(name, tmp_path, server, certificate) as port:
        yield Front(server, port, certificate)


@pytest.mark.parametrize("prefix", ["", "/team"])
def test_the_url_is_the_public_one(front: Front, prefix: str) -> None:
    """Scheme, host, port and path of Location are those that the client used, whatever it claims besides."""
    for claims in ({}, FORGED):
        with front.connect(prefix) as wire:
            answer = wire.create(3, claims, b"abc")
            assert answer["Location"].startswith(f"{front.origin}{prefix}/files/")
            assert wire.head(answer.path).status == 200
    assert front.server.terminate() == 0
    assert "203.0.113.66" not in front.server.log


def test_nothing_is_held_back(front: Front) -> None:
    """Half of a body has arrived before the rest is sent; after a cut it goes on there; a large body passes."""
    data = os.urandom(48 * MIB)
    with front.connect("/team") as wire:
        path = wire.new(len(data))
        wire.begin_patch(path, 0, len(data), data[: 4 * MIB])
        front.server.until_offset(path.removeprefix("/team"), 4 * MIB)
        wire.reset()
    with front.connect("/team") as wire:
        offset = wire.offset(path)
        assert offset == 4 * MIB
        assert wire.patch(path, offset, data[offset:]).offset == len(data)
        assert (front.server.folder / "uploads" / path.rpartition("/")[2]).read_bytes() == data
        assert wire.get(path, {"Range": "bytes=100-199"}).body == data[100:200]


def test_errors_pass_as_they_are(front: Front) -> None:
    """A body that is refused early is answered with our status, not with one of the proxy's."""
    with front.connect() as wire:
        path = wire.new(20 * MIB, body=bytes(1000))
        answer = wire.patch(path, 7, bytes(MIB))
        assert (answer.status, answer.code, answer.offset) == (409, "ERR_MISMATCHED_OFFSET", 1000)
    with front.connect() as wire:
        assert wire.head("/files/absent").status == 404


def test_cors_is_there_once(front: Front) -> None:
    """A browser would refuse a header that both of them add."""
    with front.connect() as wire:
        preflight = wire.options(
            fields={"Origin": ORIGIN, "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "x"}
        )
        assert preflight["Access-Control-Allow-Origin"] == "*"
        assert "patch" in preflight.listed("Access-Control-Allow-Methods")
        created = wire.create(3, {"Origin": ORIGIN}, b"abc")
        assert created["Access-Control-Allow-Origin"] == "*"
        assert "location" in created.listed("Access-Control-Expose-Headers")


def test_the_request_id_of_the_proxy_is_ours(front: Front) -> None:
    """One id names a request in both logs."""
    with front.connect() as wire:
        id = wire.options()["X-Request-ID"]
    assert len(id) >= 32
    assert front.server.terminate() == 0
    assert f"request_id={id}" in front.server.log
