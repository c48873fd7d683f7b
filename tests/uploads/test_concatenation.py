"""Final uploads out of partial ones (T102-T122)."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.uploads.world import TroubledRecords, TroubledStorage, World, restart
from tusd_py.errors import (
    InvalidConcat,
    ModifyFinal,
    StorageFull,
    Unavailable,
    UploadExpired,
    UploadFailed,
    UploadFinishing,
    UploadNotFinished,
)
from tusd_py.hooks.events import UploadCreated, UploadFinished
from tusd_py.hooks.events import UploadFailed as Failed
from tusd_py.upload import State, new_id
from tusd_py.uploads.concatenation import GRACE


async def partials(world: World, *data: bytes) -> list[str]:
    return [await world.create(len(one), one, partial=True) for one in data]


async def state_of(world: World, id: str) -> State | None:
    upload = await world.records.load(id)
    return upload and upload.state


@pytest.mark.rule("T102", "T103", "T110", "T111")
async def test_concatenate(world: World) -> None:
    """A final upload is its partials in the order of the list, shared, repeated and empty ones too."""
    one, two, none = await partials(world, b"one", b"two!", b"")
    for ids, data in (((one, two), b"onetwo!"), ((two, none, one, two), b"two!onetwo!"), ((none,), b"")):
        progress = await world.concatenate(*ids)
        assert (progress.offset, progress.upload.length) == (len(data), len(data))
        assert progress.upload.state is State.FINISHED
        assert await world.content(progress.upload.id) == data
    assert await world.content(one) == b"one"
    assert len(world.told(UploadCreated)) == len(world.told(UploadFinished)) == 6


@pytest.mark.rule("T107")
async def test_again(world: World) -> None:
    """The same list gives the same final upload, also when both come at once; another order does not."""
    one, two = await partials(world, b"one", b"two")
    results = await asyncio.gather(*(world.concatenate(one, two) for _ in range(5)))
    ids = {progress.upload.id for progress in results}
    assert len(ids) == 1
    assert (await world.concatenate(one, two)).upload.id in ids
    assert (await world.concatenate(two, one)).upload.id not in ids
    await world.terminate(ids.pop())
    assert (await world.concatenate(one, two)).upload.state is State.FINISHED


@pytest.mark.rule("T107")
async def test_again_much_later(world: World) -> None:
    """After a day the same list is a new upload."""
    (one,) = await partials(world, b"one")
    first = await world.concatenate(one)
    world.clock.now += GRACE + 1
    assert (await world.concatenate(one)).upload.id != first.upload.id


@pytest.mark.rule("T113")
async def test_what_cannot_be_joined(world: World) -> None:
    """Only partial uploads that exist and are finished can be joined; nothing is left of a try with others."""
    one, gone = await partials(world, b"one", b"gone")
    await world.terminate(gone)
    unfinished = await world.create(5, b"hel", partial=True)
    regular = await world.create(3, b"abc")
    final = (await world.concatenate(one)).upload.id
    before = {id async for id in world.storage.strays(time.time() + 60)}
    for other in (new_id(), gone, regular, final):
        with pytest.raises(InvalidConcat):
            await world.concatenate(one, other)
    with pytest.raises(UploadNotFinished):
        await world.concatenate(one, unfinished)
    assert {id async for id in world.storage.strays(time.time() + 60)} == before


@pytest.mark.rule("T108", "T120")
async def test_final_takes_no_bytes(world: World) -> None:
    """A final upload cannot be written to."""
    (one,) = await partials(world, b"one")
    final = (await world.concatenate(one)).upload.id
    with pytest.raises(ModifyFinal):
        await world.append(final, 3, b"")


async def test_refused_disturbs_nobody(world: World) -> None:
    """A concatenation that is refused anyway leaves the writer of a partial alone."""
    id = await world.create(11, partial=True)
    go = asyncio.Event()
    body = world.body(b"hello", go, b" world", announced=11)
    writing = asyncio.create_task(world.send(id, 0, body, 11))
    await body.waits.wait()
    with pytest.raises(UploadNotFinished):
        await world.concatenate(id)
    go.set()
    assert await writing == 11


async def test_crossing_lists(world: World) -> None:
    """Finals that share partials in opposite orders do not wait for each other for ever."""
    ids = await partials(world, *(b"%d" % number for number in range(6)))
    async with asyncio.timeout(10):
        finals = await asyncio.gather(*(world.concatenate(*ids[n:], *reversed(ids[:n]), *ids) for n in range(6)))
    for number, progress in enumerate(finals):
        digits = [*range(number, 6), *reversed(range(number)), *range(6)]
        assert await world.content(progress.upload.id) == "".join(map(str, digits)).encode()


async def test_lost_partial(world: World) -> None:
    """A partial whose bytes are gone cannot be joined, and the try leaves nothing."""
    one, two = await partials(world, b"one", b"two")
    upload = await world.records.load(two)
    assert upload is not None
    await world.storage.delete(upload)
    with pytest.raises(UploadFailed):
        await world.concatenate(one, two)
    assert {id async for id in world.storage.strays(time.time() + 60)} == {one}


@pytest.mark.parametrize("method", ["join", "finish"])
async def test_failing_storage(troubled: World, storage: TroubledStorage, method: str) -> None:
    """A join or finish that fails leaves nothing, and the same request works later."""
    one, two = await partials(troubled, b"one", b"two")
    storage.trouble.with_(method, StorageFull())
    with pytest.raises(StorageFull):
        await troubled.concatenate(one, two)
    assert set(storage._bytes) == {one, two}
    assert (await troubled.concatenate(one, two)).upload.length == 6


async def test_failing_records(troubled: World, storage: TroubledStorage, records: TroubledRecords) -> None:
    """A final whose record cannot be written leaves no bytes."""
    one, two = await partials(troubled, b"one", b"two")
    records.trouble.with_("create", Unavailable())
    with pytest.raises(Unavailable):
        await troubled.concatenate(one, two)
    assert set(storage._bytes) == {one, two}


# Of unfinished partials


@pytest.mark.rule("T118", "T119", "T122")
async def test_unfinished(unfinished: World) -> None:
    """A final of unfinished partials shows how far they are and is finished with the last of them."""
    world = unfinished
    one, two = await world.create(3, partial=True), await world.create(None, partial=True)
    progress = await world.concatenate(one, two)
    final = progress.upload.id
    assert (progress.upload.state, progress.upload.length) == (State.RECEIVING, None)
    await world.append(two, 0, b"tw")
    assert await world.offset(final) == 2
    await world.append(one, 0, b"one")
    assert await world.offset(final) == 5
    assert (await world.concatenate(one, two)).upload.id == final
    await world.append(two, 2, b"o", length=3)
    await world.settle()
    assert await state_of(world, final) is State.FINISHED
    assert await world.content(final) == b"onetwo"
    assert world.told(UploadFinished) == [one, two, final]


@pytest.mark.rule("T118")
async def test_unfinished_across_a_restart(unfinished: World) -> None:
    """A final that waits is finished after a restart too, also if its last partial was finished just before it."""
    world = unfinished
    one, two = await partials(world, b"one"), await world.create(3, partial=True)
    final = (await world.concatenate(*one, two)).upload.id
    await restart(world)
    assert await world.offset(final) == 3
    await world.append(two, 0, b"two")
    await restart(world)
    assert await state_of(world, final) is State.FINISHED
    assert await world.content(final) == b"onetwo"


@pytest.mark.rule("T121")
async def test_partial_that_goes(unfinished: World) -> None:
    """A partial that is terminated or expires makes the finals that wait for it impossible, and only those."""
    world = unfinished
    one, two = await world.create(3, partial=True), await world.create(3, partial=True)
    both, other = (await world.concatenate(one, two)).upload.id, (await world.concatenate(two)).upload.id
    await world.terminate(one)
    with pytest.raises(UploadFailed):
        await world.inspect(both)
    assert await world.offset(other) == 0
    assert world.told(Failed) == [both]
    world.clock.now += 2000
    await world.sweep.round()
    with pytest.raises((UploadFailed, UploadExpired)):
        await world.inspect(other)


async def test_join_is_tried_again(troubled: World, storage: TroubledStorage) -> None:
    """A join that fails for lack of room is tried again in the background."""
    one = await troubled.create(3, partial=True)
    final = (await troubled.concatenate(one)).upload.id
    storage.trouble.with_("join", StorageFull())
    await troubled.append(one, 0, b"one")
    await troubled.settle()
    assert await troubled.content(final) == b"one"
    assert troubled.told(UploadFinished) == [one, final]


async def test_join_that_is_lost(troubled: World, storage: TroubledStorage) -> None:
    """A join that can never succeed is final, and told."""
    one = await troubled.create(3, partial=True)
    final = (await troubled.concatenate(one)).upload.id
    storage.trouble.with_("join", UploadFailed())
    await troubled.append(one, 0, b"one")
    await troubled.settle()
    assert await state_of(troubled, final) is State.FAILED
    assert troubled.told(Failed) == [final]


async def test_meets_a_finish(troubled: World, storage: TroubledStorage) -> None:
    """A partial whose bytes are complete but not yet finished is worth waiting for: 423, not 400 (T113)."""
    troubled.uploads.limits = troubled.limits.__class__(("creation", "concatenation"))
    one = await troubled.create(3, partial=True)
    storage.trouble.with_("finish", Unavailable())
    with pytest.raises(UploadFinishing):
        await troubled.append(one, 0, b"one")
    with pytest.raises(UploadFinishing):
        await troubled.concatenate(one)
    assert await troubled.offset(one) == 3
    assert (await troubled.concatenate(one)).upload.length == 3
