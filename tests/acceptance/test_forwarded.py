"""The URL that a client sees, behind proxies or not."""

from __future__ import annotations

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import MIB, TUS, Fields
from tests.conftest import StartServer

TRUST = ("--trusted-proxies", "10.0.0.0/8,127.0.0.1")
HEADERS: list[tuple[Fields, str]] = [
    ({"X-Forwarded-Proto": "https"}, "https://direct.example:1080/files/"),
    ({"X-Forwarded-Proto": "https", "X-Forwarded-Host": "up.example"}, "https://up.example/files/"),
    ({"X-Forwarded-Host": "up.example:8443"}, "http://up.example:8443/files/"),
    (
        {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "up.example", "X-Forwarded-Port": "8443"},
        "https://up.example:8443/files/",
    ),
    (
        {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "up.example", "X-Forwarded-Port": "443"},
        "https://up.example/files/",
    ),
    ({"X-Forwarded-Host": "up.example", "X-Forwarded-Port": "80"}, "http://up.example/files/"),
    ({"X-Forwarded-Host": "up.example", "X-Forwarded-Prefix": "/team/a"}, "http://up.example/team/a/files/"),
    ({"X-Forwarded-Host": "up.example", "X-Forwarded-Prefix": "/team/"}, "http://up.example/team/files/"),
    ({"X-Forwarded-Host": "[2001:db8::1]:8080"}, "http://[2001:db8::1]:8080/files/"),
    ({"Forwarded": "proto=https;host=up.example"}, "https://up.example/files/"),
    ({"Forwarded": 'for="[2001:db8::1]:4711";Proto=https;host="up.example:8443"'}, "https://up.example:8443/files/"),
]
NONSENSE: list[Fields] = [
    {"X-Forwarded-Proto": "gopher"},
    {"X-Forwarded-Proto": ""},
    {"X-Forwarded-Host": "a b"},
    {"X-Forwarded-Host": "up.example/path"},
    {"X-Forwarded-Host": "user@up.example"},
    {"X-Forwarded-Host": '"<script>'},
    {"X-Forwarded-Host": "up.example", "X-Forwarded-Port": "99999999"},
    {"X-Forwarded-Port": "x"},
    {"X-Forwarded-Prefix": "//evil.example"},
    {"X-Forwarded-Prefix": "/../.."},
    {"X-Forwarded-Prefix": "/a b"},
    {"Forwarded": ";;;=,,"},
    {"Forwarded": 'proto="https'},
    {"Forwarded": "host=up.example/path;proto=x"},
]


def location(server: Server, fields: Fields) -> str:
    answer = server.create(3, {"Host": "direct.example:1080", **fields})
    assert answer.status == 201
    return answer["Location"].rpartition("/")[0] + "/"


@pytest.mark.rule("T54")
@pytest.mark.parametrize(("fields", "expected"), HEADERS)
def test_a_trusted_proxy_is_believed(server_with: StartServer, fields: Fields, expected: str) -> None:
    """Scheme, host, port and prefix are what the proxy says that the client used."""
    assert location(server_with(*TRUST), fields) == expected


@pytest.mark.rule("T54")
@pytest.mark.parametrize(("fields", "expected"), HEADERS)
@pytest.mark.parametrize("options", [(), ("--trusted-proxies", "10.0.0.0/8")])
def test_anybody_else_is_not(server_with: StartServer, options: tuple[str, ...], fields: Fields, expected: str) -> None:
    """What a client claims about itself changes nothing."""
    assert location(server_with(*options), fields) == "http://direct.example:1080/files/" != expected


@pytest.mark.rule("T54")
@pytest.mark.parametrize("fields", NONSENSE)
def test_nonsense_from_a_proxy_is_left_out(server_with: StartServer, fields: Fields) -> None:
    """A bad field makes no request fail and never gets into a URL."""
    told = location(server_with(*TRUST), fields)
    assert told in ("http://direct.example:1080/files/", "http://up.example/files/")


@pytest.mark.rule("T54")
def test_a_chain_of_proxies(server_with: StartServer) -> None:
    """In a list the entry counts that the nearest untrusted hop saw; one that clients send ahead does not."""
    fields: Fields = {"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "up.example, inner.example"}
    answer = server_with(*TRUST).create(3, fields)
    assert answer["Location"].split("/files/")[0] in ("https://up.example", "http://inner.example")


@pytest.mark.rule("T54")
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://up.example", "https://up.example/files/"),
        ("https://up.example/", "https://up.example/files/"),
        ("https://up.example:8443/team", "https://up.example:8443/team/files/"),
    ],
)
def test_a_public_url_beats_all(server_with: StartServer, url: str, expected: str) -> None:
    """What the operator says is neither changed by the request nor by proxies."""
    server = server_with("--public-url", url, *TRUST)
    assert location(server, {}) == expected
    assert location(server, {"X-Forwarded-Host": "other.example"}) == expected


@pytest.mark.rule("T54", "T52")
def test_a_path_alone(server_with: StartServer) -> None:
    """Where nobody knows the host a path is right, too: every client resolves it."""
    server = server_with("--path-only-location")
    answer = server.create(3)
    assert answer["Location"].startswith("/files/")
    assert server.offset(answer["Location"]) == 0


@pytest.mark.slow
@pytest.mark.rule("T54", "T48", "T114")
@pytest.mark.parametrize(("given", "bare"), [("/up/load", "/up/load"), ("/up/load/", "/up/load"), ("/", "")])
def test_another_base_path(server_with: StartServer, given: str, bare: str) -> None:
    """Uploads live where the operator says; the slash at the end is optional in the setting and in requests."""
    server = server_with("--base-path", given)
    assert server.files == bare + "/"
    for target in {bare or "/", bare + "/"}:
        answer = server.ask("POST", target, {**TUS, "Upload-Length": "3", "Upload-Concat": "partial"}, None)
        assert answer.path.startswith(bare + "/")
        assert server.patch(answer.path, 0, b"abc").status == 204
        joined = server.ask("POST", target, {**TUS, "Upload-Concat": f"final;{answer['Location']}"})
        assert server.get(joined.path).body == b"abc"
    assert bare == "" or server.ask("POST", "/files/", {**TUS, "Upload-Length": "3"}).status == 404


@pytest.mark.rule("T54", "T21")
@pytest.mark.parametrize("size", [3, MIB])
def test_a_unix_socket(server_with: StartServer, size: int) -> None:
    """Behind a Unix socket there can only be a proxy of the same machine, which is believed."""
    server = server_with("--unix-socket", "./s")
    answer = server.create(size, {"Forwarded": "proto=https;host=up.example"})
    assert answer["Location"].startswith("https://up.example/files/")
    assert server.patch(answer.path, 0, b"x" * size).offset == size
    assert server.get(answer.path).body == b"x" * size
