"""SIGHUP: certificates and reloadable settings are read again, all of them or none; and what systemd is told."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.wire import Wire, eventually
from tests.conftest import StartServer
from tests.operations.running import MIB, Certificate, TlsWire, reload


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which systemd listens for what a service tells."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        yield listener


def test_systemd_is_told(start_server: StartServer, systemd: socket.socket) -> None:
    """READY once uploads are taken, RELOADING with its time and READY again, STOPPING."""
    server = start_server()
    assert systemd.recv(256) == b"READY=1"
    os.kill(server.pid, signal.SIGHUP)
    reloading, when = systemd.recv(256).split(b"\n")
    assert reloading == b"RELOADING=1"
    assert int(when.removeprefix(b"MONOTONIC_USEC=")) > 0
    assert systemd.recv(256) == b"READY=1"
    assert server.terminate() == 0
    assert systemd.recv(256) == b"STOPPING=1"


def test_settings_are_read_again(start_server: StartServer, tmp_path: Path) -> None:
    """What the file says now counts for the next request; what needs a restart is named and stays."""
    config = tmp_path / "tusd.toml"
    config.write_text('max_size = "1MiB"\ncors_allow_origins = ["https://old.example"]\n')
    server = start_server("--config", str(config))
    assert server.options()["Tus-Max-Size"] == str(MIB)
    config.write_text(
        'max_size = "2MiB"\ncors_allow_origins = ["https://new.example"]\nidle_timeout = "1s"\nbase_path = "/else/"\n'
        'checksum = false\nexpire_after = "1h"\n'
    )
    news = reload(server)
    assert "restart-needed settings=base_path,idle_timeout" in news
    answer = server.options()
    assert answer["Tus-Max-Size"] == str(2 * MIB)
    assert "checksum" not in answer.listed("Tus-Extension")
    assert (
        server.options(fields={"Origin": "https://new.example"})["Access-Control-Allow-Origin"] == "https://new.example"
    )
    assert server.options(fields={"Origin": "https://old.example"}).status == 403


@pytest.mark.slow
def test_a_quieter_log(start_server: StartServer, tmp_path: Path) -> None:
    """log_level can be raised and lowered while running, for the lines of requests too."""
    config = tmp_path / "tusd.toml"
    config.write_text('log_level = "warning"\n')
    server = start_server("--config", str(config))
    server.options(fields={"X-Request-ID": "unheard"})
    config.write_text('log_level = "info"\n')
    reload(server)
    server.options(fields={"X-Request-ID": "heard"})
    eventually(lambda: "request_id=heard" in server.log, "the request is logged")
    assert "unheard" not in server.log


def test_a_broken_file_changes_nothing(start_server: StartServer, tmp_path: Path) -> None:
    """The log says what is wrong, and everything stays as it was; a key that does not fit the certificate too."""
    certificate, other = Certificate.issue(tmp_path, "one"), Certificate.issue(tmp_path, "two")
    config = tmp_path / "tusd.toml"
    config.write_text('max_size = "1MiB"\n')
    server = start_server("--config", str(config), *certificate.flags)
    for text, complaint in (
        ('max_size = "large"\n', "max_size = 'large'"),
        ("max_size = \n", "not valid TOML"),
        ('max_siz = "2MiB"\n', "unknown key max_siz"),
    ):
        config.write_text(text)
        assert complaint in reload(server, fails=True)
    config.write_text('max_size = "2MiB"\n')
    certificate.chain.write_bytes(other.chain.read_bytes())
    assert "cannot be used" in reload(server, fails=True)
    with TlsWire((server.host, server.port), certificate.authority) as wire:
        assert wire.options()["Tus-Max-Size"] == str(MIB)


def test_a_new_certificate(start_server: StartServer, tmp_path: Path) -> None:
    """New connections get the new certificate, while an upload goes on over the old one."""
    old, new = Certificate.issue(tmp_path, "old"), Certificate.issue(tmp_path, "new")
    server = start_server(*old.flags)
    assert server.url.startswith("https://127.0.0.1:")
    address = (server.host, server.port)
    with TlsWire(address, old.authority) as before:
        path = before.new(2 * MIB)
        before.begin_patch(path, 0, 2 * MIB, bytes(MIB))
        old.replace(new)
        reload(server)
        with TlsWire(address, new.authority) as after:
            after.until_offset(path, MIB)
        before.send(bytes(MIB))
        assert before.answer("PATCH").offset == 2 * MIB


def test_an_upload_over_tls_resumes(start_server: StartServer, tmp_path: Path) -> None:
    """A connection that is cut in the middle of a body leaves what came; the Location is https."""
    certificate = Certificate.issue(tmp_path, "only")
    server = start_server(*certificate.flags)
    address = (server.host, server.port)
    data = os.urandom(3 * MIB)
    with TlsWire(address, certificate.authority) as wire:
        answer = wire.create(len(data))
        assert answer["Location"] == f"{server.url}{answer.path.rpartition('/')[2]}"
        wire.begin_patch(answer.path, 0, len(data), data[:MIB])
        with TlsWire(address, certificate.authority) as watcher:
            watcher.until_offset(answer.path, MIB)
        wire.reset()
    with TlsWire(address, certificate.authority) as wire:
        offset = wire.offset(answer.path)
        assert wire.patch(answer.path, offset, data[offset:]).offset == len(data)
        assert wire.get(answer.path).body == data


@pytest.mark.slow
def test_an_encrypted_key_is_refused(tmp_path: Path, start_server: StartServer) -> None:
    """Nobody is at the terminal to answer OpenSSL's question."""
    certificate = Certificate.issue(tmp_path, "one")
    server = start_server(*certificate.flags)
    lines = certificate.key.read_text().splitlines()
    lines[1:1] = ["Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF", ""]
    certificate.key.write_text("\n".join(lines) + "\n")
    assert "cannot be used" in reload(server, fails=True)


@pytest.mark.slow
def test_new_tokens(start_server: StartServer, tmp_path: Path) -> None:
    """A token that was added opens the API without a restart; one that was taken away closes it."""
    config = tmp_path / "tusd.toml"
    config.write_text('api_tokens = ["an-old-token-of-the-api"]\n')
    server = start_server("--config", str(config), "--ops-listen", "127.0.0.1:0")
    port = int(server.log.split("API: http://127.0.0.1:")[1].split("/")[0])
    config.write_text('api_tokens = ["a-new-token-of-the-api0"]\n')
    reload(server)
    statuses = []
    for token in ("an-old-token-of-the-api", "a-new-token-of-the-api0"):
        with Wire(("127.0.0.1", port)) as wire:
            statuses.append(wire.ask("GET", "/api/v1/uploads", {"Authorization": f"Bearer {token}"}).status)
    assert statuses == [401, 200]
    assert "token-of-the-api" not in server.log
