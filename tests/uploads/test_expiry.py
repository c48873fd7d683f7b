"""Which uploads go, and when: expiry, tombstones, retention and orphans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.uploads.world import (
    LIMITS,
    PATIENCE,
    DiskWorld,
    TroubledRecords,
    TroubledStorage,
    World,
    opened,
    restart,
)
from tusd_py.errors import ReadTimeout, StorageFull, Unavailable, UploadExpired, UploadFinishing, UploadNotFound
from tusd_py.hooks.events import UploadExpired as Expired
from tusd_py.hooks.events import UploadFinished, UploadTerminated
from tusd_py.protocol.limits import Limits
from tusd_py.records.base import Query
from tusd_py.storage.base import Ending
from tusd_py.upload import State, Upload, new_id
from tusd_py.uploads.expiry import Retention, is_stale

PERIOD = 1000.0  # seconds, as in LIMITS


@pytest.fixture(params=["memory", "disk"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(request.param, tmp_path) as world:
        yield world


async def write(world: World, id: str, offset: int, data: bytes) -> None:
    await world.append(id, offset, data)
    if isinstance(world, DiskWorld):
        world.touch(id)


async def state_of(world: World, id: str) -> State | None:
    upload = await world.records.load(id)
    return upload and upload.state


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 2e9), st.booleans(), st.none() | st.floats(0, 1e6))
def test_stale(created: float, touched: float, now: float, complete: bool, after: float | None) -> None:
    """Stale is an unfinished upload, neither made nor written to for the whole period; a complete one never is."""
    upload = Upload(new_id(), 5, created)
    stale = is_stale(upload, touched, complete, now, Limits((), expire_after=after))
    idle = after is not None and now >= max(created, touched) + after
    assert stale == (idle and not complete)
    for state in (State.FINISHED, State.FAILED, State.EXPIRED):
        assert not is_stale(upload.evolve(state=state), touched, complete, now, Limits((), expire_after=after))


@pytest.mark.rule("T78", "T79", "T81", "T82")
async def test_expiry(world: World) -> None:
    """An upload nobody writes to is 410 as soon as its time is over, and its bytes go with the next sweep."""
    start = world.clock.now
    id = await world.create(11, b"hello")
    assert (await world.inspect(id)).expires == pytest.approx(start + PERIOD, abs=60)
    world.clock.now = start + PERIOD + 60
    with pytest.raises(UploadExpired):
        await world.inspect(id)
    with pytest.raises(UploadExpired):
        await world.append(id, 5, b" world")
    assert await state_of(world, id) is State.RECEIVING
    await world.sweep.round()
    assert await state_of(world, id) is State.EXPIRED
    with pytest.raises(UploadExpired):
        await world.inspect(id)
    await world.sweep.round()
    assert world.told(Expired) == [id]
    assert [stray async for stray in world.storage.strays(world.clock.now * 2)] == []


@pytest.mark.rule("T79")
async def test_sliding(world: World) -> None:
    """Every byte gives the upload its whole period again; a request without one does not."""
    id = await world.create(100)
    for turn in range(4):
        world.clock.now += PERIOD * 0.75
        await write(world, id, turn, b"x")
        await world.sweep.round()
    world.clock.now += PERIOD * 0.75
    assert await world.offset(id) == 4
    assert await world.append(id, 4, b"") == 4
    world.clock.now += PERIOD * 0.75
    await world.sweep.round()
    assert await state_of(world, id) is State.EXPIRED


@pytest.mark.rule("T79", "T118")
async def test_final_lives_with_its_partials(unfinished: World) -> None:
    """A final that waits does not expire while one of its partials is written to, and does with them."""
    world = unfinished
    one, two = await world.create(9, partial=True), await world.create(9, partial=True)
    final = (await world.concatenate(one, two)).upload.id
    for turn in range(4):
        world.clock.now += PERIOD * 0.75
        await write(world, one, turn, b"x")
        await write(world, two, turn, b"x")
        await world.sweep.round()
        assert await world.offset(final) == 2 * turn + 2
    world.clock.now += PERIOD + 1
    with pytest.raises(UploadExpired):
        await world.inspect(final)


async def test_final_that_cannot_be_joined_yet(troubled: World, storage: TroubledStorage) -> None:
    """A final whose partials are all finished is being finished, and never expires meanwhile."""
    one = await troubled.create(3, partial=True)
    final = (await troubled.concatenate(one)).upload.id
    storage.trouble.with_("join", StorageFull())
    await troubled.append(one, 0, b"one")
    troubled.clock.now += 100 * PERIOD
    await troubled.sweep.round()
    assert await troubled.offset(final) == 3
    await troubled.settle()
    assert await state_of(troubled, final) is State.FINISHED


@pytest.mark.rule("T78")
async def test_finished_stay(world: World) -> None:
    """Finished uploads do not expire."""
    id = await world.create(5, b"hello")
    world.clock.now += 100 * PERIOD
    await world.sweep.round()
    assert (await world.inspect(id)).expires is None
    assert await world.content(id) == b"hello"


async def test_writers_stay(world: World) -> None:
    """An upload that somebody is at work on is left alone."""
    id = await world.create(11, b"hello")
    world.clock.now += 2 * PERIOD
    async with world.locks.hold(id, when_wanted=None, patience=PATIENCE):
        await world.sweep.round()
    assert await state_of(world, id) is State.RECEIVING


async def test_finishing_stay(troubled: World, storage: TroubledStorage) -> None:
    """An upload whose bytes are complete is being finished, and never expires meanwhile."""
    id = await troubled.create(5)
    storage.trouble.with_("finish", Unavailable(), Unavailable())
    with pytest.raises(UploadFinishing):
        await troubled.append(id, 0, b"hello")
    troubled.clock.now += 100 * PERIOD
    await troubled.sweep.round()
    with pytest.raises(UploadFinishing):
        await troubled.inspect(id)
    await troubled.settle()
    assert await state_of(troubled, id) is State.FINISHED
    assert troubled.told(Expired) == []


async def test_clock_that_goes_back(world: World) -> None:
    """A clock that is set back expires nothing early and breaks nothing."""
    id = await world.create(11, b"hello")
    world.clock.now -= 50 * PERIOD
    await world.sweep.round()
    assert await world.offset(id) == 5
    world.clock.now += 50 * PERIOD
    assert await world.append(id, 5, b" world") == 11
    await world.sweep.round()
    assert world.told(UploadFinished) == [id]


async def test_switched_off(world: World) -> None:
    """Without a period nothing expires."""
    world.uploads.limits = replace(LIMITS, expire_after=None)
    id = await world.create(11, b"hello")
    world.clock.now += 1e9
    await world.sweep.round()
    assert await world.offset(id) == 5
    assert (await world.inspect(id)).expires is None


async def test_tombstones(world: World) -> None:
    """A tombstone answers 410 for its time, then the upload is forgotten."""
    id = await world.create(11, b"hello")
    world.clock.now += 2 * PERIOD
    sweep = world.make_sweep(Retention(tombstones=500.0))
    await sweep.round()
    world.clock.now += 499
    await sweep.round()
    with pytest.raises(UploadExpired):
        await world.inspect(id)
    world.clock.now += 2
    await sweep.round()
    with pytest.raises(UploadNotFound):
        await world.inspect(id)
    assert world.told(UploadTerminated) == []


async def test_retention_of_finished(world: World) -> None:
    """Finished uploads go after their own period, if there is one; listeners hear of it."""
    id, unfinished = await world.create(5, b"hello"), await world.create(5)
    sweep = world.make_sweep(Retention(finished=500.0))
    world.clock.now += 499
    await sweep.round()
    assert await world.content(id) == b"hello"
    world.clock.now += 2
    await sweep.round()
    assert await state_of(world, id) is None
    assert world.told(UploadTerminated) == [id]
    assert await state_of(world, unfinished) is State.RECEIVING
    assert {stray async for stray in world.storage.strays(world.clock.now * 2)} == {unfinished}


async def test_orphans(world: World) -> None:
    """Bytes without a record go if they are older than the start, and only what is older; records are never touched."""
    known = await world.create(11, b"hello")
    old = await world.storage.create(Upload(new_id(), 5, 0.0))
    if isinstance(world, DiskWorld):
        world.touch(known)
        world.touch(old.id)
    world.clock.now += 100
    world.begin(world.storage, world.records)
    young = await world.storage.create(Upload(new_id(), 5, 0.0))
    if isinstance(world, DiskWorld):
        world.touch(young.id)
    await world.sweep.round()
    left = {stray async for stray in world.storage.strays(world.clock.now * 2)}
    assert left == {known, young.id}
    assert await world.content(known) == b"hello"


async def test_orphans_once(world: World) -> None:
    """Orphans are looked for once: none older than the start can appear later."""
    await world.sweep.round()
    late = await world.storage.create(Upload(new_id(), 5, 0.0))
    world.clock.now += 100
    world.sweep._started = world.clock.now  # even if it looked old
    await world.sweep.round()
    assert {stray async for stray in world.storage.strays(world.clock.now * 2)} == {late.id}


async def test_many(world: World) -> None:
    """A sweep goes through more uploads than it takes in one breath."""
    ids = [await world.create(5) for _ in range(120)]
    world.clock.now += 2 * PERIOD
    kept = await world.create(5)
    await world.sweep.round()
    assert sorted(world.told(Expired)) == sorted(ids)
    page = await world.records.page(Query(limit=300, state=State.RECEIVING))
    assert [upload.id for upload in page.uploads] == [kept]


async def test_one_that_cannot_be_removed(troubled: World, storage: TroubledStorage) -> None:
    """An upload that cannot be looked at or removed does not keep the others."""
    ids = []
    for _ in range(4):
        ids.append(await troubled.create(5))
        troubled.clock.now += 1
    troubled.clock.now += 2 * PERIOD
    storage.trouble.with_("extent", Unavailable())
    storage.trouble.with_("delete", Unavailable())
    await troubled.sweep.round()
    states = [await state_of(troubled, id) for id in ids]
    assert states == [State.RECEIVING, State.EXPIRED, State.EXPIRED, State.EXPIRED]
    await troubled.sweep.round()
    assert await state_of(troubled, ids[0]) is State.EXPIRED


async def test_a_round_that_fails(troubled: World, records: TroubledRecords) -> None:
    """The sweep goes on after a round that failed, and counts it."""
    id = await troubled.create(5, b"hello")
    troubled.clock.now += 1000
    records.trouble.with_("scan", Unavailable())
    twice = asyncio.Event()
    pauses = iter([lambda: None, twice.set])

    def pause() -> float:
        next(pauses)()
        return PATIENCE if twice.is_set() else 0.0

    running = asyncio.create_task(troubled.make_sweep(Retention(finished=500.0)).run(pause))
    async with asyncio.timeout(PATIENCE):
        await twice.wait()
    running.cancel()
    await asyncio.wait([running])
    assert troubled.instruments.failures["sweep"] == 1
    assert await state_of(troubled, id) is None


async def test_expired_across_a_restart(world: World) -> None:
    """What expired while the server was down is 410 as well."""
    id = await world.create(11, b"hello")
    world.clock.now += 2 * PERIOD
    await restart(world)
    with pytest.raises(UploadExpired):
        await world.inspect(id)
    await world.sweep.round()
    assert world.told(Expired) == [id]


async def test_dropped_body_slides_too(world: World) -> None:
    """Bytes of a body that broke off count as life."""
    id = await world.create(11)
    world.clock.now += PERIOD * 0.75
    with pytest.raises(ReadTimeout):
        await world.send(id, 0, world.body(b"hello", Ending.IDLE, announced=11), 11)
    if isinstance(world, DiskWorld):
        world.touch(id)
    world.clock.now += PERIOD * 0.75
    await world.sweep.round()
    assert await world.offset(id) == 5
