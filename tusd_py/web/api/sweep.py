"""The sweep, for operators: what it would remove, and a round of it now."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field

from tusd_py.uploads.expiry import Sweep
from tusd_py.uploads.swept import MOST_NAMED, Swept, Tally
from tusd_py.web.api.endpoint import Answer, AnyEndpoint, Endpoint, Query


class Sweeping(Query):
    """Whether it is only asked what would go."""

    dry_run: Annotated[bool, Field(description="Only tell what would be removed.")] = False


class SweptGroup(Answer):
    """How many, and the first of them by their ids."""

    count: int
    ids: Annotated[tuple[str, ...], Field(description=f"{MOST_NAMED} at most.")]


class SweepReport(Answer):
    """What a round removed, or would remove."""

    dry_run: bool
    expired: Annotated[SweptGroup, Field(description="Unfinished uploads, silent for expire_after.")]
    retired: Annotated[SweptGroup, Field(description="Finished uploads, kept for keep_finished.")]
    forgotten: Annotated[
        SweptGroup, Field(description="Records of uploads that failed or expired, kept for tombstones.")
    ]
    left_over: Annotated[SweptGroup, Field(description="Bytes of an earlier run that no record names.")]
    spared: Annotated[
        SweptGroup, Field(description="Bytes without a record that are kept, since a restore found them.")
    ]
    failed: Annotated[SweptGroup, Field(description="What could not be removed; the next round tries again.")]


class SweepResource:
    """/sweep."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep

    def endpoints(self) -> tuple[AnyEndpoint, ...]:
        return (Endpoint("POST", "/sweep", "sweep", Sweeping, SweepReport, self.sweep),)

    async def sweep(self, _: web.Request, query: Sweeping) -> SweepReport:
        """Remove what has to go now, as the server does by itself from time to time, or tell what that would be."""
        return _report(await self._sweep.round(dry=query.dry_run))


def _report(swept: Swept) -> SweepReport:
    return SweepReport(
        dry_run=swept.dry,
        expired=_group(swept.expired),
        retired=_group(swept.retired),
        forgotten=_group(swept.forgotten),
        left_over=_group(swept.left_over),
        spared=_group(swept.spared),
        failed=_group(swept.failed),
    )


def _group(tally: Tally) -> SweptGroup:
    return SweptGroup(count=tally.count, ids=tuple(tally.ids))
