"""A disk that is full or can only be read: clear answers, nothing lost, and work goes on when it is mended."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import BYTES, TUS, Answer, Fields, eventually
from tests.operations.running import MIB, Starter

pytestmark = pytest.mark.root

SIZE = 8 * MIB


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of its own of 8 MiB."""
    place = Path(tempfile.mkdtemp(prefix="disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tus-test", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)
    place.rmdir()


@pytest.fixture
def server(disk: Path) -> Iterator[Server]:
    """A server whose data folder is that disk."""
    server = Server("--free-space-reserve", "0", folder=disk / "data")
    yield server
    server.remove()
    assert server.trouble == []


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for block in (1 << 16, 1 << 12):
            try:
                while file.write(bytes(block)) == block:
                    continue
            except OSError:
                continue
    return ballast


def refused_for_room(answer: Answer) -> None:
    assert (answer.status, answer.code) == (507, "ERR_STORAGE_FULL"), answer
    assert int(answer["Retry-After"]) > 0


def test_what_fits_is_kept(server: Server, disk: Path) -> None:
    """Bodies on every way that fill the disk end with 507; HEAD tells what fitted, and they go on with room."""
    data = os.urandom(SIZE)
    ballast = disk / "ballast"
    small, spliced = server.new(SIZE // 2), server.new(SIZE // 2)
    ballast.write_bytes(bytes(SIZE - 2 * MIB))
    refused_for_room(server.patch(spliced, 0, data[: SIZE // 2]))
    kept = server.offset(spliced)
    assert MIB < kept < 2 * MIB
    refused_for_room(server.patch(small, 0, data[:50_000]))
    refused_for_room(server.patch(small, server.offset(small), data[server.offset(small) : 50_000]))
    at = server.offset(small)
    ballast.unlink()
    assert server.patch(spliced, kept, data[kept : SIZE // 2]).offset == SIZE // 2
    assert server.patch(small, at, data[at:100_000]).offset == 100_000
    assert server.get(spliced).body == data[: SIZE // 2]
    server.restart()
    assert server.offset(small) == 100_000


def test_creation_is_refused_up_front(server: Server, disk: Path) -> None:
    """What cannot fit is not begun and costs the client no bytes; what never will is refused for good."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(SIZE // 2))
    body: Fields = {**TUS, "Content-Length": "9", "Content-Type": BYTES}
    with server.connect() as wire:
        wire.begin("POST", "/files/", {**body, "Upload-Length": str(SIZE * 3 // 4)})
        refused_for_room(wire.answer("POST"))
    with server.connect() as wire:
        wire.begin("POST", "/files/", {**body, "Upload-Length": str(SIZE * 2)})
        assert wire.answer("POST").status == 413
    assert list((server.folder / "uploads").iterdir()) == []
    assert server.create(MIB, body=bytes(MIB)).status == 201


def test_a_full_disk_still_answers(server: Server, disk: Path) -> None:
    """HEAD is 200, a download works, creations are 507, and terminating makes room again."""
    whole, part = server.new(MIB, body=bytes(MIB)), server.new(MIB, body=b"part")
    ballast = fill(disk)
    assert server.offset(part) == 4
    assert server.get(whole).body == bytes(MIB)
    refused_for_room(server.create(10))
    refused_for_room(server.create(3, body=b"abc"))
    assert server.delete(whole).status == 204
    assert server.head(whole).status == 404
    eventually(lambda: server.create(3, body=b"abc").status == 201, "there is room again")
    assert server.patch(part, 4, b"y").offset == 5
    ballast.unlink()


def test_a_checksum_on_a_full_disk(server: Server, disk: Path) -> None:
    """A verified chunk that does not fit is not kept at all: half of it could not be verified."""
    data = os.urandom(3 * MIB)
    path = server.new(len(data))
    (disk / "ballast").write_bytes(bytes(SIZE - 2 * MIB))
    checksum = {"Upload-Checksum": f"sha1 {base64.b64encode(hashlib.sha1(data).digest()).decode()}"}
    refused_for_room(server.patch(path, 0, data, checksum))
    assert server.offset(path) == 0
    (disk / "ballast").unlink()
    assert server.patch(path, 0, data, checksum).offset == len(data)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Nothing can be written there meanwhile, as when the kernel has met an error of the disk."""
    bind = ["-o", "remount,bind,ro"], ["-o", "remount,bind,rw"]
    subprocess.run(["mount", *bind[0], str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", *bind[1], str(place)], check=True)


@pytest.fixture
def own_mount(disk: Path) -> Iterator[Path]:
    """The folder of the uploads, as a mount of its own, so that it can be made read-only under a running server."""
    uploads = disk / "data" / "uploads"
    uploads.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(uploads), str(uploads)], check=True)
    yield uploads
    subprocess.run(["umount", str(uploads)], check=True)


def test_a_folder_that_can_only_be_read(own_mount: Path, server: Server) -> None:
    """Errors of a kind that clients wait for, never 500; when the disk is mended, uploads go on."""
    whole, part = server.new(3, body=b"abc"), server.new(100, body=b"part")
    with read_only(own_mount):
        for answer in (server.create(10), server.create(3, body=b"abc"), server.patch(part, 4, b"more")):
            assert (answer.status, answer.code) == (503, "ERR_STORAGE_UNAVAILABLE")
            assert int(answer["Retry-After"]) > 0
        assert server.offset(part) == 4
        assert server.get(whole).body == b"abc"
        assert server.delete(part).status == 503
    assert server.patch(whole, 3, b"").offset == 3
    assert server.create(3, body=b"abc").status == 201


def test_a_start_on_a_disk_that_can_only_be_read(disk: Path, refused: Starter) -> None:
    """The reason is told in a sentence."""
    (disk / "data").mkdir()
    with read_only(disk):
        code, sentence = refused("--upload-dir", disk / "data")
    assert (code, sentence) == (2, f"The upload folder {disk}/data cannot be used: Read-only file system.")


def test_a_start_on_a_full_disk(server: Server, disk: Path, refused: Starter) -> None:
    """A database that cannot be opened for want of room is not blamed; with room the server starts and knows all."""
    path = server.new(100, body=b"part")
    assert server.terminate() == 0
    ballast = fill(disk)
    code, sentence = refused("--upload-dir", server.folder)
    assert (code, "look whether the disk is full" in sentence) == (2, True)
    ballast.unlink()
    server.restart()
    assert server.offset(path) == 4
