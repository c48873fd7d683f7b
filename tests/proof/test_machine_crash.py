"""What a crash of the machine takes back, and what it must not (law 1a)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.proof.ledger import payload
from tests.proof.life import life, sha1
from tusd_py.errors import ChecksumMismatch, UploadFailed
from tusd_py.storage.durability import SYNC_EVERY
from tusd_py.storage.local import Durability

MIB = 1 << 20
JUNK = b"\0" * 100  # what a file may hold where it was not synced


async def eventually(condition: Callable[[], Awaitable[bool]], within: float = 20.0) -> None:
    """Poll until it holds; fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.01)


async def half_synced(folder: Path, data: bytes, synced: int, offset: int) -> str:
    """An unfinished upload of which the first bytes are on the disk and the next only in the page cache."""
    async with life(folder, "first") as before:
        id = await before.create(len(data), data[:synced])
    async with life(folder, "first", crash=True) as cut_short:
        assert await cut_short.append(id, synced, data[synced:offset]) == offset
        assert await cut_short.synced(id) == synced
    return id


@pytest.mark.rule("T20")
async def test_it_falls_back(tmp_path: Path) -> None:
    """An unfinished upload goes on from what was synced, and what lay beyond is not in it."""
    data = payload("fall back", 300)
    id = await half_synced(tmp_path, data, 100, 200)
    with (tmp_path / "uploads" / id).open("r+b") as file:
        file.seek(100)
        file.write(JUNK)
    async with life(tmp_path, "second") as after:
        assert await after.offset(id) == 100
        assert await after.append(id, 100, data[100:150]) == 150
        assert after.file(id).read_bytes() == data[:150]
        assert await after.append(id, 150, data[150:]) == 300
        assert await after.content(id) == data


async def test_falling_back_twice(tmp_path: Path) -> None:
    """The bytes of the second life of the machine can be lost as well, those before cannot."""
    data = payload("twice", 300)
    id = await half_synced(tmp_path, data, 100, 200)
    async with life(tmp_path, "second", crash=True) as second:
        assert await second.append(id, 100, data[100:250]) == 250
    async with life(tmp_path, "second", crash=True) as second_again:
        assert await second_again.offset(id) == 250
    async with life(tmp_path, "third") as third:
        assert await third.offset(id) == 100
        assert await third.append(id, 100, data[100:]) == 300
        assert await third.content(id) == data


async def test_a_process_takes_nothing_back(tmp_path: Path) -> None:
    """As long as the machine lives, the size of the file is the truth."""
    data = payload("process", 300)
    id = await half_synced(tmp_path, data, 100, 200)
    async with life(tmp_path, "first") as after:
        assert await after.offset(id) == 200


@pytest.mark.parametrize("size", [0, 4096, 2 * MIB])
@pytest.mark.parametrize("durability", [Durability.FINISH, Durability.ALWAYS])
async def test_finished_stays(tmp_path: Path, size: int, durability: Durability) -> None:
    """A finished upload was synced before it was called finished."""
    data = payload("finished", size)
    async with life(tmp_path, "first", crash=True, durability=durability) as before:
        id = await before.create(size, data)
    async with life(tmp_path, "second", durability=durability) as after:
        assert await after.offset(id) == size
        assert await after.content(id) == data


async def test_a_missing_file(tmp_path: Path) -> None:
    """A file of which nothing was ever synced may go with its folder entry: its upload begins again."""
    data = payload("missing", 200)
    async with life(tmp_path, "first", crash=True) as before:
        id = await before.create(200, data[:100])
    (tmp_path / "uploads" / id).unlink()
    async with life(tmp_path, "second") as after:
        assert await after.offset(id) == 0
        assert await after.append(id, 0, data) == 200
        assert await after.content(id) == data


@pytest.mark.parametrize("boot", ["first", "second"])
@pytest.mark.parametrize("cut", ["gone", "shorter"])
async def test_damage(tmp_path: Path, boot: str, cut: str) -> None:
    """A file that lacks synced bytes is damaged, whoever did it: 410, not somebody's zeros."""
    id = await half_synced(tmp_path, payload("damage", 300), 100, 200)
    file = tmp_path / "uploads" / id
    file.unlink() if cut == "gone" else file.write_bytes(b"short")
    async with life(tmp_path, boot) as after:
        with pytest.raises(UploadFailed):
            await after.offset(id)


async def test_a_deleted_file(tmp_path: Path) -> None:
    """Without a crash of the machine a file does not vanish by itself, synced or not."""
    async with life(tmp_path, "first", crash=True) as before:
        id = await before.create(200, b"x")
        before.file(id).unlink()
        with pytest.raises(UploadFailed):
            await before.offset(id)


async def test_os(tmp_path: Path) -> None:
    """With `os` nothing falls back: the operating system was trusted with it."""
    data = payload("os", 200)
    async with life(tmp_path, "first", crash=True, durability=Durability.OS) as before:
        id = await before.create(200, data[:100])
    async with life(tmp_path, "second", durability=Durability.OS) as after:
        assert await after.offset(id) == 100
        assert await after.append(id, 100, data[100:]) == 200
        assert await after.content(id) == data


# Only what is synced is acknowledged


@pytest.mark.parametrize("size", [300, 3 * MIB])
async def test_always(tmp_path: Path, size: int) -> None:
    """With `always` every offset that was acknowledged survives, and its bytes do."""
    data, third = payload("always", size), size // 3
    for number in range(3):
        async with life(tmp_path, f"boot {number}", crash=True, durability=Durability.ALWAYS) as one:
            if number == 0:
                id = await one.create(size, data[:third])
            assert await one.offset(id) == max(1, number) * third
            if number:
                assert await one.append(id, number * third, data[number * third : (number + 1) * third])
            assert one.file(id).read_bytes() == data[: max(1, number + 1) * third]
    async with life(tmp_path, "last", durability=Durability.ALWAYS) as last:
        assert await last.content(id) == data


async def test_always_tells_only_what_is_synced(tmp_path: Path) -> None:
    """Beside a live writer HEAD counts no byte that the disk does not have yet."""
    data = payload("live", 200_000)
    async with life(tmp_path, "first", crash=True, durability=Durability.ALWAYS) as before:
        id = await before.create(len(data), data[:100])
        fed, patch = before.begin(id, 100, len(data) - 100)
        fed.feed(data[100:150_000])

        async def arrived() -> bool:
            return before.file(id).stat().st_size == 150_000

        await eventually(arrived)
        told = await before.offset(id)
        assert told == await before.synced(id) == 100
        patch.cancel()
    async with life(tmp_path, "second", durability=Durability.ALWAYS) as after:
        assert await after.offset(id) == told


@pytest.mark.slow
@pytest.mark.parametrize("durability", [Durability.FINISH, Durability.ALWAYS])
async def test_every_64_mib(tmp_path: Path, durability: Durability) -> None:
    """In the middle of a long body the synced part moves on, so that never more than that is lost."""
    piece, announced = payload("64 MiB", MIB), 3 * SYNC_EVERY
    async with life(tmp_path, "first", crash=True, durability=durability) as before:
        id = await before.create(announced)
        fed, patch = before.begin(id, 0, announced)
        for _ in range(SYNC_EVERY // MIB + 1):
            fed.feed(piece)

        async def moved_on() -> bool:
            return await before.synced(id) >= SYNC_EVERY

        await eventually(moved_on)
        told = await before.synced(id)
        patch.cancel()
    async with life(tmp_path, "second", durability=durability) as after:
        assert await after.offset(id) == told


@pytest.mark.slow
async def test_after_two_seconds_of_silence(tmp_path: Path) -> None:
    """An upload that has fallen silent is synced without anybody asking, while its request is still open or not."""
    data = payload("silence", 300)
    async with life(tmp_path, "first", crash=True) as before:
        ended, open_one = await before.create(300, data[:200]), await before.create(300, data[:100])
        fed, patch = before.begin(open_one, 100, 200)
        fed.feed(data[100:200])

        async def both_are_synced() -> bool:
            return [await before.synced(ended), await before.synced(open_one)] == [200, 200]

        await eventually(both_are_synced)
        patch.cancel()
    async with life(tmp_path, "second") as after:
        assert [await after.offset(ended), await after.offset(open_one)] == [200, 200]


async def test_a_clean_stop(tmp_path: Path) -> None:
    """A server that stops cleanly leaves nothing that a crash could take back, even beside a running body."""
    data = payload("clean stop", 300)
    async with life(tmp_path, "first") as before:
        ended, open_one = await before.create(300, data[:200]), await before.create(300, data[:100])
        fed, patch = before.begin(open_one, 100, 200)
        fed.feed(data[100:200])

        async def arrived() -> bool:
            return await before.offset(open_one) == 200

        await eventually(arrived)
    async with life(tmp_path, "second") as after:
        assert [await after.offset(ended), await after.offset(open_one)] == [200, 200]
    patch.cancel()


# Floors (law 1b)


@pytest.mark.rule("T84")
@pytest.mark.parametrize("boot", ["first", "second"])
@pytest.mark.parametrize("durability", list(Durability))
async def test_a_floor_holds(tmp_path: Path, boot: str, durability: Durability) -> None:
    """No byte of a chunk on its way to be verified is ever synced into the offset, or counts after a crash."""
    data = payload("floor", 3 * MIB)
    async with life(tmp_path, "first", durability=durability) as before:
        id = await before.create(len(data), data[:100])
    async with life(tmp_path, "first", crash=True, durability=durability) as cut_short:
        fed, patch = cut_short.begin(id, 100, len(data) - 100, sha1(data[100:]))
        fed.feed(data[100 : 2 * MIB])

        async def arrived() -> bool:
            return cut_short.file(id).stat().st_size == 2 * MIB

        await eventually(arrived)
        assert await cut_short.offset(id) == 100
        patch.cancel()
    (tmp_path / "uploads" / f"{id}.floor").write_bytes(b"100\n")
    async with life(tmp_path, boot, durability=durability) as after:
        assert await after.offset(id) == (0 if durability is Durability.OS and boot == "never" else 100)
        assert await after.append(id, 100, data[100:], sha1(data[100:])) == len(data)
        assert await after.content(id) == data


@pytest.mark.rule("T84")
@pytest.mark.parametrize("durability", list(Durability))
async def test_a_mismatch_moves_nothing(tmp_path: Path, durability: Durability) -> None:
    """After a large chunk that did not match, the upload is as it was, for good: what is synced does not pass it."""
    data = payload("mismatch", 3 * MIB)
    async with life(tmp_path, "first", durability=durability) as before:
        id = await before.create(len(data), data[:100])
        with pytest.raises(ChecksumMismatch):
            await before.append(id, 100, data[100:], sha1(b"something else"))
        assert await before.offset(id) == 100
    async with life(tmp_path, "second", durability=durability) as after:
        assert await after.offset(id) == 100
        assert await after.append(id, 100, data[100:], sha1(data[100:])) == len(data)
        assert await after.content(id) == data


@pytest.mark.rule("T84")
@pytest.mark.parametrize("left", [b"100\n", b""])
async def test_a_floor_that_came_back(tmp_path: Path, left: bytes) -> None:
    """A floor was lifted, but the crash undid that, or lost what it said: bytes known to be synced still count."""
    data = payload("came back", 3 * MIB)
    async with life(tmp_path, "first") as before:
        id = await before.create(len(data), data[:100])
        chunk = data[100 : 2 * MIB]
        assert await before.append(id, 100, chunk, sha1(chunk)) == 2 * MIB
    (tmp_path / "uploads" / f"{id}.floor").write_bytes(left)
    async with life(tmp_path, "second") as after:
        assert await after.offset(id) == 2 * MIB
        assert await after.append(id, 2 * MIB, data[2 * MIB :]) == len(data)
        assert await after.content(id) == data


@pytest.mark.rule("T84")
async def test_always_after_a_large_chunk(tmp_path: Path) -> None:
    """With `always` a verified chunk is synced before it is acknowledged."""
    data = payload("large chunk", 3 * MIB)
    async with life(tmp_path, "first", crash=True, durability=Durability.ALWAYS) as before:
        id = await before.create(len(data))
        chunk = data[: 2 * MIB]
        assert await before.append(id, 0, chunk, sha1(chunk)) == 2 * MIB
        assert await before.synced(id) == 2 * MIB
    async with life(tmp_path, "second", durability=Durability.ALWAYS) as after:
        assert await after.offset(id) == 2 * MIB


@pytest.mark.rule("T65")
async def test_a_length_below_what_fell_back(tmp_path: Path) -> None:
    """A length that is declared where the upload fell back to finishes it there, whatever the file still holds."""
    data = payload("declared", 200)
    async with life(tmp_path, "first") as before:
        id = await before.create(None, data[:100])
    async with life(tmp_path, "first", crash=True) as cut_short:
        assert await cut_short.append(id, 100, data[100:]) == 200
    async with life(tmp_path, "second") as after:
        assert await after.append(id, 100, b"", length=100) == 100
        assert await after.content(id) == data[:100]


@pytest.mark.rule("T65")
@pytest.mark.parametrize("boot", ["first", "second"])
async def test_dying_after_a_length_was_declared(tmp_path: Path, boot: str) -> None:
    """The process dies between the declared length and the cut of what fell back: the next one finishes it there."""
    data = payload("declared and died", 200)
    async with life(tmp_path, "first") as before:
        id = await before.create(None, data[:100])
    async with life(tmp_path, "first", crash=True) as cut_short:
        assert await cut_short.append(id, 100, data[100:]) == 200
    if boot == "first":
        (tmp_path / "uploads" / f"{id}.floor").write_bytes(b"100\n")
    async with life(tmp_path, boot, crash=True) as died:
        await died.records.declare_length(id, 100)
    async with life(tmp_path, boot) as after:
        assert await after.offset(id) == 100
        assert await after.content(id) == data[:100]
