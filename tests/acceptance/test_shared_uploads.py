"""Every process of a server at the same uploads: real connections, real processes, and the death of some."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import Answer, Gone, Wire, eventually

StartServer = Callable[..., Server]
KIB = 1024


@pytest.fixture
def many(server_with: StartServer) -> Server:
    """Three processes, shared with other tests; never kill one."""
    return server_with("--processes", "3")


@pytest.fixture
def mortal(start_server: StartServer) -> Server:
    """Three processes of which one may be killed or stopped."""
    return start_server("--processes", "3", "--finish-wait", "500ms")


def workers(server: Server) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def has_open(pid: int, path: Path) -> bool:
    try:
        return any(os.readlink(entry) == str(path) for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False  # it has ended, or closed that file meanwhile


def writer_of(server: Server, upload: str) -> int:
    """The process that receives this upload."""
    path = server.folder / "uploads" / upload.rpartition("/")[2]
    found: list[int] = []

    def look() -> bool:
        found[:] = [pid for pid in workers(server) if has_open(pid, path)]
        return bool(found)

    eventually(look, "somebody writes")
    return found[0]


@pytest.mark.rule("T41", "T42")
def test_taken_over_from_each(many: Server) -> None:
    """Connections meet the processes in turn: whichever holds a dead client's upload, whichever the client finds."""
    data = bytes(range(100))
    path = many.new(100)
    dead = [many.connect() for _ in range(9)]
    for number, wire in enumerate(dead):
        wire.begin_patch(path, 10 * number, 100 - 10 * number, data[10 * number : 10 * number + 10])
        many.until_offset(path, 10 * number + 10)
    assert many.patch(path, 90, data[90:]).status == 204
    assert [wire.answer("PATCH").status for wire in dead] == [423] * 9
    assert many.get(path).body == data


@pytest.mark.rule("T24", "T41")
def test_refused_anyway(many: Server) -> None:
    """A PATCH below what another process has stored is 409, and the writer goes on."""
    path = many.new(8)
    wire = many.connect()
    wire.begin_patch(path, 0, 8, b"hell")
    many.until_offset(path, 4)
    for _ in range(4):
        refused = many.patch(path, 0, b"x")
        assert (refused.status, refused.offset) == (409, 4)
    wire.send(b"o wo")
    assert wire.answer("PATCH").offset == 8


@pytest.mark.rule("T28")
def test_kill_the_writer(mortal: Server) -> None:
    """kill -9 of the process that writes: another tells at once what came, and the upload goes on there."""
    path = mortal.new(10)
    mortal.connect().begin_patch(path, 0, 10, b"hello")
    mortal.until_offset(path, 5)
    os.kill(writer_of(mortal, path), signal.SIGKILL)
    assert mortal.offset(path) == 5
    assert mortal.patch(path, 5, b"world").status == 204
    assert mortal.get(path).body == b"helloworld"


def test_stopped_writer(mortal: Server) -> None:
    """A process that stands still with an upload cannot be asked for it: 423 after a while, and all is well later."""
    path = mortal.new(10)
    mortal.connect().begin_patch(path, 0, 10, b"hello")
    mortal.until_offset(path, 5)
    writer = writer_of(mortal, path)
    os.kill(writer, signal.SIGSTOP)
    try:
        refused = asked_another(mortal, path)
    finally:
        os.kill(writer, signal.SIGCONT)
    assert refused.status == 423
    mortal.until_offset(path, 5)
    assert mortal.patch(path, 5, b"world").status == 204
    assert mortal.get(path).body == b"helloworld"


def asked_another(server: Server, path: str) -> Answer:
    """What a process that runs says to a PATCH; connections go to the processes in turn, one of which stands still."""
    wires = [server.connect() for _ in range(3)]
    for wire in wires:
        wire.begin_patch(path, 5, 5)
    eventually(lambda: not all(wire.is_silent(0.0) for wire in wires), "an answer")
    return next(wire for wire in wires if not wire.is_silent(0.0)).answer("PATCH")


class Storm:
    """Clients that send, look and vanish, at a few uploads at once, each of them sure of what it was told."""

    def __init__(self, server: Server, data: bytes, uploads: int) -> None:
        self.server = server
        self.data = data
        self.paths = [server.new(len(data)) for _ in range(uploads)]
        self.told = dict.fromkeys(self.paths, 0)  # the highest offset that anybody was told
        self.gone: list[Wire] = []  # connections of clients that are
        self._guard = threading.Lock()

    def client(self, seed: int) -> None:
        dice = random.Random(seed)
        while unfinished := [path for path in self.paths if self.told[path] < len(self.data)]:
            path = dice.choice(unfinished)
            known = self.told[path]
            answer = self.server.head(path)
            if answer.status == 423:
                continue
            assert answer.offset >= known, "an offset went back"
            self.tell(path, answer.offset)
            self.send(path, answer.offset, dice)

    def send(self, path: str, offset: int, dice: random.Random) -> None:
        """Piece by piece, so that others come in between; one in five vanishes without a word."""
        length = min(dice.randrange(1, 256 * KIB), len(self.data) - offset)
        end = offset + length
        vanishes = dice.random() < 0.2
        wire = Wire(self.server.address)
        wire.begin_patch(path, offset, len(self.data) - offset if vanishes else length)
        for at in range(offset, end, 2 * KIB):
            wire.send_regardless(self.data[at : min(at + 2 * KIB, end)])
        if vanishes:
            self.gone.append(wire)
            return
        with wire:
            try:
                answer = wire.answer("PATCH")
            except Gone:
                return  # it was pushed out, and had sent on
        assert answer.status in {204, 409, 423}, answer
        if answer.status == 204:
            self.tell(path, answer.offset)

    def tell(self, path: str, offset: int) -> None:
        with self._guard:
            self.told[path] = max(self.told[path], offset)


@pytest.mark.rule("T41")
def test_storm(many: Server) -> None:
    """Six clients, three uploads, three processes and dead connections: no offset goes back, every byte is right."""
    storm = Storm(many, random.Random(1).randbytes(4096 * KIB), uploads=2)
    with ThreadPoolExecutor(6) as clients:
        for ended in [clients.submit(storm.client, seed) for seed in range(6)]:
            ended.result()
    for wire in storm.gone:
        wire.close()
    for path in storm.paths:
        eventually(lambda path=path: many.get(path).status == 200, "it is finished")
        assert hashlib.sha256(many.get(path).body).digest() == hashlib.sha256(storm.data).digest()
