"""What a machine that crashes leaves, what a sync promises, and a disk that is full."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.storage.damage import (
    becomes_shorter,
    path_of,
)
from tests.storage.desk import BOOT, descriptors, opened, small_disk
from tusd_py.errors import StorageFull, Unavailable, UploadFailed
from tusd_py.storage.base import Ending

LARGE = 3 << 20  # too large for the group sync


# A life of the machine before this one (law 1a)


async def test_machine_crash(tmp_path: Path) -> None:
    """After a machine crash an unfinished file falls back to what was synced, and goes on from there."""
    async with opened("finish", tmp_path) as before:
        id = await before.create(None, b"hello")
    assert before[id].handle == f"{BOOT}/5"
    with path_of(tmp_path, id).open("ab") as file:
        file.write(b"\0" * 100)  # what was written after the sync, or what the crash made of it
    async with opened("finish", tmp_path, boot="second-life") as after:
        after.inherit(before)
        assert await after.offset(id) == 5
        assert await after.add(id, b" world") == 11
        assert after.kept[0] == (id, "second-life/5")
        assert await after.content(id) == b"hello world"


async def test_machine_crash_with_durability_os(tmp_path: Path) -> None:
    """With durability `os` nothing is taken back: the size is believed."""
    async with opened("os", tmp_path) as before:
        id = await before.create(None, b"hello")
    async with opened("os", tmp_path, boot="second-life") as after:
        after.inherit(before)
        assert await after.offset(id) == 5


async def test_machine_crash_takes_the_file(tmp_path: Path) -> None:
    """A file of which nothing was synced may be gone with its entry: the upload begins again."""
    async with opened("finish", tmp_path) as before:
        id = await before.create(5)
        path_of(tmp_path, id).unlink()
        with pytest.raises(UploadFailed):
            await before.offset(id)
    async with opened("finish", tmp_path, boot="second-life") as after:
        after.inherit(before)
        assert await after.offset(id) == 0
        assert await after.add(id, b"hello") == 5
        await after.finish(id)
        assert await after.read(id) == b"hello"


async def test_machine_crash_takes_synced_bytes(tmp_path: Path) -> None:
    """A file that was synced and is gone, or shorter, has failed."""
    async with opened("always", tmp_path) as before:
        gone, short = await before.create(None, b"hello"), await before.create(None, b"hello")
        path_of(tmp_path, gone).unlink()
        os.truncate(path_of(tmp_path, short), 4)
    async with opened("always", tmp_path, boot="second-life") as after:
        after.inherit(before)
        for id in (gone, short):
            with pytest.raises(UploadFailed):
                await after.offset(id)


async def test_finished_survives_a_machine_crash(tmp_path: Path, kind: str) -> None:
    """A finished upload is whole or lost, never a part."""
    async with opened(kind, tmp_path) as before:
        id = await before.finished(b"hello world")
    async with opened(kind, tmp_path, boot="second-life") as after:
        after.inherit(before)
        assert await after.read(id) == b"hello world"
        becomes_shorter(path_of(tmp_path, id))
        with pytest.raises(UploadFailed):
            await after.offset(id)


# Syncs


async def test_always(tmp_path: Path) -> None:
    """With durability `always` every append is synced and recorded before it is acknowledged."""
    async with opened("always", tmp_path) as desk:
        for length in (11, LARGE, None):
            id = await desk.create(length, b"hello")
            assert desk[id].handle == f"{BOOT}/5"
            await desk.add(id, b" world")
            assert desk[id].handle == f"{BOOT}/11"


@pytest.mark.rule("T84")
@pytest.mark.parametrize("length", [11, LARGE, None])
async def test_rewound_bytes_are_never_promised(tmp_path: Path, kind: str, length: int | None) -> None:
    """Whatever is synced and recorded, it is nothing of a chunk that was taken back: the upload can go on."""
    async with opened(kind, tmp_path) as before:
        id = await before.create(length, b"hello")
        async with before.rewindable.tentative(before[id], 5):
            await before.append(id, before.body(b" wurld"), 5)
        assert await before.offset(id) == 5
    async with opened(kind, tmp_path) as after:  # the close has synced and recorded what was left
        after.inherit(before)
        assert await after.offset(id) == 5
        assert await after.add(id, b" world") == 11


async def test_always_keeps_after_the_verdict(tmp_path: Path) -> None:
    """With durability `always` a verified chunk is recorded as synced, once it is verified."""
    async with opened("always", tmp_path) as desk:
        id = await desk.create(None, b"hello")
        async with desk.rewindable.tentative(desk[id], 5) as attempt:
            await desk.append(id, desk.body(b" world"), 5)
            assert desk[id].handle == f"{BOOT}/5"
            attempt.keep()
        assert desk[id].handle == f"{BOOT}/11"


async def test_close_syncs_what_is_left(tmp_path: Path) -> None:
    """A clean stop syncs unfinished uploads and records how far."""
    async with opened("finish", tmp_path) as desk:
        ids = [await desk.create(length, b"hello") for length in (None, 11, LARGE) for _ in range(5)]
        done, gone = await desk.finished(b"done"), await desk.create(11, b"hello")
        await desk.storage.delete(desk[gone])
        assert desk.kept == []
    assert set(desk.kept) == {(id, f"{BOOT}/5") for id in ids}
    assert desk[done].handle == f"{BOOT}/0"


async def test_os_never_syncs(tmp_path: Path) -> None:
    """With durability `os` nothing is promised and nothing recorded."""
    async with opened("os", tmp_path) as desk:
        await desk.finished(b"hello")
        await desk.create(11, b"hello")
    assert desk.kept == []


async def test_finish_many(tmp_path: Path) -> None:
    """Small files that are finished at once share their syncs, and each is told of its own."""
    async with opened("finish", tmp_path) as desk:
        ids = [await desk.create(5, b"hello") for _ in range(40)]
        lost = ids[::4]
        for id in lost:
            path_of(tmp_path, id).unlink()
        outcomes = await asyncio.gather(*(desk.storage.finish(desk[id]) for id in ids), return_exceptions=True)
        failed = {id for id, outcome in zip(ids, outcomes, strict=True) if isinstance(outcome, UploadFailed)}
        told = {id for id, outcome in zip(ids, outcomes, strict=True) if outcome is None}
    assert failed | told == set(ids)
    assert failed <= set(lost)


@contextmanager
def cannot_be_synced(path: Path) -> Iterator[None]:
    """In the place of the file's descriptor stands a pipe, which fdatasync refuses."""
    (fd,) = [fd for fd, name in descriptors().items() if name == str(path)]
    ends = os.pipe()
    os.dup2(ends[1], fd, inheritable=False)
    try:
        yield
    finally:
        for end in ends:
            os.close(end)


@pytest.mark.parametrize("length", [5, LARGE])
async def test_failed_sync_is_final(tmp_path: Path, length: int) -> None:
    """A sync that fails is never tried again: the file goes into quarantine, and the upload has failed."""
    async with opened("finish", tmp_path) as desk:
        id = await desk.create(length, bytes(length), bytes_follow=True)
        with cannot_be_synced(path_of(tmp_path, id)), pytest.raises(UploadFailed):
            await desk.storage.finish(desk[id])
        with pytest.raises(UploadFailed):
            await desk.storage.finish(desk[id])
    assert not path_of(tmp_path, id).exists()
    assert (tmp_path / "quarantine" / id).exists()


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Nothing more can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(descriptors()) + 3, hard))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("length", [5, LARGE])
async def test_no_descriptor_left(tmp_path: Path, length: int) -> None:
    """Want of descriptors is no failed sync: nothing is lost, and it works once there are some."""
    async with opened("finish", tmp_path) as desk:
        id, empty = await desk.create(length, b"hell"), await desk.create(length)
        with no_descriptor_left():
            for failing in (desk.storage.finish(desk[id]), desk.add(id, b"o"), desk.read(id, 0, 4), desk.create(5)):
                with pytest.raises(Unavailable):
                    await failing
        assert await desk.add(id, b"o") == 5
        await desk.finish(id)
        assert await desk.read(id) == b"hello"
        await desk.finish(empty)
    assert not (tmp_path / "quarantine").exists()


@pytest.mark.rule("T28")
async def test_close_while_a_body_is_written(tmp_path: Path) -> None:
    """Bytes that arrived when the storage is closed are synced and recorded, whatever becomes of their writer."""
    async with opened("finish", tmp_path) as desk:
        id = await desk.create(LARGE)
        body = desk.body(b"x" * 100_000, asyncio.Event(), announced=LARGE)
        writing = asyncio.create_task(desk.append(id, body))
        await body.waits.wait()
        body.let_go(Ending.STOPPING)
        await writing
    assert desk[id].handle == f"{BOOT}/100000"


@pytest.mark.root
async def test_disk_full(tmp_path: Path) -> None:
    """A full disk keeps what fits, and takes the rest once there is room."""
    data = os.urandom(2 << 20)
    with small_disk(tmp_path / "small", "1m") as folder:
        async with opened("finish", folder) as desk:
            ballast, id = await desk.create(None, b"x" * 600_000), await desk.create(len(data))
            body = desk.body(data[:300_000], data[300_000:], announced=len(data))
            offset = await desk.append(id, body)
            assert body.ended_by is Ending.FULL
            assert 300_000 <= offset < 500_000
            assert await desk.content(id) == data[:offset]
            await desk.storage.delete(desk[ballast])
            assert await desk.add(id, data[offset : offset + 100_000]) == offset + 100_000
            assert await desk.content(id) == data[: offset + 100_000]


@pytest.mark.root
async def test_concatenation_on_a_full_disk(tmp_path: Path) -> None:
    """Parts that do not fit together are StorageFull, and join once there is room."""
    with small_disk(tmp_path / "small", "1m") as folder:
        async with opened("finish", folder) as desk:
            ballast = await desk.create(None, b"x" * 300_000)
            parts = [await desk.finished(b"12" * 100_000), await desk.finished(b"3" * 100_000)]
            final = await desk.create(None)
            with pytest.raises(StorageFull):
                await desk.joinable.join(desk[final], [desk[parts[0]]] * 3)
            await desk.storage.delete(desk[ballast])
            assert await desk.joinable.join(desk[final], [desk[id] for id in parts]) == 300_000
            assert await desk.content(final) == b"12" * 100_000 + b"3" * 100_000
