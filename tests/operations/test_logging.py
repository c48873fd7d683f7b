"""The log: one line an event, of things an operator can use, and nothing that nobody may read."""

from __future__ import annotations

import base64
import json
import re
import socket
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import eventually
from tests.conftest import StartServer

SECRET = "correct-horse-battery-staple"
NAME = "diary of somebody.txt"
METADATA = f"filename {base64.b64encode(NAME.encode()).decode()}"
STRANGE = "/files/\x1b[2Jclear\xff"  # moves a terminal's cursor, and is no UTF-8

VALUE = r'(?:[!#-~]*|"[ -~]*")'
TEXT_LINE = re.compile(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z (INFO|WARNING|ERROR) [a-z-]+( [a-z_]+={VALUE})*")
METHODS = ["POST", "PATCH", "HEAD", "GET", "DELETE"]


def used(server: Server) -> list[str]:
    """Send it a few requests of every kind and stop it; returns the lines of its log."""
    wire = server.connect()  # one for all, so that one process serves them and their lines stay in order
    path = wire.new(6, {"Upload-Metadata": METADATA, "X-Request-ID": "first.one"})
    assert wire.patch(path, 0, b"letter", {"X-Request-ID": "second/one"})["X-Request-ID"] == "second/one"
    assert wire.head("/files/absent", {"X-Request-ID": "with a space"})["X-Request-ID"] != "with a space"
    wire.get(path, {"Authorization": f"Bearer {SECRET}"})
    wire.delete(path)
    eventually(lambda: "DELETE" in server.log, "these lines are written")
    with socket.create_connection((server.host, server.port)) as raw:
        raw.sendall(f"GET {STRANGE}?key=value HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode("latin-1"))
        while raw.recv(4096):
            continue
    assert server.terminate() == 0
    return events(server)


def is_discreet(log: str) -> bool:
    """No metadata, no tokens, no bytes of bodies; and only ASCII that moves no cursor, whatever clients send."""
    private = (SECRET, NAME, METADATA.split()[1], "letter", "with a space", "\x1b")
    return log.isascii() and not any(secret in log for secret in private)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "tusd.toml"
    path.write_text(f'api_tokens = ["{SECRET}"]\n')
    return str(path)


def events(server: Server) -> list[str]:
    """The lines of the log, without what is printed at the start."""
    return [line for line in server.log.splitlines() if not line.startswith(("Uploads are", "You can"))]


def test_text(start_server: StartServer, config: str) -> None:
    """A line an event, key=value, with the id that the client gave; client strings cannot leave their place."""
    server = start_server("--config", config)
    lines = used(server)
    assert [line for line in lines if not TEXT_LINE.fullmatch(line)] == []
    requests = [line for line in lines if " request " in line]
    assert [re.findall(r"method=(\S+)", line)[0] for line in requests][:5] == METHODS
    assert " status=201 " in requests[0]
    assert " request_id=first.one" in requests[0]
    assert " request_id=second/one" in requests[1]
    assert " received=6 " in requests[1]
    assert is_discreet(server.log)


def test_json(start_server: StartServer, config: str) -> None:
    """The same as objects: every line is one, with the same keys for every request."""
    server = start_server("--log-format", "json", "--config", config)
    entries = [json.loads(line) for line in used(server)]
    assert all({"time", "level", "message"} <= entry.keys() for entry in entries)
    requests = [entry for entry in entries if entry["message"] == "request"]
    assert [entry["method"] for entry in requests][:5] == METHODS
    assert [entry["status"] for entry in requests][:5] == [201, 204, 404, 200, 204]
    assert (requests[1]["received"], requests[1]["request_id"]) == (6, "second/one")
    assert {entry["peer"] for entry in requests} == {"127.0.0.1"}
    assert "stopping" in [entry["message"] for entry in entries]
    assert is_discreet(server.log)


def test_what_is_no_request(server: Server) -> None:
    """What the parser refuses has its line as well, with the id that the answer names."""
    wire = server.connect()
    wire.send_regardless(b"GET /files/ HTTP/1.1\r\nBad Name: x\r\n\r\n")
    answer = wire.answer()
    told = f"request_id={answer['X-Request-ID']}"
    eventually(lambda: told in server.log, "the line")
    (line,) = [line for line in server.log.splitlines() if told in line]
    assert " request method=- path=- status=400 " in line
    assert " peer=127.0.0.1 " in line
    assert TEXT_LINE.fullmatch(line)


def test_lines_come_soon(server: Server) -> None:
    """Lines wait for 0.2 s at most, so that one can watch."""
    server.options(fields={"X-Request-ID": "watched"})
    eventually(lambda: "watched" in server.log, "the line", within=2)
    assert "request_id=watched" in server.log
