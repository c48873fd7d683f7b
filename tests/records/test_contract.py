"""What every back end of the records promises (tusd_py/records/base.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tusd_py.database import Database
from tusd_py.errors import InvalidParameter, Unavailable, UploadNotFound
from tusd_py.instruments import Silent
from tusd_py.records.base import Query, Records
from tusd_py.records.memory import MemoryRecords
from tusd_py.records.sqlite import SqliteRecords
from tusd_py.stamps import Stamps
from tusd_py.upload import Kind, State, Upload, new_id


@pytest.fixture(params=["memory", "sqlite", "sqlite without cache", "sqlite of several processes"])
async def records(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Records]:
    if request.param == "memory":
        yield MemoryRecords()
        return
    database = await Database.open(tmp_path / "test.db", Silent())
    stamps = Stamps(tmp_path / "stamps") if request.param == "sqlite of several processes" else None
    yield SqliteRecords(database, cache_size=0 if request.param == "sqlite without cache" else 10_000, stamps=stamps)
    await database.close()


def upload(created: float = 1000.5, **told: object) -> Upload:
    return Upload(new_id(), 10, created).evolve(**told)  # type: ignore[arg-type]  # fields by name


def final(*partials: Upload, created: float = 2000.0, owner: str = "") -> Upload:
    return upload(created, kind=Kind.FINAL, length=None, partials=tuple(part.id for part in partials), owner=owner)


async def test_round_trip(records: Records) -> None:
    """What was created is loaded as it was, every field of it."""
    part = upload(kind=Kind.PARTIAL, concat="partial")
    full = Upload(
        id=new_id(),
        length=2**53,
        created=1234567.891,
        metadata="filename ZsO8ci5tcDQ=,empty",
        kind=Kind.FINAL,
        concat=f"final;/files/{part.id} /files/{part.id}",
        partials=(part.id, new_id(), part.id),
        owner="somebody",
        state=State.FINISHED,
        ended=1234568.25,
        handle='{"synced_to": 5}',
    )
    for known in (part, full):
        await records.create(known)
        assert await records.load(known.id) == known


async def test_unknown(records: Records) -> None:
    """An id that was never given is nobody's."""
    assert await records.load(new_id()) is None
    assert await records.declare_length(new_id(), 5) is None
    assert await records.end(new_id(), State.EXPIRED, 1.0) is None
    assert not await records.remove(new_id())


async def test_taken(records: Records) -> None:
    """An id that exists is not given again, and its record stays."""
    first = upload()
    await records.create(first)
    with pytest.raises(Unavailable):
        await records.create(first.evolve(length=99))
    assert await records.load(first.id) == first


@pytest.mark.rule("T66")
async def test_declare_length(records: Records) -> None:
    """A length is set once and then stays."""
    known = upload(length=None)
    await records.create(known)
    assert await records.declare_length(known.id, 7) == known.evolve(length=7)
    assert await records.declare_length(known.id, 8) == known.evolve(length=7)
    assert await records.load(known.id) == known.evolve(length=7)


async def test_keep(records: Records) -> None:
    """A handle is kept while the upload is receiving; later, or of a record that is gone, nothing happens."""
    known = upload()
    await records.create(known)
    await records.keep(known.id, "one")
    assert await records.load(known.id) == known.evolve(handle="one")
    await records.end(known.id, State.FAILED, 5.0)
    await records.keep(known.id, "two")
    await records.keep(new_id(), "three")
    assert await records.load(known.id) == known.evolve(handle="one", state=State.FAILED, ended=5.0)


async def test_finish(records: Records) -> None:
    """Finishing sets state, end, length and handle and nothing else."""
    known = upload(length=None, metadata="name YQ==")
    await records.create(known)
    done = known.evolve(length=12, state=State.FINISHED, ended=2000.0, handle="h")
    await records.finish(done.evolve(metadata="ignored"))
    assert await records.load(known.id) == done


async def test_finish_what_is_gone(records: Records) -> None:
    """An upload without a record cannot be finished."""
    with pytest.raises(UploadNotFound):
        await records.finish(upload(state=State.FINISHED, ended=1.0))


async def test_end(records: Records) -> None:
    """An expired or failed upload stays as a tombstone."""
    known = upload()
    await records.create(known)
    assert await records.end(known.id, State.EXPIRED, 5.5) == known.evolve(state=State.EXPIRED, ended=5.5)
    assert await records.load(known.id) == known.evolve(state=State.EXPIRED, ended=5.5)


@pytest.mark.rule("T97")
async def test_remove(records: Records) -> None:
    """A removed record is gone, and only the first to remove it is told that there was one."""
    known = final(upload())
    await records.create(known)
    assert await records.remove(known.id)
    assert not await records.remove(known.id)
    assert await records.load(known.id) is None


@pytest.mark.rule("T107")
async def test_final_of(records: Records) -> None:
    """The same ordered list by the same owner names the newest such final upload that is alive and young enough."""
    a, b = upload(), upload()
    old, new, dead = final(a, b, created=10.0), final(a, b, created=20.0), final(a, b, created=30.0)
    for known in (old, new, dead, final(b, a), final(a, b, owner="other"), final(a)):
        await records.create(known)
    await records.end(dead.id, State.FAILED, 40.0)
    assert await records.final_of([a.id, b.id], "", 0.0) == new
    assert await records.final_of([a.id, b.id], "", 20.0) == new
    assert await records.final_of([a.id, b.id], "", 21.0) is None
    assert await records.final_of([b.id], "", 0.0) is None


@pytest.mark.rule("T118")
async def test_waiting_for(records: Records) -> None:
    """The finals that wait for a partial are those still receiving, each once, even when they name it twice."""
    a, b = upload(), upload()
    twice, other, done = final(a, b, a), final(b), final(a)
    for known in (twice, other, done):
        await records.create(known)
    await records.finish(done.evolve(state=State.FINISHED, ended=1.0))
    assert list(await records.waiting_for(a.id)) == [twice]


async def test_scan(records: Records) -> None:
    """A scan gives all uploads of a state, oldest first, however many pages that takes."""
    made = [upload(created=float(number % 7)) for number in range(1100)]
    await asyncio.gather(*(records.create(known) for known in made))
    await records.create(upload(state=State.FINISHED, ended=1.0))
    scanned = [known async for known in records.scan(State.RECEIVING)]
    assert scanned == sorted(made, key=lambda known: (known.created, known.id))


async def test_scan_and_end(records: Records) -> None:
    """What a scan finds may be changed while it runs, as a sweep does."""
    made = [upload(created=float(number)) for number in range(5)]
    for known in made:
        await records.create(known)
    swept = [await records.end(known.id, State.EXPIRED, 9.0) async for known in records.scan(State.RECEIVING)]
    assert len(swept) == 5
    assert await records.count(State.RECEIVING) == 0
    assert await records.count(State.EXPIRED) == 5


async def test_pages(records: Records) -> None:
    """Pages follow each other newest first, miss nothing and repeat nothing, also among uploads of one moment."""
    made = [upload(created=float(number // 4), state=list(State)[number % 4]) for number in range(23)]
    for known in made:
        await records.create(known)
    seen: list[Upload] = []
    page = await records.page(Query(limit=5))
    while page.next is not None:
        seen.extend(page.uploads)
        page = await records.page(Query(limit=5, after=page.next))
    seen.extend(page.uploads)
    assert seen == sorted(made, key=lambda known: (known.created, known.id), reverse=True)


async def test_last_page(records: Records) -> None:
    """A page that is exactly full and the last has no successor; there is one page when there is nothing."""
    assert await records.page(Query()) == (await records.page(Query(limit=1)))
    known = upload()
    await records.create(known)
    page = await records.page(Query(limit=1))
    assert (page.uploads, page.next) == ((known,), None)


async def test_filtered_pages(records: Records) -> None:
    """A page holds only the state that was asked for, and what is wanted besides."""
    part = upload(kind=Kind.PARTIAL, state=State.FINISHED, ended=1.0)
    whole = final(part)
    for known in (part, whole, upload()):
        await records.create(known)
    assert (await records.page(Query(state=State.FINISHED))).uploads == (part,)
    assert (await records.page(Query(wanted=_is_final))).uploads == (whole,)
    assert (await records.page(Query(state=State.RECEIVING, wanted=_is_final))).uploads == (whole,)
    assert (await records.page(Query(state=State.FINISHED, wanted=_is_final))).uploads == ()


def _is_final(upload: Upload) -> bool:
    return upload.kind is Kind.FINAL


async def test_pages_of_a_time(records: Records) -> None:
    """From `since` on and before `before`, over pages too; a cursor from elsewhere does not lead out of it."""
    made = [upload(created=float(number // 2)) for number in range(20)]
    for known in made:
        await records.create(known)
    first = await records.page(Query(limit=3, since=4.0, before=7.0))
    rest = await records.page(Query(limit=9, since=4.0, before=7.0, after=first.next))
    assert [known.created for known in first.uploads + rest.uploads] == [6.0, 6.0, 5.0, 5.0, 4.0, 4.0]
    assert rest.next is None
    above = (await records.page(Query(limit=1))).next
    assert await records.page(Query(limit=3, since=4.0, before=7.0, after=above)) == first


async def test_rare_uploads_are_found_step_by_step(records: Records) -> None:
    """A page looks at no more than it may; it is short then, and the next one goes on where it stopped."""
    made = [upload(created=float(number), owner="ada" if number % 40 == 0 else "") for number in range(200)]
    for known in made:
        await records.create(known)
    seen, looked, page = [], 0, await records.page(asked := Query(wanted=lambda one: one.owner == "ada", look_at=30))
    while page.next is not None:
        seen, looked = [*seen, *page.uploads], looked + 1
        page = await records.page(replace(asked, after=page.next))
    assert [known.created for known in [*seen, *page.uploads]] == [160.0, 120.0, 80.0, 40.0, 0.0]
    assert looked >= 200 // 30


async def test_a_full_page_of_wanted_ones_goes_on_after_its_last(records: Records) -> None:
    """What was looked at behind the last one of a page is on the next page."""
    made = [upload(created=float(number)) for number in range(10)]
    for known in made:
        await records.create(known)
    first = await records.page(Query(limit=4, wanted=lambda one: one.created % 2 == 0))
    rest = await records.page(Query(limit=4, wanted=lambda one: one.created % 2 == 0, after=first.next))
    assert [known.created for known in (*first.uploads, *rest.uploads)] == [8.0, 6.0, 4.0, 2.0, 0.0]
    assert rest.next is None


async def test_nothing_is_spared_unless_a_restore_said_so(records: Records) -> None:
    """Neither an upload that is known nor one that is not."""
    known = upload()
    await records.create(known)
    assert not await records.spares(known.id)
    assert not await records.spares(new_id())


@pytest.mark.parametrize(
    "cursor", ["", "x", "####", "AAAAAAAAAAA", "f_gAAAAAAABhYWFhYWFhYWFhYWFhYWFhYWFhYQ", "é", "A" * 500]
)
async def test_foreign_cursor(records: Records, cursor: str) -> None:
    """A cursor that is not one of ours is refused."""
    await records.create(upload())
    with pytest.raises(InvalidParameter):
        await records.page(Query(after=cursor))


async def test_check(records: Records) -> None:
    """Records that can be read and written are ready, and the check changes nothing."""
    await records.check()
    assert await records.count(State.RECEIVING) == 0
