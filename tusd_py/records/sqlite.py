"""Records in the SQLite file, with a cache of whole uploads in front; cache.py says why that is never out of date.

Commits land (`landed` of database.py) in their order, before their callers are told. An id that is asked for in vain
costs a read.
"""

# ruff: noqa: S608 -- only constants of this file are put together; values are always bound

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from hashlib import blake2b
from typing import Any

from tusd_py.database import Conflict, Database, Result, Statement
from tusd_py.errors import UploadNotFound
from tusd_py.records.base import Page, Query
from tusd_py.records.cache import Alone, Cache, Stamped
from tusd_py.records.cursor import Place, place_of
from tusd_py.records.listing import page_of
from tusd_py.stamps import Stamps
from tusd_py.upload import FINAL, Kind, State, Upload

SCAN_PAGE = 500  # uploads held in memory at once by a scan

# The subquery walks the primary key, so the partials come in their order.
COLUMNS = """id, length, created, metadata, kind, concat, owner, state, ended, handle,
    CASE kind WHEN 'final' THEN (SELECT group_concat(partial_id, ' ') FROM
        (SELECT partial_id FROM parts WHERE final_id = uploads.id ORDER BY position)) END AS partials"""

INSERT = """INSERT INTO uploads (id, length, created, metadata, kind, concat, owner, state, ended, handle, recipe)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_PART = "INSERT INTO parts (final_id, position, partial_id) VALUES (?, ?, ?)"
LOAD = f"SELECT {COLUMNS} FROM uploads WHERE id = ?"
DECLARE = f"UPDATE uploads SET length = coalesce(length, ?) WHERE id = ? RETURNING {COLUMNS}"
KEEP = f"UPDATE uploads SET handle = ? WHERE id = ? AND state = 'receiving' RETURNING {COLUMNS}"
FINISH = f"UPDATE uploads SET state = ?, ended = ?, length = ?, handle = ? WHERE id = ? RETURNING {COLUMNS}"
END = f"UPDATE uploads SET state = ?, ended = ? WHERE id = ? RETURNING {COLUMNS}"
REMOVE = "DELETE FROM uploads WHERE id = ?"
FINAL_OF = f"""SELECT {COLUMNS} FROM uploads WHERE recipe = ? AND created >= ? AND state IN ('receiving', 'finished')
    ORDER BY created DESC, id DESC LIMIT 1"""
# The plus keeps SQLite from walking all that are receiving.
WAITING_FOR = f"""SELECT {COLUMNS} FROM uploads WHERE +state = 'receiving' AND id IN
    (SELECT final_id FROM parts WHERE partial_id = ?) ORDER BY created, id"""
SCAN = f"""SELECT {COLUMNS} FROM uploads WHERE state = ? AND (created, id) > (?, ?)
    ORDER BY created, id LIMIT {SCAN_PAGE}"""
SPARES = "SELECT 1 FROM spared WHERE id = ?"
COUNT = "SELECT count(*) FROM uploads WHERE state = ?"

BEGINNING = Place(float("-inf"), "")


class SqliteRecords:
    """See records/base.py. The database belongs to whoever opened it; processes that share it share `stamps` too."""

    def __init__(self, database: Database, cache_size: int = 10_000, stamps: Stamps | None = None) -> None:
        self._database = database
        self._cache: Cache = Alone(cache_size) if stamps is None else Stamped(cache_size, stamps)
        self._known = self._cache.get

    async def load(self, id: str) -> Upload | None:
        upload = self._known(id)
        return await self._read(id) if upload is None else upload

    def known(self, id: str) -> Upload | None:
        return self._known(id)

    async def create(self, upload: Upload, also: Sequence[Statement] = ()) -> None:
        def landed(_: list[Result]) -> None:
            self._cache.created(upload)

        await self._database.commit([*_insertion(upload), *also], landed)

    async def declare_length(self, id: str, length: int) -> Upload | None:
        return await self._change(id, Statement(DECLARE, (length, id)))

    async def keep(self, id: str, handle: str) -> None:
        await self._change(id, Statement(KEEP, (handle, id)))

    async def finish(self, upload: Upload, also: Sequence[Statement] = ()) -> None:
        values = (upload.state, upload.ended, upload.length, upload.handle, upload.id)
        change = Statement(FINISH, values, needed=True)
        try:
            await self._change(upload.id, change, also)
        except Conflict as conflict:
            if conflict.statement is not change:
                raise
            raise UploadNotFound from conflict

    async def end(self, id: str, state: State, ended: float, also: Sequence[Statement] = ()) -> Upload | None:
        return await self._change(id, Statement(END, (state, ended, id)), also)

    async def remove(self, id: str, also: Sequence[Statement] = ()) -> bool:
        def landed(_: list[Result]) -> None:
            self._cache.changed(id, None)

        self._cache.changing(id)
        results = await self._database.commit([Statement(REMOVE, (id,)), *also], landed)
        return results[0].touched > 0

    async def final_of(self, partials: Sequence[str], owner: str, since: float) -> Upload | None:
        rows = await self._database.read(Statement(FINAL_OF, (_recipe(partials, owner), since)))
        return _upload(rows[0]) if rows else None

    async def waiting_for(self, partial: str) -> Sequence[Upload]:
        return [_upload(row) for row in await self._database.read(Statement(WAITING_FOR, (partial,)))]

    async def scan(self, state: State) -> AsyncIterator[Upload]:
        last = BEGINNING
        while rows := await self._database.read(Statement(SCAN, (state, *last))):
            for row in rows:
                upload = _upload(row)
                yield upload
            last = place_of(upload)

    async def page(self, query: Query) -> Page:
        async def below(place: Place, count: int) -> Sequence[Upload]:
            return [_upload(row) for row in await self._database.read(_listing(query, place, count))]

        return await page_of(query, below)

    async def spares(self, id: str) -> bool:
        return bool(await self._database.read(Statement(SPARES, (id,))))

    async def count(self, state: State) -> int:
        rows = await self._database.read(Statement(COUNT, (state,)))
        return int(rows[0][0])

    async def check(self) -> None:
        await self._database.read(Statement(COUNT, (State.FAILED,)))
        await self._database.check()

    async def close(self) -> None:
        self._cache.clear()

    async def _change(self, id: str, statement: Statement, also: Sequence[Statement] = ()) -> Upload | None:
        """Commit a change that gives the row back; returns the upload as it is then, None if no row was touched."""
        changed: Upload | None = None

        def landed(results: list[Result]) -> None:
            nonlocal changed
            if results[0].rows:
                changed = _upload(results[0].rows[0])
                self._cache.changed(id, changed)

        self._cache.changing(id)
        await self._database.commit([statement, *also], landed)
        return changed

    async def _read(self, id: str) -> Upload | None:
        reading = self._cache.reading(id)
        upload: Upload | None = None
        try:
            rows = await self._database.read(Statement(LOAD, (id,)))
            upload = _upload(rows[0]) if rows else None
        finally:
            upload = self._cache.read(id, upload, reading)
        return upload


def _insertion(upload: Upload) -> list[Statement]:
    """One statement for a small upload: it then needs no savepoint. (sqlite3 binds a plain str faster than an enum.)"""
    recipe = _recipe(upload.partials, upload.owner) if upload.kind is FINAL else None
    told = (upload.id, upload.length, upload.created, upload.metadata, str(upload.kind), upload.concat, upload.owner)
    parts = [Statement(INSERT_PART, (upload.id, position, part)) for position, part in enumerate(upload.partials)]
    row = (*told, str(upload.state), upload.ended, upload.handle, recipe)
    return [Statement(INSERT, row, joins=True), *parts]


def _listing(query: Query, place: Place, count: int) -> Statement:
    """A union of the states, newest first: SQLite merges them along the one index and sorts nothing."""
    since = float("-inf") if query.since is None else query.since
    one = f"SELECT {COLUMNS} FROM uploads WHERE state = ? AND (created, id) < (?, ?) AND created >= ?"
    states = [query.state] if query.state else list(State)
    values: tuple[object, ...] = tuple(value for state in states for value in (state, *place, since))
    union = " UNION ALL ".join([one] * len(states))
    return Statement(f"{union} ORDER BY created DESC, id DESC LIMIT ?", (*values, count))


def _recipe(partials: Sequence[str], owner: str) -> bytes:
    return blake2b("\n".join((owner, *partials)).encode(), digest_size=16).digest()


def _upload(row: tuple[Any, ...]) -> Upload:
    id, length, created, metadata, kind, concat, owner, state, ended, handle, partials = row
    parts = tuple(partials.split()) if partials else ()
    return Upload(id, length, created, metadata, Kind(kind), concat, parts, owner, State(state), ended, handle)
