"""The API: lists of uploads, and the sweep."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.web.operating import Client, Office, opened, problem_of, served
from tusd_py.database import Statement
from tusd_py.upload import Kind, State, Upload, new_id
from tusd_py.web.api.sweep import SweepReport
from tusd_py.web.api.uploads import UploadPage

LIST = "/api/v1/uploads"


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path) as office:
        yield office


@pytest.fixture
async def client(office: Office) -> AsyncIterator[Client]:
    """The control socket's view: no token needed."""
    async with served(office.application(trusted=True)) as client:
        yield client


async def fetched(client: Client, path: str, **parameters: str) -> Any:
    async with client.get(path, params=parameters) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        return await response.json()


# List


def made(number: int, **changes: Any) -> Upload:
    return Upload(new_id(), 10, 1_700_000_000.0 + number // 3).evolve(**changes)  # three share a moment


async def test_pages_hold_still_while_uploads_come(office: Office, client: Client) -> None:
    """250 uploads in pages of 40, others created between the pages: each of the 250 once, newest first."""
    uploads = [made(number) for number in range(250)]
    for upload in uploads:
        await office.record(upload)
    seen: list[str] = []
    parameters = {"limit": "40"}
    while True:
        page = UploadPage.model_validate(await fetched(client, LIST, **parameters))
        seen += [upload.id for upload in page.uploads]
        if page.next is None:
            break
        assert len(page.uploads) == 40
        parameters["after"] = page.next
        await office.record(made(1000 + len(seen)))
    expected = sorted(uploads, key=lambda upload: (upload.created, upload.id), reverse=True)
    assert seen == [upload.id for upload in expected]


async def test_lists_are_filtered_by_state_and_kind(office: Office, client: Client) -> None:
    """Each filter alone and both together, over pages too."""
    kinds = [Kind.REGULAR, Kind.PARTIAL]
    states = [State.RECEIVING, State.FINISHED, State.EXPIRED]
    for number in range(24):
        await office.record(made(number, kind=kinds[number % 2], state=states[number % 3]))
    for kind in [*kinds, Kind.FINAL]:
        assert len((await fetched(client, LIST, kind=kind))["uploads"]) == (0 if kind is Kind.FINAL else 12)
    assert len((await fetched(client, LIST, state="expired"))["uploads"]) == 8
    page = await fetched(client, LIST, state="finished", kind="partial", limit="3")
    rest = await fetched(client, LIST, state="finished", kind="partial", limit="3", after=page["next"])
    assert (len(page["uploads"]), len(rest["uploads"]), rest["next"]) == (3, 1, None)
    assert {(one["state"], one["kind"]) for one in page["uploads"] + rest["uploads"]} == {("finished", "partial")}


async def test_lists_are_filtered_by_what_records_tell(office: Office, client: Client) -> None:
    """Owner, length, time and metadata, each alone and together; what is not known matches nothing."""
    name = b64encode("Über uns.mp4".encode()).decode()
    film = made(0, owner="ada", length=5000, metadata=f"filename {name},private")
    letter = made(30, owner="bob", length=10, metadata=f"filename {b64encode(b'letter.txt').decode()}")
    unknown = made(60, length=None, metadata="filename //79")
    for upload in (film, letter, unknown):
        await office.record(upload)

    async def found(query: str) -> set[str]:
        return {one["id"] for one in (await fetched(client, f"{LIST}?{query}"))["uploads"]}

    assert await found("owner=ada") == {film.id}
    assert await found("owner=") == {unknown.id}
    assert await found("min_length=5000") == {film.id}
    assert await found("max_length=4999") == {letter.id}
    assert await found("metadata=filename") == {film.id, letter.id}
    assert await found("metadata=filename=*.mp4") == {film.id}
    assert await found("metadata=filename=%C3%9Cber uns.???&metadata=private") == {film.id}
    assert await found("metadata=filename=letter.txt&metadata=private") == set()
    assert await found("metadata=private=yes") == set()
    moment = datetime.fromtimestamp(letter.created, UTC).isoformat().replace("+00:00", "Z")
    assert await found(f"created_after={moment}") == {letter.id, unknown.id}
    assert await found(f"created_before={moment}") == {film.id}
    assert await found(f"created_before={moment}&owner=bob") == set()


async def test_lists_tell_how_far_uploads_are(office: Office, client: Client) -> None:
    """Bytes kept; null where a look does not tell: gone, lost, or still to be joined."""
    running, _, _ = await office.create(b"12345", 10)
    finished, _, _ = await office.create(b"12345", 5)
    lost, _, _ = await office.create(b"12345", 10)
    (office.storage.folder / lost.id).unlink()
    gone = made(0, state=State.EXPIRED)
    await office.record(gone)
    told = {one["id"]: one["offset"] for one in (await fetched(client, LIST))["uploads"]}
    assert told == {running.id: 5, finished.id: 5, lost.id: None, gone.id: None}


# Sweep


SWEEP = "/api/v1/sweep"


async def swept(client: Client, **parameters: str) -> SweepReport:
    async with client.post(SWEEP, params=parameters) as response:
        assert response.status == 200, await response.text()
        return SweepReport.model_validate(await response.json())


async def test_a_sweep_is_told_before_and_after(office: Office, client: Client) -> None:
    """What a dry run names goes in the next round, and nothing before; what is fresh stays."""
    fresh, _, _ = await office.create(b"12345", 10)
    stale, kept = made(0), made(0, state=State.FINISHED, ended=1_700_000_000.0)
    tombstone = made(0, state=State.FAILED, ended=1_700_000_000.0)
    for upload in (stale, kept, tombstone):
        await office.record(upload)
    left_over, spared = office.storage.folder / new_id(), office.storage.folder / new_id()
    for path in (left_over, spared):
        path.write_bytes(b"12345")
        os.utime(path, (1_700_000_000, 1_700_000_000))
    await office.database.commit([Statement("INSERT INTO spared (id) VALUES (?)", (spared.name,))])
    foretold = await swept(client, dry_run="true")
    assert (await office.records.load(stale.id), left_over.exists()) == (stale, True)
    done = await swept(client)
    assert done == foretold.model_copy(update={"dry_run": False})
    assert [group.ids for group in (done.expired, done.retired, done.forgotten)] == [
        (stale.id,),
        (kept.id,),
        (tombstone.id,),
    ]
    assert (done.left_over.ids, done.spared.ids, done.failed.count) == ((left_over.name,), (spared.name,), 0)
    assert {path.name for path in office.storage.folder.iterdir()} == {fresh.id, spared.name}
    again = await swept(client, dry_run="true")
    assert (again.expired.count, again.left_over.count, again.spared.count) == (0, 0, 1)


BAD_QUERIES = [
    *(
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
    ),
    *(("limit=1_0", "limit"), ("limit=1.0", "limit"), ("limit=" + "9" * 5000, "limit"), ("limit=1&limit=2", "limit")),
    *(("state=lost", "receiving"), ("kind=", "partial"), ("after=nonsense", "cursor"), ("after=", "cursor")),
    *(("page=2", "limit, after, state, kind"), ("Limit=5", "limit, after, state, kind")),
    *(("created_after=yesterday", "created_after"), ("created_before=2026-01-01T00:00:00", "created_before")),
    *(("min_length=-1", "min_length"), ("max_length=1MB", "max_length"), ("owner=a&owner=b", "owner")),
    *(("metadata=", "metadata"), ("&".join(["metadata=a"] * 21), "metadata")),
]


@pytest.mark.parametrize(("query", "named"), BAD_QUERIES, ids=lambda part: part[:20])
async def test_wrong_parameters_are_refused(office: Office, client: Client, query: str, named: str) -> None:
    """400 that says what is allowed; nothing is guessed, ignored or quoted."""
    told = await problem_of(client, "GET", f"{LIST}?{query}")
    assert (told["status"], told["code"]) == (400, "ERR_INVALID_PARAMETER")
    assert named in str(told["detail"])
    assert len(str(told["detail"])) < 200
