"""Clients that vanish at any moment, with and without handler cancellation (law 10).

Cancelled or not: afterwards no lock is held, nobody writes, no descriptor is left, every upload holds only its own
bytes, and the server answers.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.wire import BYTES, TUS, Fields, Wire, eventually, patch_fields
from tests.web.stage import Stage, pattern, staged

WAYS = [(loop, cancels) for loop in ("uvloop", "asyncio") for cancels in (True, False)]
SIZES = (10, 5_000, 100_000, 700_000, 2_500_000)


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-{'cancelled' if way[1] else 'left alone'}")
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    loop, cancels = request.param
    with staged(tmp_path, loop, handler_cancellation=cancels) as stage:
        yield stage


class Client:
    """One that does something, and vanishes at some moment of it."""

    def __init__(self, stage: Stage, number: int) -> None:
        self.stage = stage
        self.fate = random.Random(number)
        self.number = number
        self.size = self.fate.choice(SIZES)
        self.data = pattern(number, self.size)
        self.path: str | None = None

    def act(self) -> None:
        action = self.fate.choice([self.create, self.append, self.append, self.concatenate, self.download])
        action()

    def create(self) -> None:
        fields = {**TUS, "Content-Type": BYTES, "Upload-Length": str(self.size), **self.checksum()}
        self.vanish("POST", "/files/", fields, self.data)

    def append(self) -> None:
        self.path = self.stage.new(self.size)
        self.vanish("PATCH", self.path, {**patch_fields(0), **self.checksum()}, self.data)

    def concatenate(self) -> None:
        partial = {"Upload-Concat": "partial"}
        parts = [self.stage.create(self.size, partial, self.data).path for _ in range(3)]
        self.vanish("POST", "/files/", {**TUS, "Upload-Concat": f"final;{' '.join(parts)}"}, b"")

    def download(self) -> None:
        path = self.stage.create(self.size, {}, self.data).path
        self.vanish("GET", path, {}, b"")

    def checksum(self) -> Fields:
        if self.fate.random() < 0.6:
            return {}
        digest = base64.b64encode(hashlib.sha1(self.data, usedforsecurity=False).digest()).decode()
        return {"Upload-Checksum": f"sha1 {digest}"}

    def vanish(self, method: str, target: str, fields: Fields, body: bytes) -> None:
        """Send a part of the request, perhaps all of it, wait for some moment, perhaps for the answer, and go."""
        wire = Wire(self.stage.address)
        request = wire.head_bytes(method, target, fields, body) + body
        sent = len(request) if self.fate.random() < 0.5 else self.fate.randrange(len(request))
        wire.send_regardless(request[:sent])
        if self.fate.random() < 0.8:
            wire.is_silent(self.fate.choice([0, 0.0002, 0.001, 0.005]))
        if self.fate.random() < 0.5:
            wire.reset()
        else:
            wire.close()

    def check(self) -> None:
        """What is kept of the upload is the beginning of what was sent, and it can be gone on with."""
        if self.path is None:
            return
        offset = self.stage.offset(self.path)
        assert self.stage.stored(self.path)[:offset] == self.data[:offset]
        assert self.stage.patch(self.path, offset, self.data[offset:]).offset == self.size
        assert self.stage.stored(self.path) == self.data


def files_hold_one_pattern_each(stage: Stage) -> None:
    """Every file begins as somebody's bytes and goes on so; a final is three times the same."""
    for path in (stage.folder / "uploads").iterdir():
        data = path.read_bytes()
        mine = pattern(int.from_bytes(data[:3], "big"), len(data))
        third = len(data) // 3
        assert data in (mine, mine[:third] * 3)


def test_vanishing_clients(stage: Stage) -> None:
    """Sixty clients, eight at a time, each vanishes in another moment."""
    clients = [Client(stage, number) for number in range(60)]
    with ThreadPoolExecutor(8) as crowd:
        list(crowd.map(Client.act, clients))
    stage.comes_to_rest()
    eventually(stage.is_empty, "all connections are closed")
    files_hold_one_pattern_each(stage)
    for client in clients:
        client.check()
    assert stage.create(5, body=b"hello").status == 201


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_many_vanishing_clients(stage: Stage, seed: int) -> None:
    """The same with hundreds."""
    clients = [Client(stage, 1000 * seed + number) for number in range(200)]
    with ThreadPoolExecutor(16) as crowd:
        list(crowd.map(Client.act, clients))
    stage.comes_to_rest()
    eventually(stage.is_empty, "all connections are closed")
    files_hold_one_pattern_each(stage)
    for client in clients:
        client.check()


@pytest.mark.parametrize("size", SIZES)
def test_vanishes_in_the_middle_of_a_takeover(stage: Stage, size: int) -> None:
    """A newcomer that vanishes while it pushes out another leaves the upload to the next one."""
    data = pattern(1, size)
    path = stage.new(size)
    old = stage.connect()
    old.begin_patch(path, 0, size, data[: size // 2])
    stage.until_offset(path, size // 2)
    for moment in (0.0, 0.0005, 0.002):
        with Wire(stage.address) as newcomer:
            newcomer.begin_patch(path, stage.offset(path), size - stage.offset(path))
            newcomer.is_silent(moment)
            newcomer.reset()
    stage.comes_to_rest()
    offset = stage.offset(path)
    assert stage.patch(path, offset, data[offset:]).offset == size
    assert stage.stored(path) == data


def test_vanishes_before_its_answer(stage: Stage) -> None:
    """A download whose client goes in the middle ends, and its file is closed."""
    data = pattern(1, 5_000_000)
    path = stage.new(len(data))
    assert stage.patch(path, 0, data).status == 204
    for _ in range(5):
        wire = stage.connect()
        wire.begin("GET", path)
        assert not wire.is_silent(5)
        wire.reset()
    eventually(stage.is_empty, "all connections are closed")
    assert stage.get(path).body == data
