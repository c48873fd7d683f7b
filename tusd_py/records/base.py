"""Records: what is known of uploads, durable, and its laws.

A method that writes returns when its write is committed (WAL, synchronous=FULL), and all of one call is one
transaction. Each may raise errors.StorageFull or errors.Unavailable and has then changed nothing. There is no offset
in a record (law 1). Safe for concurrent use by tasks of one event loop. A caller that is cancelled while its write is
on the way is told when that has ended: it may have been committed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tusd_py.database import Statement
from tusd_py.upload import State, Upload


@dataclass(frozen=True, slots=True)
class Query:
    """What a listing asks for; `after` is the cursor of the page before. `since` and `before` bound when an upload was
    created, in seconds since the epoch: from `since` on, and before `before`. State and time have an index; whatever
    else is `wanted` is asked of one upload after the other, and of `look_at` of them at most for one page."""

    limit: int = 100
    after: str | None = None
    state: State | None = None
    since: float | None = None
    before: float | None = None
    wanted: Callable[[Upload], bool] | None = None
    look_at: int = 10_000


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first; `next` is the cursor of the following page, None on the last. Any other page of what is `wanted`
    may be short, or empty."""

    uploads: tuple[Upload, ...]
    next: str | None


class Records(Protocol):
    async def load(self, id: str) -> Upload | None:
        """The upload, or None. Usually from the cache: without leaving the event loop."""

    def known(self, id: str) -> Upload | None:
        """The upload if it is in the cache. Only `load` can say that there is none."""

    async def create(self, upload: Upload, also: Sequence[Statement] = ()) -> None:
        """Insert it, in whatever state: a small upload is inserted finished. An id that exists: errors.Unavailable."""

    async def declare_length(self, id: str, length: int) -> Upload | None:
        """Set the length of an upload that has none (T65); returns the upload as it is then, None if it is gone."""

    async def keep(self, id: str, handle: str) -> None:
        """Set the storage handle of an upload that is still receiving; does nothing to any other."""

    async def finish(self, upload: Upload, also: Sequence[Statement] = ()) -> None:
        """Set state, `ended`, length and handle as given, and run `also`, in one transaction (law 4).

        A record that is gone is errors.UploadNotFound, and `also` has not been run.
        """

    async def end(self, id: str, state: State, ended: float, also: Sequence[Statement] = ()) -> Upload | None:
        """Make it FAILED or EXPIRED; returns the upload as it is afterwards, None if it is gone."""

    async def remove(self, id: str, also: Sequence[Statement] = ()) -> bool:
        """Delete the record; whether there was one."""

    async def final_of(self, partials: Sequence[str], owner: str, since: float) -> Upload | None:
        """The newest final upload made of exactly this ordered list by this owner since then (T107).

        One that failed or expired does not count.
        """

    async def waiting_for(self, partial: str) -> Sequence[Upload]:
        """The final uploads still receiving that name this partial (T118)."""

    def scan(self, state: State) -> AsyncIterator[Upload]:
        """All uploads in `state`, oldest first, in bounded pages; sees changes made meanwhile or not."""

    async def page(self, query: Query) -> Page:
        """A page of a listing. A cursor that is not ours: errors.InvalidParameter."""

    async def spares(self, id: str) -> bool:
        """Whether a restore found bytes under this id that no record names: they are not for the sweep."""

    async def count(self, state: State) -> int:
        """How many uploads are in `state`."""

    async def check(self) -> None:
        """Raises errors.Unavailable or errors.StorageFull if records cannot be read and written now (for /readyz)."""

    async def close(self) -> None: ...
