"""Drives one course: asks the server what the course says, and tries again what is worth it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from tusd_py.client.answers import Answer, Setback
from tusd_py.client.checksums import CheckedChunk
from tusd_py.client.connection import Body, Connection, Lost
from tusd_py.client.course import Course
from tusd_py.client.events import Report, Waiting
from tusd_py.client.failures import GaveUp
from tusd_py.client.patience import Patience
from tusd_py.client.sources import Source
from tusd_py.client.steps import Ask, Create, Done, More, Request


class Persistence:
    """Counts failures in a row, and waits between them."""

    def __init__(self, patience: Patience, report: Report) -> None:
        self._patience = patience
        self._report = report
        self._failures = 0
        self.retries = 0

    def progressed(self) -> None:
        self._failures = 0

    async def after(self, setback: Setback) -> None:
        """Wait for the next try; raises GaveUp when there were enough."""
        self._failures += 1
        pause = self._patience.pause(self._failures, random.random(), setback.asked)
        if pause is None:
            raise GaveUp(f"{setback.why} ({self._failures} times in a row)")
        self.retries += 1
        self._report(Waiting(setback.why, pause, self._failures))
        await asyncio.sleep(pause)

    async def until_heard(self, ask: Callable[[], Awaitable[Setback | None]]) -> None:
        """Do it until there is no setback."""
        while True:
            try:
                setback = await ask()
            except Lost as lost:
                setback = Setback(str(lost))
            if setback is None:
                return
            await self.after(setback)


class Watch(Protocol):
    """What a transfer tells while it runs."""

    def placed(self, url: str) -> None:
        """This is its URL; told before the first byte goes there."""

    def resumed(self, offset: int) -> None:
        """So many bytes were there from an earlier run."""

    def moved(self, offset: int) -> None:
        """So many bytes have been sent; less than before where some were lost on the way."""


class Transfer:
    """One upload of a server, filled from a source; `creation` are the fields of its creation, `algorithm` is that of
    the checksum of each request, None for no checksums."""

    def __init__(
        self,
        connection: Connection,
        course: Course,
        source: Source,
        persistence: Persistence,
        watch: Watch,
        *,
        creation: Mapping[str, str],
        algorithm: str | None = None,
    ) -> None:
        self._connection = connection
        self._course = course
        self._source = source
        self._persistence = persistence
        self._watch = watch
        self._creation = creation
        self._algorithm = algorithm

    async def run(self) -> str:
        """Until the server has all of it; returns the URL. Raises a SendError, or is cancelled: what arrived stays."""
        while not isinstance(step := self._course.next(), Done):
            if isinstance(step, More):
                self._course.extend(*await self._source.more(step.offset))
            else:
                await self._take(step)
        return step.url

    async def _take(self, step: Request) -> None:
        course = self._course
        url, best, adopted = course.url, course.best, course.adopted
        try:
            setback = course.heard(step, await self._send(step))
        except Lost as lost:
            course.lost()
            setback = Setback(str(lost))
        if course.url is not None and course.url != url:
            self._watch.placed(course.url)
        if course.offset is not None:
            if adopted and course.url == url:
                self._watch.resumed(course.offset)
            self._watch.moved(course.offset)
        if course.best > best:
            self._persistence.progressed()
        if setback is not None:
            await self._persistence.after(setback)

    async def _send(self, step: Request) -> Answer:
        if isinstance(step, Ask):
            return await self._connection.ask(step.method, step.url, step.fields)
        fields = {**step.fields, **(self._creation if isinstance(step, Create) else {})}
        source: Source = self._source
        if self._algorithm is not None and step.size:
            chunk = await CheckedChunk.take(source, step.offset, step.offset + step.size, self._algorithm)
            source, fields["Upload-Checksum"] = chunk, chunk.field
        body = Body(source, step.offset, step.size, self._watch.moved)
        return await self._connection.ask(step.method, step.url or self._course.endpoint, fields, body)
