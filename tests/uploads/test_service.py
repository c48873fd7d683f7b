"""Create, append, inspect, terminate: what the service makes of a command and a body (laws 1, 2 and 5)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from tests.uploads.world import LIMITS, World, digest_of
from tusd_py.errors import (
    ChecksumMismatch,
    Dropped,
    MaxSizeExceeded,
    MismatchedOffset,
    ReadTimeout,
    ServerStopping,
    StorageFull,
    TusError,
    UploadInterrupted,
    UploadLocked,
    UploadNotFound,
    UploadSizeExceeded,
    UploadStopped,
)
from tusd_py.hooks.events import UploadCreated, UploadFinished, UploadTerminated
from tusd_py.hooks.events import UploadInterrupted as Interrupted
from tusd_py.protocol.commands import Create, Inspect
from tusd_py.storage.base import Ending
from tusd_py.upload import State, new_id
from tusd_py.uploads.receive import VERIFY_IN_MEMORY
from tusd_py.uploads.service import SMALL_BODY
from tusd_py.uploads.writers import SILENT

SIZES = (1, SMALL_BODY, SMALL_BODY + 1, VERIFY_IN_MEMORY + 1)
TABLE = {
    Ending.DROPPED: Dropped,
    Ending.IDLE: ReadTimeout,
    Ending.REPLACED: UploadInterrupted,
    Ending.STOPPING: ServerStopping,
    Ending.STOPPED: UploadStopped,
    Ending.FULL: StorageFull,
}


async def state_of(world: World, id: str) -> State:
    upload = await world.records.load(id)
    assert upload is not None
    return upload.state


# Create


@pytest.mark.rule("T70", "T71")
@pytest.mark.parametrize("size", SIZES)
async def test_create_with_all(world: World, size: int) -> None:
    """A creation that brings every byte is finished with it, and each event is told once."""
    data = b"x" * size
    id = await world.create(size, data)
    assert await state_of(world, id) is State.FINISHED
    assert await world.content(id) == data
    assert [type(event) for event in world.events] == [UploadCreated, UploadFinished]


@pytest.mark.rule("T76")
@pytest.mark.parametrize("size", SIZES)
async def test_create_with_some(world: World, size: int) -> None:
    """A creation that brings some bytes goes on with an append."""
    id = await world.create(size + 5, b"x" * size)
    assert await world.offset(id) == size
    assert await world.append(id, size, b"hello") == size + 5
    assert await state_of(world, id) is State.FINISHED
    assert await world.content(id) == b"x" * size + b"hello"


async def test_create_empty(world: World) -> None:
    """An empty upload is finished at once."""
    id = await world.create(0)
    assert await state_of(world, id) is State.FINISHED
    assert world.told(UploadFinished) == [id]


@pytest.mark.rule("T84", "T87")
@pytest.mark.parametrize("size", SIZES)
async def test_create_with_wrong_checksum(world: World, size: int) -> None:
    """A creation whose bytes do not match leaves neither record nor bytes."""
    with pytest.raises(ChecksumMismatch):
        await world.create(size, b"x" * size, checksum=digest_of(b"other"))
    assert await world.records.count(State.RECEIVING) + await world.records.count(State.FINISHED) == 0
    assert [id async for id in world.storage.strays(time.time() + 60)] == []


@pytest.mark.parametrize("ending", [ending for ending in TABLE if ending is not Ending.DROPPED])
@pytest.mark.parametrize("size", SIZES[1:])
async def test_create_cut_short(world: World, ending: Ending, size: int) -> None:
    """A creation that was cut short exists: the error tells where, and it can be resumed."""
    command = Create(size + 5, None, partial=False, concat=None, checksum=None, body=size + 5)
    with pytest.raises(TABLE[ending]) as cut:
        await world.uploads.create(command, world.body(b"x" * size, ending, announced=size + 5))
    id = cut.value.created
    assert id is not None
    assert cut.value.offset == await world.offset(id) == size
    assert await world.append(id, size, b"hello") == size + 5


async def test_create_dropped_at_once(world: World) -> None:
    """A small creation whose client vanishes leaves nothing: nobody will ever know its URL."""
    command = Create(100, None, partial=False, concat=None, checksum=None, body=100)
    with pytest.raises(Dropped):
        await world.uploads.create(command, world.body(b"x" * 50, Ending.DROPPED, announced=100))
    assert await world.records.count(State.RECEIVING) == 0
    assert [id async for id in world.storage.strays(time.time() + 60)] == []


@pytest.mark.rule("T32", "T53")
async def test_create_beyond_the_largest(world: World) -> None:
    """An upload of unknown length never grows past the largest size."""
    world.uploads.limits = world.limits.__class__(LIMITS.extensions, max_size=10)
    command = Create(None, None, partial=False, concat=None, checksum=None, body=None)
    with pytest.raises(MaxSizeExceeded) as refused:
        await world.uploads.create(command, world.body(b"hello", b" world"))
    id = refused.value.created
    assert id is not None
    assert await world.offset(id) < 10


# Append


@pytest.mark.rule("T28")
@pytest.mark.parametrize("ending", TABLE)
async def test_append_cut_short(world: World, ending: Ending) -> None:
    """However a body ends early, what came is kept, the client is told by one table, and listeners hear the offset."""
    id = await world.create(11)
    with pytest.raises(TABLE[ending]):
        await world.send(id, 0, world.body(b"hello", ending, announced=11), 11)
    assert await world.offset(id) == 5
    cut = world.events[-1]
    assert isinstance(cut, Interrupted)
    assert (cut.offset, cut.reason) == (5, TABLE[ending].code)
    assert await world.append(id, 5, b" world") == 11
    assert await state_of(world, id) is State.FINISHED


@pytest.mark.rule("T28")
@pytest.mark.parametrize("announced", [11, None])
async def test_dropped_after_the_last_byte(world: World, announced: int | None) -> None:
    """A client that vanishes right behind its last byte has uploaded all of it."""
    id = await world.create(11)
    assert await world.send(id, 0, world.body(b"hello world", Ending.DROPPED, announced=announced), announced) == 11
    assert await state_of(world, id) is State.FINISHED


@pytest.mark.rule("T31")
async def test_append_too_long(world: World) -> None:
    """A body of unknown length that is too long is refused and never completes the upload."""
    id = await world.create(5)
    with pytest.raises(UploadSizeExceeded):
        await world.send(id, 0, world.body(b"hello", b"!"), None)
    offset = await world.offset(id)
    assert offset < 5
    assert await state_of(world, id) is State.RECEIVING
    assert await world.append(id, offset, b"hello"[offset:]) == 5
    assert await world.content(id) == b"hello"


@pytest.mark.rule("T34")
async def test_append_to_finished(world: World) -> None:
    """A finished upload takes an empty body at its end and no other."""
    id = await world.create(5, b"hello")
    assert await world.append(id, 5, b"") == 5
    with pytest.raises(UploadSizeExceeded):
        await world.append(id, 5, b"!")
    with pytest.raises(UploadSizeExceeded):
        await world.send(id, 5, world.body(b"!"), None)
    assert await world.content(id) == b"hello"
    assert world.told(UploadFinished) == [id]


@pytest.mark.rule("T24", "T25")
async def test_wrong_offset(world: World) -> None:
    """A wrong offset is told the right one, and changes nothing."""
    id = await world.create(11, b"hello")
    for offset in (0, 4, 6, 11):
        with pytest.raises(MismatchedOffset) as wrong:
            await world.append(id, offset, b"")
        assert wrong.value.offset == 5
    assert await world.content(id) == b"hello"


@pytest.mark.rule("T65", "T66")
async def test_deferred_length(world: World) -> None:
    """The length is recorded before the bytes that come with it, so a drop does not lose it."""
    id = await world.create(None, b"hello")
    with pytest.raises(Dropped):
        await world.send(id, 5, world.body(b" wo", Ending.DROPPED, announced=6), 6, length=11)
    progress = await world.inspect(id)
    assert (progress.offset, progress.upload.length) == (8, 11)
    assert await world.append(id, 8, b"rld", length=11) == 11
    assert await state_of(world, id) is State.FINISHED


async def test_a_length_that_completes(world: World) -> None:
    """A length that makes the stored bytes complete finishes the upload, even if the body with it is refused."""
    id = await world.create(None, b"hello")
    with pytest.raises(ChecksumMismatch):
        await world.append(id, 5, b"", length=5, checksum=digest_of(b"x"))
    assert await state_of(world, id) is State.FINISHED


@pytest.mark.rule("T84", "T85")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("announced", [True, False])
async def test_checksums(world: World, size: int, announced: bool) -> None:
    """A chunk that matches counts; one that does not, or is cut short, leaves no byte, however large it is."""
    data = b"x" * size
    id = await world.create(None, b"hello")

    async def send(*steps: bytes | Ending, checksum: bytes = data) -> int:
        length = size if announced else None
        return await world.send(id, 5, world.body(*steps, announced=length), length, checksum=digest_of(checksum))

    with pytest.raises(ChecksumMismatch):
        await send(data, checksum=b"other")
    with pytest.raises(Dropped):
        await send(data[:-1], Ending.DROPPED)
    assert await world.offset(id) == 5
    assert await send(data) == 5 + size
    assert await world.content(id) == b"hello" + data


@pytest.mark.rule("T89")
async def test_checksum_of_nothing(world: World) -> None:
    """A checksum of an empty chunk is verified too."""
    id = await world.create(5)
    with pytest.raises(ChecksumMismatch):
        await world.append(id, 0, b"", checksum=digest_of(b"x"))
    assert await world.append(id, 0, b"", checksum=digest_of(b"")) == 0


# Takeover (law 5)


@pytest.mark.rule("T41", "T42")
async def test_newcomer_wins(world: World) -> None:
    """A newcomer ends a stalled writer: what it sent is kept, it is told 423, and the newcomer goes on from there."""
    id = await world.create(11)
    stalled = world.body(b"hello", asyncio.Event(), announced=11)
    old = asyncio.create_task(world.send(id, 0, stalled, 11))
    await stalled.waits.wait()
    assert await world.append(id, 5, b" world") == 11
    with pytest.raises(UploadInterrupted):
        await old
    assert await world.content(id) == b"hello world"
    assert world.told(UploadFinished) == [id]


@pytest.mark.rule("T41")
@pytest.mark.parametrize("offset", [0, 4])
async def test_refused_anyway(world: World, offset: int) -> None:
    """An append below what is stored disturbs no writer."""
    id = await world.create(11)
    go = asyncio.Event()
    stalled = world.body(b"hello", go, b" world", announced=11)
    old = asyncio.create_task(world.send(id, 0, stalled, 11))
    await stalled.waits.wait()
    with pytest.raises(MismatchedOffset) as refused:
        await world.append(id, offset, b"h")
    assert refused.value.offset == 5
    go.set()
    assert await old == 11


async def test_stormy_takeovers(world: World) -> None:
    """However many come at once, each offset is written once and the bytes are right."""
    data = bytes(range(200))
    id = await world.create(200)

    async def client() -> None:
        while (offset := await world.offset(id)) < 200:
            try:
                await world.append(id, offset, data[offset : offset + 7])
            except (MismatchedOffset, UploadInterrupted, UploadSizeExceeded):
                continue

    await asyncio.gather(*(client() for _ in range(8)))
    assert await world.content(id) == data
    assert world.told(UploadFinished) == [id]


@pytest.mark.rule("T20")
async def test_inspect_leaves_a_live_writer(world: World) -> None:
    """Beside a writer that is not yet silent, HEAD tells what is written and disturbs nobody."""
    id = await world.create(11)
    go = asyncio.Event()
    body = world.body(b"hello", go, b" world", announced=11)
    body.silent_since = time.monotonic()
    writing = asyncio.create_task(world.send(id, 0, body, 11))
    await body.waits.wait()
    assert await world.offset(id) == 5
    go.set()
    assert await writing == 11


async def test_inspect_ends_a_silent_writer(world: World) -> None:
    """A writer that has been silent for half a second is ended by HEAD, which then tells what came."""
    id = await world.create(11)
    body = world.body(b"hello", asyncio.Event(), announced=11)
    writing = asyncio.create_task(world.send(id, 0, body, 11))
    await body.waits.wait()
    body.silent_since = time.monotonic() - SILENT - 0.01
    assert await world.offset(id) == 5
    with pytest.raises(UploadInterrupted):
        await writing
    assert len(world.uploads.writers) == 0


async def test_inspect_beside_a_creation(world: World) -> None:
    """A creation whose bytes still come is left alone by HEAD, however silent it is: nobody else can go on with it."""
    body = world.body(b"hello", asyncio.Event(), announced=SMALL_BODY + 1)
    body.silent_since = 0.0
    command = Create(SMALL_BODY + 1, None, partial=False, concat=None, checksum=None, body=SMALL_BODY + 1)
    creating = asyncio.create_task(world.uploads.create(command, body))
    await body.waits.wait()
    (id,) = [upload.id async for upload in world.records.scan(State.RECEIVING)]
    assert await world.offset(id) == 5
    assert not creating.done()
    body.let_go(Ending.STOPPING)
    with pytest.raises(ServerStopping):
        await creating


@pytest.mark.rule("T99")
async def test_terminate_ends_a_writer(world: World) -> None:
    """A termination ends the writer first, and nothing is left."""
    id = await world.create(11)
    body = world.body(b"hello", asyncio.Event(), announced=11)
    writing = asyncio.create_task(world.send(id, 0, body, 11))
    await body.waits.wait()
    await world.terminate(id)
    with pytest.raises(UploadInterrupted):
        await writing
    with pytest.raises(UploadNotFound):
        await world.offset(id)
    assert world.told(UploadTerminated) == [id]
    assert [stray async for stray in world.storage.strays(time.time() + 60)] == []


async def test_waiting_for_what_is_terminated(world: World) -> None:
    """Who waited for the lock finds out what has become of the upload meanwhile."""
    id = await world.create(11)
    async with world.locks.hold(id, when_wanted=None, patience=1.0):
        waiting = [asyncio.create_task(world.append(id, 0, b"hello")), asyncio.create_task(world.terminate(id))]
        await asyncio.sleep(0)
        await world.records.remove(id)
    for task in waiting:
        with pytest.raises(UploadNotFound):
            await task


async def test_impatience(world: World) -> None:
    """A lock that is not let go in time is 423."""
    id = await world.create(11)
    world.uploads = world.make_uploads(replace(world.backing, patience=0.01))
    async with world.locks.hold(id, when_wanted=None, patience=1.0):
        with pytest.raises(UploadLocked):
            await world.append(id, 0, b"hello")


# Stopping


async def test_stop(world: World) -> None:
    """A server that stops ends every body, also those that begin later; what came is kept."""
    one, two = await world.create(11), await world.create(11)
    body = world.body(b"hello", asyncio.Event(), announced=11)
    writing = asyncio.create_task(world.send(one, 0, body, 11))
    await body.waits.wait()
    world.uploads.stop()
    with pytest.raises(ServerStopping):
        await writing
    with pytest.raises(ServerStopping):
        await world.append(two, 0, b"hello")
    assert await world.offset(one) == 5


# Unknown ones


@pytest.mark.rule("T16", "T27", "T98")
async def test_unknown(world: World) -> None:
    """What was never created is not found, whatever is asked of it."""
    for asked in (world.append(new_id(), 0, b""), world.inspect(new_id()), world.terminate(new_id())):
        with pytest.raises(UploadNotFound):
            await asked
    with pytest.raises(UploadNotFound):
        await world.uploads.show(new_id())


@pytest.mark.rule("T97")
async def test_terminated(world: World) -> None:
    """A terminated upload is unknown, finished or not."""
    for data in (b"hello", b"hel"):
        id = await world.create(5, data)
        await world.terminate(id)
        with pytest.raises(UploadNotFound):
            await world.uploads.inspect(Inspect(id))


async def test_reserve(world: World) -> None:
    """A creation that cannot fit beside the reserve is refused before it exists."""
    world.uploads.reserve = 1 << 62
    if world.uploads._measurable is None:
        assert await world.create(5)
        return
    with pytest.raises(StorageFull):
        await world.create(5)
    assert await world.records.count(State.RECEIVING) == 0


async def test_every_error_is_ours(world: World) -> None:
    """What the service raises is one of the table."""
    with pytest.raises(TusError):
        await world.append(new_id(), 0, b"hello")
