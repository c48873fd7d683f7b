"""Who asks, and under which URL clients see this server (P4, T54)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_network
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.acceptance.wire import Fields
from tests.web.stage import Stage
from tusd_py.web.forwarded import Locations

Start = Callable[..., Stage]
PROXY = "127.0.0.1"


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """A stage with a policy of its own, shared by the tests that want the same."""
    running: dict[tuple[object, ...], Stage] = {}
    with ExitStack() as stack:

        def started(*trusted: str, public_url: str | None = None, path_only: bool = False) -> Stage:
            key = (trusted, public_url, path_only)
            if key not in running:
                networks = [ip_network(network) for network in trusted]
                locations = Locations("/files/", public_url=public_url, path_only=path_only, trusted_proxies=networks)
                folder = tmp_path_factory.mktemp("forwarded")
                running[key] = Stage(folder, locations=locations)
                stack.callback(running[key].close)
            return running[key]

        yield started


def location(stage: Stage, fields: Fields) -> str:
    """Location without the id."""
    return stage.create(3, {"Host": "direct.example:1080", **fields})["Location"].rpartition("/")[0] + "/"


@pytest.mark.rule("T54")
@pytest.mark.parametrize("trusted", [(PROXY,), ("127.0.0.0/8",), ("10.0.0.0/8", "127.0.0.0/30")])
def test_trusted(start: Start, trusted: tuple[str, ...]) -> None:
    """A proxy in any of the networks is believed."""
    fields: Fields = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "up.example"}
    assert location(start(*trusted), fields) == "https://up.example/files/"


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8",), ("::1/128",)])
def test_not_trusted(start: Start, trusted: tuple[str, ...]) -> None:
    """What anybody else says is ignored."""
    fields: Fields = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "host=evil.example",
    }
    assert location(start(*trusted), fields) == "http://direct.example:1080/files/"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("up.example", "http://up.example/files/"),
        ("up.example:80", "http://up.example/files/"),
        ("up.example:443", "http://up.example:443/files/"),
        ("[::1]:80", "http://[::1]/files/"),
        ("[::1]", "http://[::1]/files/"),
        ("bad host", "/files/"),
        ("a/b", "/files/"),
        ("a@b", "/files/"),
        ("", "/files/"),
    ],
)
def test_host(start: Start, host: str, expected: str) -> None:
    """Without a proxy the Host field tells; where it is no host, Location is a path."""
    assert location(start(), {"Host": host}) == expected


def test_fixed(start: Start) -> None:
    """A public URL, or paths only, come before everything that a request says."""
    fields: Fields = {"X-Forwarded-Host": "up.example", "X-Forwarded-Prefix": "/team"}
    assert location(start(PROXY, public_url="https://cdn.example/up/"), fields) == "https://cdn.example/up/files/"
    assert location(start(PROXY, path_only=True), fields) == "/files/"


def test_forwarded_comes_first(start: Start) -> None:
    """Where both are sent, the standard field counts, and its first element is the client's own proxy."""
    fields: Fields = {
        "Forwarded": "proto=https;host=one.example, proto=http;host=two.example",
        "X-Forwarded-Host": "three.example",
    }
    assert location(start(PROXY), fields) == "https://one.example/files/"
    fields = {"X-Forwarded-Host": "one.example, two.example", "X-Forwarded-Proto": "https,http"}
    assert location(start(PROXY), fields) == "https://one.example/files/"


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(str.strip)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXT, TEXT, TEXT, TEXT, TEXT)
def test_any_nonsense(start: Start, forwarded: str, host: str, proto: str, port: str, prefix: str) -> None:
    """Whatever a proxy sends, the request works and Location is an upload's URL or path, with nothing smuggled in."""
    fields = {"X-Forwarded-Host": host, "X-Forwarded-Proto": proto, "X-Forwarded-Port": port}
    fields |= {"X-Forwarded-Prefix": prefix, "Forwarded": forwarded} if forwarded else {}
    answer = start(PROXY).create(3, {"Host": "direct.example", **fields})
    assert answer.status == 201
    parts = urlsplit(answer["Location"])
    assert parts.scheme in ("http", "https")
    assert parts.hostname
    assert not parts.username
    assert not parts.query + parts.fragment
    assert "/files/" in parts.path
    assert not set(answer["Location"]) & set(" <>\"'\\")


# Who asks


class Peer:
    """What Locations looks at of a request."""

    def __init__(self, peername: object, headers: dict[str, str]) -> None:
        self.protocol = self
        self.peername = peername
        self.ssl_context = None
        self.headers = headers


def client(peer: object, forwarded_for: str | None, *trusted: str) -> str:
    networks = [ip_network(network) for network in trusted]
    locations = Locations("/files/", public_url=None, path_only=False, trusted_proxies=networks)
    headers = {} if forwarded_for is None else {"X-Forwarded-For": forwarded_for}
    return locations.client(Peer(peer, headers))  # type: ignore[arg-type]  # three attributes are all it looks at


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "trusted", "expected"),
    [
        ("192.0.2.1", "203.0.113.9", (), "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", ("10.0.0.0/8",), "192.0.2.1"),
        ("10.0.0.1", "203.0.113.9", ("10.0.0.0/8",), "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.2", ("10.0.0.0/8",), "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", ("10.0.0.0/8",), "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, nonsense", ("10.0.0.0/8",), "10.0.0.1"),
        ("10.0.0.1", "", ("10.0.0.0/8",), "10.0.0.1"),
        ("10.0.0.1", None, ("10.0.0.0/8",), "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8::9", ("10.0.0.0/8",), "2001:db8::9"),
        ("fd00::1", "203.0.113.9", ("fd00::/8", "10.0.0.0/8"), "203.0.113.9"),
    ],
)
def test_client(peer: str, forwarded_for: str | None, trusted: tuple[str, ...], expected: str) -> None:
    """The client is the nearest address that is not a trusted proxy."""
    assert client((peer, 4711), forwarded_for, *trusted) == expected


@pytest.mark.parametrize("peer", ["", None])
def test_client_behind_a_unix_socket(peer: object) -> None:
    """Who reaches a Unix socket is a local proxy, and believed."""
    assert client(peer, "203.0.113.9") == "203.0.113.9"
