"""The client: uploads to one server, as many at once as there are calls."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tusd_py.client.answers import Setback, Verdict, judge, setback
from tusd_py.client.bookmarks import Bookmarks
from tusd_py.client.connection import Connection
from tusd_py.client.events import Report, nobody
from tusd_py.client.plan import Offer
from tusd_py.client.sending import Options, Sending, Uploaded
from tusd_py.client.sources import File, Stream
from tusd_py.protocol.fields import write_metadata


class Client:
    """Uploads to the tus server whose creation URL is `endpoint`. Use it as an async context.

    With `bookmarks` a file whose upload was interrupted, even by a crash, goes on where it stopped.
    """

    def __init__(self, endpoint: str, options: Options | None = None, *, bookmarks: Bookmarks | None = None) -> None:
        self._endpoint = endpoint
        self._options = options or Options()
        self._bookmarks = bookmarks
        silence = self._options.patience.silence
        self._connection = Connection(endpoint, self._options.headers, self._options.bearer, silence)
        self._offer: Offer | None = None
        self._asking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        await self._connection.__aexit__(kind, error, at)

    async def upload(
        self, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None, report: Report = nobody
    ) -> Uploaded:
        """Send a file. Raises a SendError; then, and when cancelled, what arrived and its bookmark stay.

        `metadata` goes with it as it is, without a file name of our own; a key that tus does not allow raises
        errors.InvalidMetadata. `report` is called with events while it runs, and must return at once.
        """
        sending = self._sending(metadata, report)
        with ExitStack() as stack:
            file = stack.enter_context(File(path))
            bookmark = None
            if self._bookmarks is not None:
                bookmark = stack.enter_context(self._bookmarks.hold(file.identity, self._endpoint))
            return await sending.file(file, bookmark, await self._offered(sending))

    async def upload_stream(
        self, pieces: AsyncIterator[bytes], metadata: Mapping[str, str] | None = None, report: Report = nobody
    ) -> Uploaded:
        """Send bytes that come once, and whose length is told at their end. No later run can go on with them."""
        sending = self._sending(metadata, report)
        return await sending.stream(Stream(pieces), await self._offered(sending))

    def _sending(self, metadata: Mapping[str, str] | None, report: Report) -> Sending:
        encoded = write_metadata({name: value.encode() for name, value in (metadata or {}).items()})
        return Sending(self._connection, self._endpoint, self._options, encoded, report)

    async def _offered(self, sending: Sending) -> Offer:
        """What the server says of itself: asked once for all uploads, which also fail together if it never answers."""
        if self._offer is None:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(sending.persistence().until_heard(self._discover))
            await asyncio.shield(self._asking)
            assert self._offer is not None
        return self._offer

    async def _discover(self) -> Setback | None:
        answer = await self._connection.ask("OPTIONS", self._endpoint, {})
        if judge("OPTIONS", answer.status) is Verdict.RETRY:
            return setback(answer)
        self._offer = Offer.read(answer)
        return None


async def upload(
    path: str | os.PathLike[str],
    endpoint: str,
    options: Options | None = None,
    *,
    metadata: Mapping[str, str] | None = None,
    report: Report = nobody,
    bookmarks: Bookmarks | None = None,
) -> Uploaded:
    """Send one file; the same as a Client for it alone."""
    async with Client(endpoint, options, bookmarks=bookmarks) as client:
        return await client.upload(path, metadata, report)
