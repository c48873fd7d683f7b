"""Files of the data folder: what others do to them, and what a process that dies leaves."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.storage.damage import (
    FOREIGN,
    becomes_folder,
    becomes_link,
    becomes_longer,
    becomes_pipe,
    becomes_shorter,
    path_of,
)
from tests.storage.desk import BOOT, opened
from tusd_py.errors import TusError, UploadFailed
from tusd_py.upload import Upload, new_id

LARGE = 3 << 20  # too large for the group sync


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
        becomes_longer(path_of(tmp_path, id))
        with pytest.raises(UploadFailed):
            await desk.offset(id)


async def test_lengthened_beyond_what_is_durable(tmp_path: Path) -> None:
    """With durability `always` only what is known to be on the disk counts, whatever else somebody writes."""
    async with opened("always", tmp_path) as desk:
        id = await desk.create(11, b"hello")
        becomes_longer(path_of(tmp_path, id))
        assert await desk.offset(id) == 5
        assert await desk.add(id, b" there") == 11
        assert await desk.content(id) == b"hello there"


@pytest.mark.parametrize("damage", [*FOREIGN, becomes_shorter, becomes_longer])
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
        if damage is not becomes_longer:
            with pytest.raises(UploadFailed):
                await desk.read(id)


@pytest.mark.parametrize("length", [11, LARGE])
@pytest.mark.parametrize("damage", [becomes_link, becomes_pipe, Path.unlink])
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
        becomes_shorter(path_of(tmp_path, id))
        with pytest.raises(UploadFailed):
            await desk.offset(id)


async def test_folder_cannot_be_deleted(tmp_path: Path, kind: str) -> None:
    """A folder in the file's place is not ours to delete, and says so."""
    async with opened(kind, tmp_path) as desk:
        id = await desk.create(11, b"hello")
        becomes_folder(path_of(tmp_path, id))
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


@pytest.mark.rule("T65", "T84")
@pytest.mark.parametrize("tail", [6, LARGE])
async def test_finish_where_an_attempt_began(tmp_path: Path, kind: str, tail: int) -> None:
    """A length that ends where an unverified chunk begins finishes the upload there: its tail and its floor go."""
    async with opened(kind, tmp_path) as before:
        id = await before.create(None, b"hello")
        with path_of(tmp_path, id).open("ab") as file:
            file.write(bytes(tail))
        path_of(tmp_path, f"{id}.floor").write_bytes(b"5\n")
    async with opened(kind, tmp_path) as after:
        after.inherit(before)
        await after.finish(id)
        assert await after.offset(id) == 5
        assert await after.read(id) == b"hello"
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == [id]


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
        after._uploads[id] = before[id].evolve(handle=f"{BOOT}/0")
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
            after._uploads[id] = before[id].evolve(handle=f"{BOOT}/0")
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
