"""List, show and delete uploads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tusd_py.errors import StartError
from tusd_py.operating.api import Api, Parameters, Refused
from tusd_py.operating.tables import Table, Told, block, human_size
from tusd_py.operating.telling import Teller

PAGE = 500  # uploads asked for at once
DELETABLE = ("receiving", "finished")  # of the others there is nothing left but the record


@dataclass(frozen=True, slots=True)
class Filters:
    """Which uploads are meant: ages in seconds, sizes in bytes, and neither end is included."""

    state: str | None = None
    kind: str | None = None
    owner: str | None = None
    older_than: float | None = None
    newer_than: float | None = None
    larger_than: int | None = None
    smaller_than: int | None = None
    metadata: tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        return self != Filters()

    def parameters(self, now: float) -> Parameters:
        """As the API wants them; `now` in seconds since the epoch."""
        values = {
            "state": self.state,
            "kind": self.kind,
            "owner": self.owner,
            "created_before": None if self.older_than is None else _moment(now - self.older_than),
            "created_after": None if self.newer_than is None else _moment(now - self.newer_than),
            "min_length": None if self.larger_than is None else str(self.larger_than + 1),
            "max_length": None if self.smaller_than is None else str(self.smaller_than - 1),
        }
        given = [(name, value) for name, value in values.items() if value is not None]
        return [*given, *(("metadata", one) for one in self.metadata)]


def found(api: Api, filters: Filters, now: float) -> Iterator[Told]:
    """All that are meant, newest first, as pages come."""
    asked = [*filters.parameters(now), ("limit", str(PAGE))]
    page = api.ask("GET", "/uploads", asked)
    yield from page["uploads"]
    while page["next"] is not None:
        page = api.ask("GET", "/uploads", [*asked, ("after", page["next"])])
        yield from page["uploads"]


def list_uploads(api: Api, teller: Teller, filters: Filters, now: float) -> int:
    table = Table(teller.width)
    if not teller.json:
        teller.say(table.heading())
    for upload in found(api, filters, now):
        teller.tell(upload, lambda one: table.row(one, now))
    return 0


def show_uploads(api: Api, teller: Teller, ids: Sequence[str]) -> int:
    """Returns 1 if one of them could not be shown."""
    failed = 0
    for place, id in enumerate(map(_id, ids)):
        try:
            upload = api.ask("GET", f"/uploads/{id}")
        except Refused as refusal:
            teller.complain(f"{id}: {refusal}")
            failed += 1
        else:
            teller.tell(upload, lambda one: ("\n" if place else "") + block(one))  # noqa: B023  # called at once
    return 1 if failed else 0


def terminate(
    api: Api, teller: Teller, ids: Sequence[str], filters: Filters, now: float, agreed: Callable[[str], bool]
) -> int:
    """Delete those that are named, or those that the filters mean. Returns 1 if one could not be deleted, or nobody
    agreed."""
    if bool(ids) == filters.given:
        raise StartError("name the uploads to delete, or give filters such as --older-than, but not both")
    if ids:
        return _terminate_named(api, teller, [_id(id) for id in ids], agreed)
    return _terminate_found(api, teller, filters, now, agreed)


def _terminate_named(api: Api, teller: Teller, ids: Sequence[str], agreed: Callable[[str], bool]) -> int:
    """Several are asked about first."""
    if len(ids) > 1 and not agreed(f"Delete {len(ids)} uploads?"):
        teller.complain("nothing was deleted")
        return 1
    return _terminate(api, teller, ids)


def _terminate_found(api: Api, teller: Teller, filters: Filters, now: float, agreed: Callable[[str], bool]) -> int:
    """All that there still is."""
    if filters.state not in (None, *DELETABLE):
        raise StartError(f"only uploads that are {' or '.join(DELETABLE)} can be deleted; others are forgotten in time")
    chosen, size = [], 0
    for upload in found(api, filters, now):
        if upload["state"] in DELETABLE:
            chosen.append(str(upload["id"]))
            size += upload["offset"] or 0
    if not chosen:
        teller.complain("no upload matches")
        return 0
    if not agreed(f"Delete {len(chosen)} uploads with {human_size(size)}?"):
        teller.complain("nothing was deleted")
        return 1
    return _terminate(api, teller, chosen)


def _terminate(api: Api, teller: Teller, ids: Sequence[str]) -> int:
    failed = 0
    for id in ids:
        told: dict[str, Any] = {"id": id, "deleted": True}
        try:
            api.ask("DELETE", f"/uploads/{id}")
        except Refused as refusal:
            failed += 1
            told = {"id": id, "deleted": False, "code": refusal.code, "detail": str(refusal)}
            teller.complain(f"{id}: {refusal}")
        teller.tell(told, lambda one: f"deleted {one['id']}" if one["deleted"] else "")
    return 1 if failed else 0


def _id(told: str) -> str:
    """Of an upload, which may be told by its URL."""
    return told.rstrip("/").rpartition("/")[2]


def _moment(seconds: float) -> str:
    """Ages before the year 1 are no older than it."""
    return datetime.fromtimestamp(max(seconds, -62_135_596_800.0), UTC).isoformat().replace("+00:00", "Z")
