"""Records in memory, for tests and for trying things out: the twin of sqlite.py, as durable as the process.

There is no database here, so the statements that come along in `also` are ignored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from tusd_py.database import Statement
from tusd_py.errors import Unavailable, UploadNotFound
from tusd_py.records.base import Page, Query
from tusd_py.records.cursor import Place, place_of
from tusd_py.records.listing import page_of
from tusd_py.upload import Kind, State, Upload

ALIVE = (State.RECEIVING, State.FINISHED)


class MemoryRecords:
    """See records/base.py."""

    def __init__(self) -> None:
        self._uploads: dict[str, Upload] = {}

    async def load(self, id: str) -> Upload | None:
        return self._uploads.get(id)

    def known(self, id: str) -> Upload | None:
        return self._uploads.get(id)

    async def create(self, upload: Upload, also: Sequence[Statement] = ()) -> None:
        if upload.id in self._uploads:
            raise Unavailable
        self._uploads[upload.id] = upload

    async def declare_length(self, id: str, length: int) -> Upload | None:
        upload = self._uploads.get(id)
        if upload is not None and upload.length is None:
            upload = self._uploads[id] = upload.evolve(length=length)
        return upload

    async def keep(self, id: str, handle: str) -> None:
        upload = self._uploads.get(id)
        if upload is not None and upload.state is State.RECEIVING:
            self._uploads[id] = upload.evolve(handle=handle)

    async def finish(self, upload: Upload, also: Sequence[Statement] = ()) -> None:
        known = self._uploads.get(upload.id)
        if known is None:
            raise UploadNotFound
        self._uploads[upload.id] = known.evolve(
            state=upload.state, ended=upload.ended, length=upload.length, handle=upload.handle
        )

    async def end(self, id: str, state: State, ended: float, also: Sequence[Statement] = ()) -> Upload | None:
        upload = self._uploads.get(id)
        if upload is not None:
            upload = self._uploads[id] = upload.evolve(state=state, ended=ended)
        return upload

    async def remove(self, id: str, also: Sequence[Statement] = ()) -> bool:
        return self._uploads.pop(id, None) is not None

    async def final_of(self, partials: Sequence[str], owner: str, since: float) -> Upload | None:
        asked = (Kind.FINAL, owner, tuple(partials))
        made = [upload for upload in self._uploads.values() if (upload.kind, upload.owner, upload.partials) == asked]
        return max(
            (upload for upload in made if upload.created >= since and upload.state in ALIVE), key=place_of, default=None
        )

    async def waiting_for(self, partial: str) -> Sequence[Upload]:
        return [upload for upload in self._in(State.RECEIVING) if partial in upload.partials]

    async def scan(self, state: State) -> AsyncIterator[Upload]:
        for upload in self._in(state):
            yield upload

    async def page(self, query: Query) -> Page:
        async def below(place: Place, count: int) -> Sequence[Upload]:
            found = [
                upload for upload in self._uploads.values() if place_of(upload) < place and _is_meant(upload, query)
            ]
            return sorted(found, key=place_of, reverse=True)[:count]

        return await page_of(query, below)

    async def spares(self, id: str) -> bool:
        return False

    async def count(self, state: State) -> int:
        return len(self._in(state))

    async def check(self) -> None: ...

    async def close(self) -> None: ...

    def _in(self, state: State) -> list[Upload]:
        return sorted((upload for upload in self._uploads.values() if upload.state is state), key=place_of)


def _is_meant(upload: Upload, query: Query) -> bool:
    return query.state in (None, upload.state) and (query.since is None or upload.created >= query.since)
