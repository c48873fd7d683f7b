"""What every storage promises (tusd_py/storage/base.py)."""

from __future__ import annotations

import asyncio
import hashlib
import time

import pytest

from tests.storage.desk import Desk, descriptors
from tusd_py.errors import Unavailable, UploadFailed
from tusd_py.storage.base import Ending
from tusd_py.upload import Upload

DATA = bytes(range(256)) * 2048  # 512 KiB


async def test_new(desk: Desk) -> None:
    """A new upload is empty, and its sliding expiry begins now."""
    id = await desk.create(5)
    extent = await desk.storage.extent(desk[id])
    assert extent.offset == 0
    assert abs(extent.touched - time.time()) < 60


async def test_taken(desk: Desk) -> None:
    """An id that exists is an error, and its bytes stay as they are."""
    id = await desk.create(5, b"hello")
    for bytes_follow in (False, True):
        with pytest.raises(Unavailable):
            await desk.storage.create(Upload(id, 3, 0.0), bytes_follow=bytes_follow)
    assert await desk.content(id) == b"hello"


@pytest.mark.rule("T20", "T21", "T26")
async def test_append(desk: Desk) -> None:
    """Bytes are kept in their order, and what extent says, the next append goes on from."""
    id = await desk.create(None)
    assert await desk.add(id, DATA, b"a", DATA) == 2 * len(DATA) + 1
    assert await desk.offset(id) == 2 * len(DATA) + 1
    assert await desk.add(id, b"the end") == 2 * len(DATA) + 8
    assert await desk.content(id) == DATA + b"a" + DATA + b"the end"


async def test_append_nothing(desk: Desk) -> None:
    """An empty body changes nothing."""
    id = await desk.create(10, b"hello")
    assert await desk.add(id) == 5
    assert await desk.content(id) == b"hello"


@pytest.mark.rule("T28")
@pytest.mark.parametrize("ending", [ending for ending in Ending if ending not in (Ending.TOO_LONG, Ending.FULL)])
async def test_ends_early(desk: Desk, ending: Ending) -> None:
    """However a body ends, what arrived before is kept, and the upload goes on there."""
    id = await desk.create(11)
    body = desk.body(b"hello ", ending, b"never", announced=11)
    assert await desk.append(id, body) == 6
    assert body.ended_by is ending
    assert await desk.add(id, b"world") == 11
    assert await desk.content(id) == b"hello world"


@pytest.mark.rule("T31")
async def test_too_long(desk: Desk) -> None:
    """A body that is longer than its room never fills it."""
    id = await desk.create(5)
    body = desk.body(b"hel", b"lo ", b"world")
    offset = await desk.append(id, body.at_most(5))
    assert body.ended_by is Ending.TOO_LONG
    assert offset < 5
    assert await desk.content(id) == b"hello"[:offset]


@pytest.mark.rule("T41")
async def test_let_go(desk: Desk) -> None:
    """A body that is let go while bytes are awaited ends at once, and its bytes are kept."""
    id = await desk.create(11)
    body = desk.body(b"hello", asyncio.Event(), announced=11)
    writing = asyncio.create_task(desk.append(id, body))
    await body.waits.wait()
    body.let_go(Ending.REPLACED)
    assert await writing == 5
    assert body.ended_by is Ending.REPLACED
    assert await desk.offset(id) == 5


async def test_cancelled(desk: Desk) -> None:
    """An append that is cancelled keeps what came, or what of it is durable, and the next one goes on there."""
    id = await desk.create(10)
    body = desk.body(b"hello", asyncio.Event(), announced=10)
    writing = asyncio.create_task(desk.append(id, body))
    await body.waits.wait()
    writing.cancel()
    await asyncio.wait([writing])
    assert writing.cancelled()
    offset = await desk.offset(id)
    assert offset == (0 if desk.kind == "always" else 5)
    assert await desk.add(id, b"helloworld"[offset:]) == 10
    assert await desk.content(id) == b"helloworld"


@pytest.mark.rule("T85")
async def test_hashed(desk: Desk) -> None:
    """A hashed body is kept and hashed alike."""
    id = await desk.create(None)
    digest = hashlib.sha256()
    await desk.append(id, desk.body(b"small", DATA, b"small again").hashed(digest))
    assert digest.digest() == hashlib.sha256(await desk.content(id)).digest()


async def test_many_at_once(desk: Desk) -> None:
    """Uploads that are written at the same time do not mix."""
    ids = [await desk.create(4 * 1000) for _ in range(20)]
    pieces = [[bytes([number + 1, turn]) * 500 for turn in range(4)] for number in range(20)]
    await asyncio.gather(*(desk.add(id, *mine) for id, mine in zip(ids, pieces, strict=True)))
    assert [await desk.content(id) for id in ids] == [b"".join(mine) for mine in pieces]


async def test_bytes_follow(desk: Desk) -> None:
    """With the hint, append or delete comes next; both leave no descriptor behind."""
    before = descriptors()
    appended = await desk.create(11, b"hello", bytes_follow=True)
    await desk.add(appended, b" world")
    await desk.finish(appended)
    empty = await desk.create(0, bytes_follow=True)
    await desk.finish(empty)
    deleted = await desk.storage.create(Upload("d" * 22, 5, 0.0), bytes_follow=True)
    await desk.storage.delete(deleted)
    assert descriptors() == before
    assert await desk.content(appended) == b"hello world"


async def test_finish(desk: Desk) -> None:
    """A finish can be repeated, and bytes are there afterwards."""
    for data in (b"", b"hello", DATA * 3):
        id = await desk.create(len(data), data)
        await desk.storage.finish(desk[id])
        await desk.finish(id)
        assert await desk.offset(id) == len(data)
        assert await desk.read(id) == data


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 0), (0, 1), (5, 9), (0, 524_288), (262_143, 262_145), (524_287, 524_288), (3, 400_000)]
)
async def test_read(desk: Desk, start: int, stop: int) -> None:
    """Any range of a finished upload can be read."""
    id = await desk.finished(DATA)
    assert await desk.read(id, start, stop) == DATA[start:stop]


async def test_read_abandoned(desk: Desk) -> None:
    """A reader that stops in the middle leaves nothing open."""
    id = await desk.finished(DATA)
    before = descriptors()
    pieces = desk.storage.read(desk[id], 0, len(DATA))
    assert len(await anext(pieces)) > 0
    await pieces.aclose()  # type: ignore[attr-defined]  # both are generators
    assert descriptors() == before


async def test_delete(desk: Desk) -> None:
    """What is deleted is gone; deleting it again is no error, and its neighbours stay."""
    kept, id = await desk.finished(b"kept"), await desk.create(10, b"hello")
    await desk.storage.delete(desk[id])
    await desk.storage.delete(desk[id])
    for lost in (desk.offset(id), desk.read(id, 0, 5), desk.append(id, desk.body(b"more"), 5)):
        with pytest.raises(UploadFailed):
            await lost
    assert await desk.read(kept) == b"kept"


async def test_strays(desk: Desk) -> None:
    """Strays are those last written before a time."""
    assert await desk.strays(time.time() + 60) == set()
    ids = {await desk.create(10, b"hello"), await desk.finished(b"done"), await desk.create(None)}
    assert await desk.strays(time.time() + 60) == ids
    assert await desk.strays(time.time() - 60) == set()


async def test_concatenation(desk: Desk) -> None:
    """Parts are joined in the order of the list, empty and repeated ones too, and each try starts from byte 0."""
    one, none, two = [await desk.finished(data) for data in (DATA, b"", b"two")]
    final = await desk.create(None)
    parts = [desk[id] for id in (two, one, none, two)]
    for _ in range(2):
        assert await desk.joinable.join(desk[final], parts) == len(DATA) + 6
        assert await desk.read(final, 0, len(DATA) + 6) == b"two" + DATA + b"two"
    assert await desk.joinable.join(desk[final], [desk[none]]) == 0
    assert await desk.offset(final) == 0
    assert await desk.read(one) == DATA


async def test_concatenation_of_lost(desk: Desk) -> None:
    """A part whose bytes are gone cannot be joined."""
    one, two, final = await desk.finished(b"one"), await desk.finished(b"two"), await desk.create(None)
    await desk.storage.delete(desk[two])
    with pytest.raises(UploadFailed):
        await desk.joinable.join(desk[final], [desk[one], desk[two]])


# Chunks that do not count before they are verified (law 1b)


@pytest.mark.rule("T84")
async def test_attempt_kept(desk: Desk) -> None:
    """Until it is kept, an attempt's bytes do not count; afterwards they do."""
    id = await desk.create(None, b"hello")
    async with desk.rewindable.tentative(desk[id], 5) as attempt:
        assert await desk.append(id, desk.body(b" world"), 5) == 11
        assert await desk.offset(id) == 5
        attempt.keep()
    assert await desk.offset(id) == 11
    assert await desk.add(id, b"!") == 12
    assert await desk.content(id) == b"hello world!"


@pytest.mark.rule("T84")
@pytest.mark.parametrize("length", [None, 11, 20])
async def test_attempt_rewound(desk: Desk, length: int | None) -> None:
    """An attempt that is not kept leaves no byte, also if it would have been the last of the upload."""
    id = await desk.create(length, b"hello")
    async with desk.rewindable.tentative(desk[id], 5):
        await desk.append(id, desk.body(b" wurld"), 5)
    assert await desk.offset(id) == 5
    assert await desk.add(id, b" world") == 11
    assert await desk.content(id) == b"hello world"


async def test_attempt_raises(desk: Desk) -> None:
    """An exception rewinds, and is raised on."""
    id = await desk.create(11, b"hello")

    async def attempt() -> None:
        async with desk.rewindable.tentative(desk[id], 5):
            await desk.append(id, desk.body(b" wurld"), 5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await attempt()
    assert await desk.content(id) == b"hello"
    assert await desk.add(id, b" world") == 11


async def test_attempt_cancelled(desk: Desk) -> None:
    """A cancelled attempt rewinds too."""
    id = await desk.create(11, b"hello")
    body = desk.body(b" wur", asyncio.Event(), announced=6)

    async def attempt() -> None:
        async with desk.rewindable.tentative(desk[id], 5):
            await desk.append(id, body, 5)

    trying = asyncio.create_task(attempt())
    await body.waits.wait()
    trying.cancel()
    await asyncio.wait([trying])
    assert trying.cancelled()
    assert await desk.offset(id) == 5
    assert await desk.add(id, b" world") == 11
    assert await desk.content(id) == b"hello world"


async def test_attempt_cut_short(desk: Desk) -> None:
    """The end of a body in the middle of an attempt is not its verdict."""
    id = await desk.create(None, b"hello")
    async with desk.rewindable.tentative(desk[id], 5):
        assert await desk.append(id, desk.body(b" wor", Ending.DROPPED, announced=6), 5) == 9
    assert await desk.content(id) == b"hello"


async def test_attempt_after_attempt(desk: Desk) -> None:
    """After a rewound attempt the next one counts as if nothing had been."""
    id = await desk.create(None)
    for number in range(4):
        at = await desk.offset(id)
        async with desk.rewindable.tentative(desk[id], at) as attempt:
            await desk.append(id, desk.body(b"%d" % number), at)
            if number % 2:
                attempt.keep()
    assert await desk.content(id) == b"13"
