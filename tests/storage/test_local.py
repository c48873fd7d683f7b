"""Files of the data folder: what others do to them, what a dead process or machine leaves, and what a sync promises."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.storage.desk import BOOT, descriptors, opened, small_disk
from tusd_py.errors import StorageFull, TusError, Unavailable, UploadFailed
from tusd_py.storage.base import Ending
from tusd_py.upload import Upload, new_id

KINDS = ("finish", "always", "os")
LARGE = 3 << 20  # too large for the group sync


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def path_of(folder: Path, id: str) -> Path:
    return folder / "uploads" / id


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent.parent / "secret")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _shorter(path: Path) -> None:
    os.truncate(path, 3)


def _longer(path: Path) -> None:
    path.write_bytes(b"hello world and more")


FOREIGN = (_folder, _link, _pipe, Path.unlink)


# Somebody else was in the folder


@pytest.mark.parametrize("damage", FOREIGN)
async def test_foreign_while_unfinished(tmp_path: Path, kind: str, damage: Callable[[Path], None]) -> None:
    """Whatever stands in the place of an unfinished file: the upload is lost, plainly, and nothing else is touched."""
    (tmp_path / "secret").write_bytes(b"secret")
    async with opened(kind, tmp_path) as desk:
        id = await desk.create(11, b"hello")
        damage(path_of(tmp_path, id))
        for asked in (desk.offset(id), desk.append(id, desk.body(b" world"), 5)):
            with pytest.raises(UploadFailed):
                await asked
    assert (tmp_path / "secret").read_bytes() == b"secret"


@pytest.mark.parametrize("kind", ["finish", "os"])
async def test_lengthened_while_unfinished(tmp_path: Path, kind: str) -> None:
    """An unfinished file that is longer than the upload was written to by somebody else."""
    async with opened(kind, tmp_path) as desk:
        id = await desk.create(11, b"hello")
        _longer(path_of(tmp_path, id))
        with pytest.raises(UploadFailed):
            await desk.offset(id)


async def test_lengthened_beyond_what_is_durable(tmp_path: Path) -> None:
    """With durability `always` only what is known to be on the disk counts, whatever else somebody writes."""
    async with opened("always", tmp_path) as desk:
        id = await desk.create(11, b"hello")
        _longer(path_of(tmp_path, id))
        assert await desk.offset(id) == 5
        assert await desk.add(id, b" there") == 11
        assert await desk.content(id) == b"hello there"


@pytest.mark.parametrize("damage", [*FOREIGN, _shorter, _longer])
async def test_foreign_when_finished(tmp_path: Path, kind: str, damage: Callable[[Path], None]) -> None:
    """A finished file that was removed, replaced, shortened or lengthened is never taken for the upload."""
    (tmp_path / "secret").write_bytes(b"secret!!!!!")
    async with opened(kind, tmp_path) as desk:
        id, final = await desk.finished(b"hello world"), await desk.create(None)
        damage(path_of(tmp_path, id))
        with pytest.raises(UploadFailed):
            await desk.offset(id)
        with pytest.raises(UploadFailed):
            await desk.joinable.join(desk[final], [desk[id]])
        if damage is not _longer:
            with pytest.raises(UploadFailed):
                await desk.read(id)


@pytest.mark.parametrize("length", [11, LARGE])
@pytest.mark.parametrize("damage", [_link, _pipe, Path.unlink])
async def test_foreign_before_finish(tmp_path: Path, damage: Callable[[Path], None], length: int) -> None:
    """What is not the upload's file cannot be made durable: the upload has failed."""
    async with opened("finish", tmp_path) as desk:
        id = await desk.create(length, b"hello")
        damage(path_of(tmp_path, id))
        with pytest.raises(UploadFailed):
            await desk.storage.finish(desk[id])


async def test_shortened_below_what_was_synced(tmp_path: Path) -> None:
    """An unfinished file that is shorter than what was known to be on the disk has lost bytes."""
    async with opened("always", tmp_path) as desk:
        id = await desk.create(11, b"hello")
        _shorter(path_of(tmp_path, id))
        with pytest.raises(UploadFailed):
            await desk.offset(id)


async def test_folder_cannot_be_deleted(tmp_path: Path, kind: str) -> None:
    """A folder in the file's place is not ours to delete, and says so."""
    async with opened(kind, tmp_path) as desk:
        id = await desk.create(11, b"hello")
        _folder(path_of(tmp_path, id))
        with pytest.raises(TusError):
            await desk.storage.delete(desk[id])
        assert path_of(tmp_path, id).is_dir()


async def test_file_that_lies_there(tmp_path: Path, kind: str) -> None:
    """A file that is already there is not overwritten by a creation, nor followed if it is a link."""
    async with opened(kind, tmp_path) as desk:
        ids = [new_id(), new_id()]
        path_of(tmp_path, ids[0]).write_bytes(b"theirs")
        path_of(tmp_path, ids[1]).symlink_to(tmp_path / "nothing")
        for id in ids:
            with pytest.raises(TusError):
                await desk.storage.create(Upload(id, 5, 0.0))
        assert path_of(tmp_path, ids[0]).read_bytes() == b"theirs"
    assert not (tmp_path / "nothing").exists()


async def test_foreign_names(tmp_path: Path, kind: str) -> None:
    """Files under names that are no ids, folders and links are not strays."""
    async with opened(kind, tmp_path) as desk:
        folder = tmp_path / "uploads"
        for name in ("readme.txt", "x" * 21, "x" * 23, ".hidden", "ä" * 11):
            (folder / name).write_bytes(b"theirs")
        (folder / new_id()).mkdir()
        (folder / new_id()).symlink_to("readme.txt")
        os.mkfifo(folder / new_id())
        assert await desk.strays(time.time() + 60) == set()


# A life before this one


async def test_next_process(tmp_path: Path, kind: str) -> None:
    """A process that dies loses no byte that was told: the next one reads the offset from the file."""
    async with opened(kind, tmp_path) as before, opened(kind, tmp_path) as after:
        id = await before.create(11)
        body = before.body(b"hello", asyncio.Event(), announced=11)
        writing = asyncio.create_task(before.append(id, body))
        await body.waits.wait()
        after.inherit(before)
        offset = await after.offset(id)
        assert offset == await before.offset(id) == (0 if kind == "always" else 5)
        assert await after.add(id, b"hello world"[offset:]) == 11
        await after.finish(id)
        assert await after.read(id) == b"hello world"
        writing.cancel()
        await asyncio.wait([writing])


@pytest.mark.rule("T84")
async def test_process_dies_in_an_attempt(tmp_path: Path, kind: str) -> None:
    """Bytes of a chunk that nobody verified before the process died do not count, and are overwritten."""
    id, seen = "i" * 22, asyncio.Event()
    async with opened(kind, tmp_path) as before:
        before._uploads[id] = await before.storage.create(Upload(id, 11, 0.0))
        await before.add(id, b"hello")
        body = before.body(b" wurl", seen, announced=6)

        async def attempt() -> None:
            async with before.rewindable.tentative(before[id], 5):
                await before.append(id, body, 5)

        trying = asyncio.create_task(attempt())
        await body.waits.wait()
        shutil.copytree(tmp_path, tmp_path / "copy")  # what a kill leaves at this moment
        trying.cancel()
        await asyncio.wait([trying])
    async with opened(kind, tmp_path / "copy") as after:
        after.inherit(before)
        assert path_of(tmp_path / "copy", id).stat().st_size == 10
        assert await after.offset(id) == 5
        assert await after.add(id, b" w") == 7
        assert await after.add(id, b"orld") == 11
        assert await after.content(id) == b"hello world"
    assert [path.name for path in (tmp_path / "copy" / "uploads").iterdir()] == [id]


@pytest.mark.parametrize(("text", "offset"), [(b"3\n", 3), (b"99\n", 5), (b"", 0), (b"nonsense", 0), (b"-1\n", 0)])
@pytest.mark.parametrize("kind", ["finish", "os"])
async def test_floor_left_over(tmp_path: Path, kind: str, text: bytes, offset: int) -> None:
    """A floor that a dead process left is obeyed; one that cannot be read trusts no byte."""
    async with opened(kind, tmp_path) as before:
        id = await before.create(None)
        await before.add(id, b"hello")
        (tmp_path / "uploads" / f"{id}.floor").write_bytes(text)
    async with opened(kind, tmp_path) as after:
        after.inherit(before)
        after._uploads[id] = replace(before[id], handle=f"{BOOT}/0")
        assert await after.offset(id) == offset
        assert await after.add(id, b"p me") == offset + 4
        assert await after.content(id) == b"hello"[:offset] + b"p me"


async def test_foreign_floors(tmp_path: Path) -> None:
    """A folder, a link or a pipe that bears the name of a floor keeps no server from starting."""
    async with opened("finish", tmp_path) as before:
        ids = [await before.create(None, b"hello") for _ in range(3)]
        paths = [tmp_path / "uploads" / f"{id}.floor" for id in ids]
        paths[0].mkdir()
        paths[1].symlink_to("/etc/passwd")
        os.mkfifo(paths[2])
    async with opened("finish", tmp_path) as after:
        for id in ids:
            after._uploads[id] = replace(before[id], handle=f"{BOOT}/0")
            assert await after.offset(id) == 0


async def test_floor_litter(tmp_path: Path) -> None:
    """Floors that were half made, or belong to uploads that are gone, are cleared away at the start."""
    async with opened("finish", tmp_path) as before:
        id = await before.create(None)
    (tmp_path / "uploads" / f"{id}.floor.new").write_bytes(b"3")
    (tmp_path / "uploads" / f"{new_id()}.floor").write_bytes(b"3")
    async with opened("finish", tmp_path):
        assert [path.name for path in (tmp_path / "uploads").iterdir()] == [id]


async def test_floor_taken_away(tmp_path: Path, kind: str) -> None:
    """Somebody who tidies floors away in the middle of an attempt does no harm."""
    async with opened(kind, tmp_path) as desk:
        id = await desk.create(None, b"hello")
        async with desk.rewindable.tentative(desk[id], 5) as attempt:
            await desk.append(id, desk.body(b"!"), 5)
            (tmp_path / "uploads" / f"{id}.floor").unlink()
            attempt.keep()
        assert await desk.offset(id) == 6


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
        _shorter(path_of(tmp_path, id))
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


@pytest.mark.parametrize("length", [5, LARGE])
async def test_failed_sync_is_final(tmp_path: Path, length: int) -> None:
    """A sync that fails is never tried again: the file goes into quarantine, and the upload has failed."""
    async with opened("finish", tmp_path) as desk:
        id = await desk.create(length)
        _pipe(path_of(tmp_path, id))  # what can be opened but not synced
        for _ in range(2):
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
