"""Fixtures for every test: servers as real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.server import Server

StartServer = Callable[..., Server]
MOST_RUNNING = 5  # shared servers in one test process; tests that need the same one stand together


@pytest.fixture(scope="session")
def _running() -> Iterator[dict[tuple[str, ...], Server]]:
    """Servers that tests share, by their options."""
    servers: dict[tuple[str, ...], Server] = {}
    yield servers
    for server in servers.values():
        server.remove()


@pytest.fixture
def server_with(_running: dict[tuple[str, ...], Server]) -> Iterator[StartServer]:
    """`server_with(*options)`: a running server with these options, shared with other tests; never stop it."""
    used: list[tuple[Server, int]] = []

    def share(*options: str) -> Server:
        server = _running.pop(options, None) or Server(*options)
        _running[options] = server  # the last used is the last in the dictionary
        while len(_running) > MOST_RUNNING and (oldest := next(iter(_running))) not in {
            old.arguments for old, _ in used
        }:
            _running.pop(oldest).remove()
        used.append((server, len(server.trouble)))
        return server

    yield share
    for server, before in used:
        server.disconnect()
        assert server.trouble[before:] == []


@pytest.fixture
def server(server_with: StartServer) -> Server:
    """A running server with default options, shared with other tests; never stop it."""
    return server_with()


@pytest.fixture
def impatient(server_with: StartServer) -> Server:
    """A shared server that waits for nobody for long; never stop it."""
    return server_with("--head-timeout", "600ms", "--idle-timeout", "600ms", "--keep-alive", "600ms")


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """`start_server(*options)`: a server of its own, which the test may stop, kill and restart."""
    started: list[Server] = []

    def start(*options: str) -> Server:
        started.append(Server(*options))
        return started[-1]

    yield start
    for server in started:
        server.remove()
    assert [line for server in started for line in server.trouble] == []
