"""Bytes that never enter Python: what must not be seen of it (tusd_py/web/zero_copy.py)."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest

from tests.acceptance.wire import BYTES, TUS, Gone, Wire, eventually, patch_fields
from tests.storage.desk import small_disk
from tests.web.stage import Stage, pattern, staged
from tusd_py.storage.base import Ending
from tusd_py.threads import Pool
from tusd_py.web import zero_copy
from tusd_py.web.zero_copy import HOP, THRESHOLD, Hop, Rest, available, hop

P = ParamSpec("P")
T = TypeVar("T")

LOOPS = ("uvloop", "asyncio")
AROUND = [THRESHOLD + difference for difference in (-1, 0, 1, 2, 4096, 65_537)]


@pytest.fixture(params=LOOPS)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path, request.param) as stage:
        yield stage


def request_of(wire: Wire, path: str, body: bytes) -> bytes:
    return wire.head_bytes("PATCH", path, patch_fields(0), body) + body


# One connection


@pytest.mark.rule("T21", "T26")
def test_sizes(stage: Stage) -> None:
    """Bodies around the threshold arrive byte for byte, one after the other on one connection."""
    wire = stage.connect()
    for number, size in enumerate([*AROUND, HOP + 77]):
        data = pattern(number, size)
        path = wire.new(size)
        assert wire.patch(path, 0, data).offset == size
        assert stage.stored(path) == data


@pytest.mark.parametrize("size", AROUND)
def test_pipelined(stage: Stage, size: int) -> None:
    """Requests that are sent right behind a spliced body are answered as if they had come alone."""
    wire = stage.connect()
    paths = [stage.new(size) for _ in range(3)]
    bodies = [pattern(number, size) for number in range(3)]
    head = wire.head_bytes("HEAD", paths[0], TUS)
    small = pattern(9, 10)
    fields = {**TUS, "Content-Type": BYTES, "Upload-Length": "10"}
    wire.send(
        *(request_of(wire, path, body) for path, body in zip(paths, bodies, strict=True)),
        head,
        wire.head_bytes("POST", "/files/", fields, small),
        small,
        request_of(wire, paths[0], b""),
    )
    assert [wire.answer().offset for _ in paths] == [size] * 3
    assert wire.answer("HEAD").offset == size
    created = wire.answer()
    assert stage.stored(created.path) == small
    assert wire.answer().status == 409
    assert [stage.stored(path) for path in paths] == bodies


@pytest.mark.parametrize("cut", [1, 50, 200, 4096])
def test_next_request_in_pieces(stage: Stage, cut: int) -> None:
    """The next head may come in two pieces, the first of them together with the end of the body."""
    size = THRESHOLD + 10_000
    wire = stage.connect()
    path, data = stage.new(size), pattern(1, size)
    following = wire.head_bytes("HEAD", path, {**TUS, "X-Filler": "x" * 5000})
    wire.send(request_of(wire, path, data), following[:cut])
    assert wire.answer().offset == size
    wire.send(following[cut:])
    assert wire.answer("HEAD").offset == size


@pytest.mark.parametrize("cut", [0, 1, 65_536, THRESHOLD, THRESHOLD + 9_999])
def test_body_in_two_pieces(stage: Stage, cut: int) -> None:
    """Wherever a body stalls, it goes on; a request behind it is answered too."""
    size = THRESHOLD + 10_000
    wire = stage.connect()
    path, data = stage.new(size), pattern(1, size)
    wire.begin_patch(path, 0, size, data[:cut])
    stage.until_offset(path, cut)
    wire.send(data[cut:], wire.head_bytes("OPTIONS", "/files/"))
    assert wire.answer().offset == size
    assert wire.answer("OPTIONS").status == 200
    assert stage.stored(path) == data


def test_the_ordinary_server_behind_it(stage: Stage) -> None:
    """A spliced body may be followed by a request to the ordinary Application, and the other way round."""
    size = THRESHOLD + 1
    wire = stage.connect()
    path, data = stage.new(size), pattern(1, size)
    other = wire.head_bytes("POST", "/other", {}, b"hello") + b"hello"
    wire.send(other, request_of(wire, path, data), other)
    assert [wire.answer().body, wire.answer().offset, wire.answer().body] == [b"5", size, b"5"]


def test_limits_afterwards(stage: Stage) -> None:
    """The parser that comes after a spliced body has the same limits as the one before."""
    wire = stage.connect()
    path, data = stage.new(THRESHOLD + 1), pattern(1, THRESHOLD + 1)
    assert wire.patch(path, 0, data).status == 204
    assert wire.ask("HEAD", path, {**TUS, "X-Filler": "x" * 60_000}).status == 200
    answer = wire.ask("GET", path, {"X-Filler": "x" * 100_000})
    assert answer.status == 400
    assert answer["Tus-Resumable"] == "1.0.0"
    assert wire.is_closed()


def test_larger_than_its_room(stage: Stage) -> None:
    """A body that is larger than what is left is refused before any of it is taken."""
    path = stage.new(THRESHOLD)
    wire = stage.connect()
    wire.begin_patch(path, 0, 2 * THRESHOLD + 9)
    assert wire.answer().status == 413
    assert stage.stored(path) == b""


def test_continued(stage: Stage) -> None:
    """A large upload in several spliced pieces is what was sent."""
    data = pattern(3, 5 * (THRESHOLD + 1000))
    wire = stage.connect()
    path = wire.new(None)
    for at in range(0, len(data), THRESHOLD + 1000):
        assert wire.patch(path, at, data[at : at + THRESHOLD + 1000]).status == 204
    assert stage.stored(path) == data


@pytest.mark.rule("T20")
def test_ends_where_it_says(stage: Stage) -> None:
    """The offset told after a reset in mid-body is that of the file."""
    size = 4_000_000
    data = pattern(4, size)
    for part in (1, THRESHOLD - 1, 1_000_001, size - 1):
        path = stage.new(size)
        wire = stage.connect()
        wire.begin_patch(path, 0, size, data[:part])
        stage.until_offset(path, part)
        wire.reset()
        stage.comes_to_rest()
        assert stage.stored(path) == data[:part]
        assert stage.patch(path, part, data[part:]).offset == size
        assert stage.stored(path) == data


def test_wire_closes_after_an_early_end(stage: Stage) -> None:
    """After an early end the answer can be read by a client that keeps sending; then the connection closes."""
    size = 6_000_000
    path = stage.new(size)
    old = stage.connect()
    old.begin_patch(path, 0, size, b"x" * 300_000)
    stage.until_offset(path, 300_000)
    sender = threading.Thread(target=old.send_regardless, args=(b"x" * (size - 300_000),))
    assert stage.patch(path, 300_000, b"").status == 204
    sender.start()
    told = old.answer()
    sender.join()
    assert (told.status, told["Connection"]) == (423, "close")
    old.stop_sending()
    assert old.is_closed()
    eventually(stage.is_empty, "the connection is closed")


# Many connections, few threads


@pytest.mark.parametrize("loop", LOOPS)
def test_pipes_are_not_shared(tmp_path: Path, loop: str) -> None:
    """Thirty uploads at once through two threads, many of them broken off: each file holds only its own bytes."""
    size = 1_500_000
    with staged(tmp_path, loop, byte_threads=2) as stage:

        def upload(number: int) -> None:
            fate = random.Random(number)
            data = pattern(number, size)
            path = stage.new(size)
            offset = 0
            while offset < size:
                with Wire(stage.address) as wire:
                    end = size if fate.random() < 0.4 else fate.randrange(offset, size)
                    wire.begin_patch(path, offset, size - offset)
                    wire.send_regardless(data[offset:end])
                    if end == size:
                        assert wire.answer().status in (204, 409)  # bytes of the one before may still have come
                    elif fate.random() < 0.5:
                        wire.reset()
                offset = stage.offset(path)
            assert stage.stored(path) == data

        with ThreadPoolExecutor(10) as clients:
            list(clients.map(upload, range(30)))


# One hop


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """What the server reads from, and what the client writes to."""
    server, client = socket.socketpair()
    server.setblocking(False)
    with server, client:
        yield server, client


def in_thread(*work: tuple[int, int, int | None, int]) -> list[Hop | OSError]:
    """Hops, one after the other, in one thread of their own, which has a pipe of its own."""

    def attempt(source: int, target: int, at: int | None, most: int) -> Hop | OSError:
        try:
            return hop(source, target, at, most)
        except OSError as error:
            return error

    with ThreadPoolExecutor(1) as pool:
        return [pool.submit(attempt, *one).result() for one in work]


def test_hop(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    """A hop moves what is there, to its offset, up to its limit, and says why it stopped."""
    server, client = ends
    client.send(b"hello world")
    with (tmp_path / "target").open("w+b") as file:
        source, target = server.fileno(), file.fileno()
        moved = in_thread((source, target, 0, 5), (source, target, 5, 100), (source, target, 11, 100))
        assert moved == [Hop(5, Rest.MORE), Hop(6, Rest.DRY), Hop(0, Rest.DRY)]
        client.close()
        assert in_thread((source, target, 11, 100)) == [Hop(0, Rest.OVER)]
        assert file.read() == b"hello world"


@pytest.mark.root
def test_hop_onto_a_full_disk(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    """A full disk ends the hop, and the bytes left in the pipe land nowhere else."""
    server, client = ends
    with small_disk(tmp_path / "small", "64k") as folder:
        null = os.open(os.devnull, os.O_WRONLY)
        full = os.open(folder / "full", os.O_RDWR | os.O_CREAT)
        target = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
        try:
            with ThreadPoolExecutor(1) as pool:  # one thread, and so one pipe
                client.sendall(b"x" * 100_000)
                first = pool.submit(hop, server.fileno(), full, 0, 100_000).result()
                assert first == Hop(os.fstat(full).st_size, Rest.FULL)
                assert pool.submit(hop, server.fileno(), null, None, 100_000).result().rest is Rest.DRY
                client.sendall(b"other")
                assert pool.submit(hop, server.fileno(), target, 0, 99).result() == Hop(5, Rest.DRY)
            assert os.pread(target, 100, 0) == b"other"
        finally:
            for fd in (null, full, target):
                os.close(fd)


def test_hop_into_what_cannot_be_written(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    """Other errors of the disk are raised, and leave nothing in the pipe either."""
    server, client = ends
    client.send(b"secretother")
    (tmp_path / "target").touch()
    unwritable = os.open(tmp_path / "target", os.O_RDONLY)
    target = os.open(tmp_path / "target", os.O_RDWR)
    try:
        error, moved = in_thread((server.fileno(), unwritable, 0, 6), (server.fileno(), target, 0, 5))
        assert isinstance(error, OSError)
        assert error.errno == errno.EBADF
        assert moved == Hop(5, Rest.MORE)
        assert os.pread(target, 100, 0) == b"other"
    finally:
        os.close(unwritable)
        os.close(target)


def test_hop_from_a_reset_socket(tmp_path: Path) -> None:
    """A reset connection is over."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    server.setblocking(False)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    with server, (tmp_path / "target").open("wb") as file:
        assert in_thread((server.fileno(), file.fileno(), 0, 6)) == [Hop(0, Rest.OVER)]


# Whether it is there


def test_available(tmp_path: Path) -> None:
    """It is, on this system; where the folder's file system cannot be spliced into, the reason is told."""
    assert available(tmp_path) is None
    assert available(tmp_path / "missing") is not None
    assert list(tmp_path.iterdir()) == []
    assert "splice" in str(available(Path("/proc")))


def test_private_attributes() -> None:
    """What it touches of aiohttp is there, and what is not there is noticed."""
    assert [name for name in zero_copy.PRIVATE if not zero_copy._has(name)] == []
    assert not zero_copy._has("_no_such_attribute")


class MeetsNewcomer(Pool):
    """Somebody wants what is being written while its last piece is moved in a thread."""

    stage: Stage

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        result = await super().run(function, *args, **kwargs)
        if isinstance(result, Hop) and result.rest is Rest.DRY:
            self.stage.uploads.writers.let_go(Ending.REPLACED)
        return result


@pytest.mark.rule("T41", "T42")
def test_wanted_during_a_hop(tmp_path: Path) -> None:
    """A writer that is wanted while a thread moves its bytes ends at once, and waits for no more of them."""
    with staged(tmp_path, byte_pool=MeetsNewcomer, idle_timeout=600.0) as stage:
        assert isinstance(stage.byte_pool, MeetsNewcomer)
        stage.byte_pool.stage = stage
        path = stage.new(4_000_000)
        wire = stage.connect()
        wire.begin_patch(path, 0, 4_000_000, pattern(1, 1_000_000))
        assert wire.answer().code == "ERR_UPLOAD_INTERRUPTED"


@pytest.mark.root
@pytest.mark.parametrize("copied", [False, True])
def test_disk_full(tmp_path: Path, copied: bool) -> None:
    """A disk that fills in mid-body is 507, also for a client that keeps sending; what fits is kept."""
    size = 3_000_000
    data = pattern(1, size)
    with (
        small_disk(tmp_path / "small", "4m") as folder,
        staged(folder, zero_copy=not copied) as stage,
    ):
        path, ballast = stage.new(size), stage.new(2_500_000)
        assert stage.patch(ballast, 0, bytes(2_500_000)).status == 204
        wire = stage.connect()
        wire.begin_patch(path, 0, size)
        sender = threading.Thread(target=wire.send_regardless, args=(data,))
        sender.start()
        told = wire.answer()
        sender.join()
        assert (told.status, told.code) == (507, "ERR_STORAGE_FULL")
        offset = stage.offset(path)
        assert 1_000_000 < offset < 2_000_000
        assert stage.delete(ballast).status == 204
        assert stage.patch(path, offset, data[offset:]).offset == size
        assert stage.stored(path) == data


def test_nothing_is_announced_twice(stage: Stage) -> None:
    """An answer to a broken-off spliced body is the last thing on its connection."""
    path = stage.new(4_000_000)
    wire = stage.connect()
    wire.begin_patch(path, 0, 4_000_000, pattern(1, 1_000_000))
    stage.until_offset(path, 1_000_000)
    stage.call(stage.uploads.stop)
    assert wire.answer().status == 503
    with pytest.raises(Gone):
        wire.answer()
