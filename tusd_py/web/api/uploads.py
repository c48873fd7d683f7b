"""Uploads for operators: list, show, terminate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from aiohttp import web
from pydantic import AwareDatetime, BeforeValidator, Field

from tusd_py.errors import Unavailable, UploadExpired, UploadFailed, UploadLocked, UploadNotFound
from tusd_py.protocol.commands import Terminate
from tusd_py.protocol.fields import whole_number
from tusd_py.records import base
from tusd_py.upload import Kind, State, Upload, is_id
from tusd_py.uploads.service import Progress, Uploads
from tusd_py.uploads.wanted import Wanted, metadata_of
from tusd_py.web.api.endpoint import Answer, AnyEndpoint, Endpoint, Query

MOST_BYTES = (1 << 63) - 1


def _number(text: object) -> object:
    number = whole_number(text) if isinstance(text, str) else text
    if number is None:
        raise ValueError("a whole number is wanted")
    return number


Filter = Annotated[str, Field(min_length=1, max_length=1000)]


class Listing(Query):
    """Which uploads, and how many of them."""

    limit: Annotated[int, Field(ge=1, le=1000, description="Most uploads on a page."), BeforeValidator(_number)] = 100
    after: Annotated[str | None, Field(description="`next` of the page before; without it the newest begin.")] = None
    state: Annotated[State | None, Field(description="Only uploads in this state.")] = None
    kind: Annotated[Kind | None, Field(description="Only uploads of this kind.")] = None
    owner: Annotated[str | None, Field(description="Only uploads of this owner.")] = None
    created_after: Annotated[AwareDatetime | None, Field(description="Only uploads created then or later.")] = None
    created_before: Annotated[AwareDatetime | None, Field(description="Only uploads created earlier.")] = None
    min_length: Annotated[
        int | None, Field(ge=0, le=MOST_BYTES, description="Only of so many bytes or more."), BeforeValidator(_number)
    ] = None
    max_length: Annotated[
        int | None, Field(ge=0, le=MOST_BYTES, description="Only of so many bytes or less."), BeforeValidator(_number)
    ] = None
    metadata: Annotated[
        tuple[Filter, ...],
        Field(max_length=20, description="Only with this key, or with key=pattern for its value; may be repeated."),
    ] = ()

    def asked(self) -> base.Query:
        wanted = Wanted(self.kind, self.owner, self.min_length, self.max_length, self.metadata)
        return base.Query(
            self.limit,
            self.after,
            self.state,
            None if self.created_after is None else self.created_after.timestamp(),
            None if self.created_before is None else self.created_before.timestamp(),
            None if wanted.anything else wanted,
        )


class UploadSummary(Answer):
    """What the record of an upload says."""

    id: str
    state: State
    kind: Kind
    owner: Annotated[str, Field(description="Whose it is; empty if nobody said.")]
    length: Annotated[int | None, Field(description="Bytes in all; null while the client has not said it.")]
    offset: Annotated[
        int | None,
        Field(description="Bytes kept; null if it failed or expired, and in lists of one still to be joined."),
    ]
    created: AwareDatetime
    ended: Annotated[AwareDatetime | None, Field(description="When it finished, failed or expired.")]
    metadata: Annotated[
        dict[str, str] | None, Field(description="Upload-Metadata decoded; null where that is no UTF-8, or none came.")
    ]
    raw_metadata: Annotated[str | None, Field(description="Upload-Metadata as it was received.")]
    partials: Annotated[tuple[str, ...], Field(description="The ids that a final upload is made of, in order.")]


class UploadDetails(UploadSummary):
    """An upload and how far it is."""

    expires: Annotated[AwareDatetime | None, Field(description="When it is removed unless it goes on.")]


class UploadPage(Answer):
    """Newest first. Uploads that come while pages are read do not shift them. A page for which many records had to be
    looked at may be short, or empty, though others follow."""

    uploads: tuple[UploadSummary, ...]
    next: Annotated[str | None, Field(description="`after` of the following page; null on the last.")]


class UploadResource:
    """/uploads and /uploads/{id}."""

    def __init__(self, uploads: Uploads, records: base.Records) -> None:
        self._uploads = uploads
        self._records = records

    def endpoints(self) -> tuple[AnyEndpoint, ...]:
        one = "/uploads/{id}"
        gone = (UploadNotFound, UploadExpired, UploadLocked, Unavailable)
        return (
            Endpoint("GET", "/uploads", "list_uploads", Listing, UploadPage, self.list),
            Endpoint("GET", one, "show_upload", Query, UploadDetails, self.show, (UploadNotFound, UploadFailed)),
            Endpoint("DELETE", one, "terminate_upload", Query, None, self.terminate, gone),
        )

    async def list(self, _: web.Request, query: Listing) -> UploadPage:
        """List uploads, the newest first."""
        page = await self._records.page(query.asked())
        uploads = [UploadSummary.model_validate(_told(one, await self._uploads.kept(one))) for one in page.uploads]
        return UploadPage(uploads=tuple(uploads), next=page.next)

    async def show(self, request: web.Request, _: Query) -> UploadDetails:
        """Show an upload and how far it is. Whoever writes to it is not disturbed."""
        return _details(await self._uploads.show(_id(request)))

    async def terminate(self, request: web.Request, _: Query) -> None:
        """Delete an upload, finished or not. Whoever writes to it is stopped first."""
        await self._uploads.terminate(Terminate(_id(request)))


def _id(request: web.Request) -> str:
    id = request.match_info["id"]
    if not is_id(id):
        raise UploadNotFound
    return id


def _details(progress: Progress) -> UploadDetails:
    upload = progress.upload
    lives = upload.state in (State.RECEIVING, State.FINISHED)
    told = _told(upload, progress.offset if lives else None)
    return UploadDetails.model_validate(told | {"expires": _moment(progress.expires)})


def _told(upload: Upload, offset: int | None) -> dict[str, object]:
    return {
        "id": upload.id,
        "state": upload.state,
        "kind": upload.kind,
        "owner": upload.owner,
        "length": upload.length,
        "offset": offset,
        "created": _moment(upload.created),
        "ended": _moment(upload.ended),
        "metadata": metadata_of(upload),
        "raw_metadata": upload.metadata,
        "partials": upload.partials,
    }


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
