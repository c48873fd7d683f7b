"""A page of a listing, whichever way uploads are kept: how much is looked at for it, and where the next one begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tusd_py.records.base import Page, Query
from tusd_py.records.cursor import Place, place_of, understood, written
from tusd_py.upload import Upload

CHUNK: Final = 500  # uploads read at once, so that other readers wait for little

Below = Callable[[Place, int], Awaitable[Sequence[Upload]]]

_END_OF_TIME: Final = Place(float("inf"), "")


async def page_of(query: Query, below: Below) -> Page:
    """The page that a query asks for. `below` gives so many uploads below a place, newest first, of the state and the
    time that are asked for. A cursor that is not ours: errors.InvalidParameter."""
    found: list[Upload] = []
    place, left = _beginning(query), query.look_at
    while True:
        size = query.limit + 1 if query.wanted is None else min(CHUNK, left)
        chunk = await below(place, size)
        found += chunk if query.wanted is None else filter(query.wanted, chunk)
        if len(found) > query.limit:
            return Page(tuple(found[: query.limit]), written(place_of(found[query.limit - 1])))
        if len(chunk) < size:
            return Page(tuple(found), None)
        place, left = place_of(chunk[-1]), left - size
        if left <= 0:
            return Page(tuple(found), written(place))


def _beginning(query: Query) -> Place:
    """Where it goes on, but not above the time that is asked for: no id is less than an empty one."""
    after = _END_OF_TIME if query.after is None else understood(query.after)
    return after if query.before is None else min(after, Place(query.before, ""))
