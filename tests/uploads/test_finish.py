"""Finishing, exactly once, however often it is tried, and whatever fails on the way (law 4)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.storage.desk import small_disk
from tests.uploads.world import UNFINISHED, TroubledRecords, TroubledStorage, World, digest_of, opened, restart
from tusd_py.errors import Dropped, StorageFull, TusError, Unavailable, UploadFailed, UploadFinishing
from tusd_py.hooks.events import Event, UploadCreated, UploadFinished
from tusd_py.hooks.events import UploadFailed as Failed
from tusd_py.storage.base import Ending
from tusd_py.upload import State

PASSING = (Unavailable, StorageFull)


async def state_of(world: World, id: str) -> State:
    upload = await world.records.load(id)
    assert upload is not None
    return upload.state


@pytest.fixture(params=["storage", "records"])
def part(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def trouble(world: World, part: str, *errors: TusError | None) -> None:
    back_end = world.storage if part == "storage" else world.records
    assert isinstance(back_end, TroubledStorage | TroubledRecords)
    back_end.trouble.with_("finish", *errors)


@pytest.mark.parametrize("error", PASSING)
async def test_tried_again_by_the_next_request(troubled: World, part: str, error: type[TusError]) -> None:
    """A finish that fails is 423; whoever asks next tries again, and it is told once."""
    id = await troubled.create(5)
    trouble(troubled, part, error())
    with pytest.raises(UploadFinishing):
        await troubled.append(id, 0, b"hello")
    assert await state_of(troubled, id) is State.RECEIVING
    assert troubled.told(UploadFinished) == []
    assert await troubled.offset(id) == 5
    assert await state_of(troubled, id) is State.FINISHED
    assert await troubled.append(id, 5, b"") == 5
    assert troubled.told(UploadFinished) == [id]


async def test_tried_again_in_the_background(troubled: World) -> None:
    """A finish that fails is tried again without any request, however often it takes."""
    ids = [await troubled.create(5) for _ in range(4)]
    for id, place in zip(ids, ("storage", "storage", "records", "records"), strict=True):
        trouble(troubled, place, Unavailable())
        with pytest.raises(UploadFinishing):
            await troubled.append(id, 0, b"hello")
    await troubled.settle()
    assert [await state_of(troubled, id) for id in ids] == [State.FINISHED] * 4
    assert sorted(troubled.told(UploadFinished)) == sorted(ids)


async def test_asked_while_it_fails(troubled: World) -> None:
    """A HEAD that meets a failing finish is told to wait, never an offset that might be taken for the end (P22)."""
    id = await troubled.create(5)
    trouble(troubled, "storage", Unavailable(), Unavailable())
    with pytest.raises(UploadFinishing):
        await troubled.append(id, 0, b"hello")
    with pytest.raises(UploadFinishing):
        await troubled.inspect(id)


async def test_after_a_restart(troubled: World) -> None:
    """Bytes that are complete without a finished record are finished at the start."""
    id = await troubled.create(5)
    trouble(troubled, "records", Unavailable())
    with pytest.raises(UploadFinishing):
        await troubled.append(id, 0, b"hello")
    await restart(troubled)
    assert await state_of(troubled, id) is State.FINISHED
    assert troubled.told(UploadFinished) == [id]


async def test_lost_for_good(troubled: World) -> None:
    """A failed sync is final: 410 from then on, told once, and a retry does not happen."""
    id = await troubled.create(5)
    trouble(troubled, "storage", UploadFailed())
    with pytest.raises(UploadFailed):
        await troubled.append(id, 0, b"hello")
    assert await state_of(troubled, id) is State.FAILED
    with pytest.raises(UploadFailed):
        await troubled.inspect(id)
    await restart(troubled)
    assert troubled.told(Failed) == [id]
    assert troubled.told(UploadFinished) == []


@pytest.mark.parametrize("size", [5, 100_000])
async def test_creation_that_cannot_be_finished(
    troubled: World, storage: TroubledStorage, part: str, size: int
) -> None:
    """A small creation fails as a whole and leaves nothing; a larger one is there already, and told where."""
    method = "finish" if part == "storage" or size > 5 else "create"
    (troubled.storage if part == "storage" else troubled.records).trouble.with_(method, Unavailable())  # type: ignore[attr-defined]
    with pytest.raises(Unavailable if size == 5 else UploadFinishing) as failed:
        await troubled.create(size, b"x" * size)
    if size == 5:
        assert storage._bytes == {}
        assert troubled.events == []
        return
    id = failed.value.created
    assert id is not None
    assert await troubled.offset(id) == size
    assert troubled.told(UploadFinished) == [id]


async def test_record_that_cannot_be_written(troubled: World, storage: TroubledStorage) -> None:
    """A creation without a record leaves no bytes."""
    for size, error in ((0, Unavailable()), (3, StorageFull()), (100_000, StorageFull())):
        troubled.records.trouble.with_("create", error)  # type: ignore[attr-defined]
        with pytest.raises(type(error)):
            await troubled.create(200_000, b"x" * size)
    assert storage._bytes == {}
    assert troubled.events == []


async def test_terminated_on_a_full_disk(troubled: World, storage: TroubledStorage, records: TroubledRecords) -> None:
    """Where even a record cannot be removed for lack of room, the bytes go first to make some."""
    id = await troubled.create(5, b"hel")
    records.trouble.with_("remove", StorageFull())
    await troubled.terminate(id)
    assert storage._bytes == {}
    assert await records.load(id) is None


async def test_meets_a_running_finish(troubled: World, storage: TroubledStorage) -> None:
    """Requests that meet a running finish wait for it, and nobody finishes twice."""
    id = await troubled.create(5)
    storage.gate.clear()
    asked = [asyncio.create_task(troubled.append(id, 0, b"hello"))]
    await storage.finishing.wait()
    asked += [asyncio.create_task(troubled.offset(id)) for _ in range(3)]
    asked += [asyncio.create_task(troubled.append(id, 5, b""))]
    await asyncio.sleep(0)
    assert not any(task.done() for task in asked)
    storage.gate.set()
    assert [await task for task in asked] == [5] * 5
    assert storage.trouble.calls["finish"] == 1


async def test_failing_listener(world: World) -> None:
    """A listener that raises neither fails nor delays anything (law 8)."""

    def fail(event: Event) -> None:
        raise ZeroDivisionError

    world.also_listening = fail
    id = await world.create(11, b"hello")
    with pytest.raises(Dropped):
        await world.send(id, 5, world.body(b" wo", Ending.DROPPED, announced=6), 6)
    assert await world.append(id, 8, b"rld") == 11
    gone = await world.create(5)
    await world.terminate(gone)
    assert world.instruments.failures["listener"] == 5
    assert world.told(UploadCreated) == [id, gone]


@pytest.mark.root
async def test_disk_full_under_a_checksum(tmp_path: Path) -> None:
    """A verified chunk that does not fit on the disk is 507, not a success that moved nothing."""
    with small_disk(tmp_path / "small", "8m") as folder:
        async with opened("disk", folder, UNFINISHED) as world:
            room = os.statvfs(folder)
            ballast = await world.create(None, bytes(room.f_bavail * room.f_frsize - 500_000))
            data = os.urandom(1_000_000)
            id = await world.create(len(data))
            with pytest.raises(StorageFull):
                await world.append(id, 0, data, checksum=digest_of(data))
            await world.terminate(ballast)
            offset = await world.offset(id)
            assert await world.append(id, offset, data[offset:], checksum=digest_of(data[offset:])) == len(data)
            assert await world.content(id) == data
