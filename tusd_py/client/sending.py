"""One file or stream on its way: a single upload, or several in parallel that the server joins at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from tusd_py.client.answers import Setback, Verdict, judge, refusal, setback
from tusd_py.client.bookmarks import Bookmark, Mark
from tusd_py.client.connection import Connection
from tusd_py.client.course import Course, created_at
from tusd_py.client.events import Began, Moved, Report, Resumed
from tusd_py.client.patience import Patience
from tusd_py.client.plan import CHECKED_CHUNK, SMALL, Offer, Span, spans
from tusd_py.client.sources import File, Source, Stream
from tusd_py.client.transfer import Persistence, Transfer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """How to send.

    `parallel`: so many parts of a file at once, joined at the end. `checksum`: have every chunk verified. `chunk`: the
    most bytes of one request; None is all that is left, or 16 MiB with checksums. `bearer` is a token, shown nowhere.
    """

    parallel: int = 1
    checksum: bool = False
    chunk: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    bearer: str | None = field(default=None, repr=False)
    patience: Patience = field(default_factory=Patience)


class Uploaded(NamedTuple):
    """An upload that is finished: `length` bytes, of which `kept` were there from an earlier run."""

    url: str
    length: int
    kept: int
    retries: int


class Board:
    """How far the parts of one file are, for its bookmark and for whoever watches."""

    def __init__(self, marks: Sequence[Mark], metadata: str, bookmark: Bookmark | None, report: Report) -> None:
        self.marks = list(marks)
        self.kept = 0
        self._offsets = [0] * len(marks)
        self._metadata = metadata
        self._bookmark = bookmark
        self._report = report

    def placed(self, part: int, url: str) -> None:
        self.marks[part] = self.marks[part]._replace(url=url)
        if self._bookmark is not None:
            self._bookmark.write(self._metadata, tuple(self.marks))

    def resumed(self, offset: int) -> None:
        self.kept += offset
        self._report(Resumed(self.kept))

    def moved(self, part: int, offset: int) -> None:
        self._offsets[part] = offset
        self._report(Moved(sum(self._offsets)))


class Part:
    """What the transfer of one part tells, put on the board."""

    def __init__(self, board: Board, number: int) -> None:
        self._board = board
        self._number = number

    def placed(self, url: str) -> None:
        self._board.placed(self._number, url)

    def resumed(self, offset: int) -> None:
        self._board.resumed(offset)

    def moved(self, offset: int) -> None:
        self._board.moved(self._number, offset)


class Sending:
    """For one call of the client. `metadata` is the field as it goes over the wire."""

    def __init__(self, connection: Connection, endpoint: str, options: Options, metadata: str, report: Report) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._options = options
        self._metadata = metadata
        self._described = {"Upload-Metadata": metadata} if metadata else {}
        self._report = report
        self._persistences: list[Persistence] = []

    def persistence(self) -> Persistence:
        """Failures in a row are counted for each part, and all of them are told."""
        self._persistences.append(Persistence(self._options.patience, self._report))
        return self._persistences[-1]

    async def file(self, file: File, bookmark: Bookmark | None, offer: Offer) -> Uploaded:
        """Raises NotOffered or Refused before anything is sent, if the server says so of itself."""
        length = file.identity.size
        self._report(Began(length))
        offer.admit(length)
        marks = bookmark.read(self._metadata) if bookmark is not None else ()
        marks = marks or tuple(Mark(span, None) for span in spans(length, self._options.parallel))
        if len(marks) > 1:
            offer.demand("concatenation", "sending in parallel")
        board = Board(marks, self._metadata, bookmark, self._report)
        parts = [self._part(file, board, number, offer) for number in range(len(marks))]
        urls = await together([part.run() for part in parts])
        file.check()
        url = urls[0] if len(urls) == 1 else await self._joined(urls)
        if bookmark is not None:
            bookmark.finish(self._metadata, url)
        return Uploaded(url, length, board.kept, self._retries())

    async def stream(self, stream: Stream, offer: Offer) -> Uploaded:
        """A stream that ends within its window is sent like a file: its length is known."""
        self._report(Began(None))
        end, complete = await stream.more(0)
        offer.admit(end)
        if not complete:
            offer.demand("creation-defer-length", "sending without knowing the length")
        course = Course(self._endpoint, end, end if complete else None, chunk=self._chunk(), may_restart=False)
        board = Board([Mark(Span(0, 0), None)], self._metadata, None, self._report)
        url = await self._transfer(course, stream, Part(board, 0), self._described, offer).run()
        return Uploaded(url, course.best, 0, self._retries())

    def _part(self, file: File, board: Board, number: int, offer: Offer) -> Transfer:
        (start, stop), url = board.marks[number]
        alone = len(board.marks) == 1
        creation = self._described if alone else {"Upload-Concat": "partial"}
        at_once = SMALL if offer.has("creation-with-upload") and not self._options.checksum else 0
        course = Course(self._endpoint, stop - start, stop - start, chunk=self._chunk(), url=url, with_creation=at_once)
        return self._transfer(course, file.part(start), Part(board, number), creation, offer)

    def _transfer(
        self, course: Course, source: Source, part: Part, creation: Mapping[str, str], offer: Offer
    ) -> Transfer:
        algorithm = offer.algorithm() if self._options.checksum else None
        return Transfer(
            self._connection, course, source, self.persistence(), part, creation=creation, algorithm=algorithm
        )

    def _chunk(self) -> int | None:
        return self._options.chunk or (CHECKED_CHUNK if self._options.checksum else None)

    async def _joined(self, urls: Sequence[str]) -> str:
        """Ask for the final upload until there is one; asked twice for the same, a server gives the same (T107)."""
        joined: list[str] = []

        async def ask() -> Setback | None:
            fields = {"Upload-Concat": f"final;{' '.join(urls)}", **self._described}
            answer = await self._connection.ask("POST", self._endpoint, fields)
            verdict = judge("POST", answer.status)
            if verdict is Verdict.RETRY:
                return setback(answer)
            if verdict is not Verdict.DONE:
                raise refusal(answer)
            joined.append(created_at(self._endpoint, answer))
            return None

        await self.persistence().until_heard(ask)
        return joined[0]

    def _retries(self) -> int:
        return sum(persistence.retries for persistence in self._persistences)


async def together(runs: Sequence[Coroutine[object, object, T]]) -> list[T]:
    """All of them at once; the first failure ends the others and is raised itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run) for run in runs]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]
