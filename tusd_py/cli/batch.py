"""Sends what is to be sent, several files at once, and comes to an end that can be gone on from, whatever happens."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from tusd_py.cli.outgoing import Outgoing
from tusd_py.cli.shows import Outcome, Show
from tusd_py.client import Bookmarks, Client, GaveUp, Options, SendError, SourceUnreadable, Uploaded
from tusd_py.client.events import Report

PIECE = 256 << 10  # bytes of standard input
STANDARD_INPUT = 0  # its descriptor
FINISHED, FAILED, FOR_NOW = 0, 1, 3  # exit codes; 2 is wrong usage, 128 + n the end by a signal


@dataclass(frozen=True, slots=True)
class Batch:
    """`bookmarks` None: nothing is remembered."""

    endpoint: str
    outgoing: list[Outgoing]
    at_once: int
    options: Options
    bookmarks: Bookmarks | None
    show: Show

    def run(self) -> int:
        """Returns the exit code."""
        return asyncio.run(self._run())

    async def _run(self) -> int:
        outcomes: list[Outcome] = []
        work = asyncio.ensure_future(self._all(outcomes))
        stopped_by: list[signal.Signals] = []

        def stop(number: signal.Signals) -> None:
            stopped_by.append(number)
            work.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
        await asyncio.wait([work])
        code = 128 + stopped_by[0] if work.cancelled() else exit_code(outcomes)
        if not work.cancelled():
            work.result()
        if code == FINISHED and self.bookmarks is not None:
            self.bookmarks.forget_finished()
        self.show.close(self._last_words(code, outcomes))
        return code

    async def _all(self, outcomes: list[Outcome]) -> None:
        waiting = iter(self.outgoing)
        client = Client(self.endpoint, self.options, bookmarks=self.bookmarks)
        async with client, asyncio.TaskGroup() as group:
            for _ in range(min(self.at_once, len(self.outgoing))):
                group.create_task(self._one_by_one(client, waiting, outcomes))

    async def _one_by_one(self, client: Client, waiting: Iterator[Outgoing], outcomes: list[Outcome]) -> None:
        for outgoing in waiting:
            if any(outcome.code == GaveUp.code for outcome in outcomes):
                return  # whatever failed so often would fail for the others too
            report = self.show.began(outgoing)
            started = time.monotonic()
            try:
                uploaded = await _upload(client, outgoing, report)
            except SendError as error:
                outcome = Outcome.failed(outgoing, time.monotonic() - started, error)
            except asyncio.CancelledError:
                self.show.ended(Outcome.interrupted(outgoing, time.monotonic() - started))
                raise
            else:
                outcome = Outcome(outgoing, time.monotonic() - started, *uploaded)
            outcomes.append(outcome)
            self.show.ended(outcome)

    def _last_words(self, code: int, outcomes: list[Outcome]) -> str:
        """For a person: how far it got, and how to go on."""
        if code == FINISHED:
            return ""
        done = sum(outcome.finished for outcome in outcomes)
        told = f"{done} of {len(self.outgoing)} files are there. " if len(self.outgoing) > 1 else ""
        return f"{'Interrupted. ' if code > FOR_NOW else ''}{told}{self._advice(code)}".strip()

    def _advice(self, code: int) -> str:
        if any(outgoing.path is None for outgoing in self.outgoing):
            return "What came from standard input has to be sent again from its beginning."
        if code == FAILED:
            return "Run the same command again to send the others." if len(self.outgoing) > 1 else ""
        if self.bookmarks is None:
            return "Nothing was remembered: the next run starts again."
        return "What has arrived is kept: run the same command again, and it goes on from there."


def exit_code(outcomes: list[Outcome]) -> int:
    failed = [outcome for outcome in outcomes if not outcome.finished]
    if not failed:
        return FINISHED
    return FOR_NOW if all(outcome.resumable for outcome in failed) else FAILED


async def _upload(client: Client, outgoing: Outgoing, report: Report) -> Uploaded:
    if outgoing.path is None:
        return await client.upload_stream(standard_input(), outgoing.metadata, report)
    return await client.upload(outgoing.path, outgoing.metadata, report)


async def standard_input() -> AsyncIterator[bytes]:
    """Read in a thread that nobody has to wait for: one that waits for a terminal would hold up the end."""
    pieces: asyncio.Queue[bytes | OSError] = asyncio.Queue(maxsize=4)
    loop = asyncio.get_running_loop()

    def read() -> None:
        piece: bytes | OSError = b"-"
        while piece and isinstance(piece, bytes):
            try:
                piece = os.read(STANDARD_INPUT, PIECE)
            except OSError as error:
                piece = error
            try:
                asyncio.run_coroutine_threadsafe(pieces.put(piece), loop).result()
            except (RuntimeError, asyncio.CancelledError):  # the loop has ended before the input
                return

    threading.Thread(target=read, daemon=True).start()
    while piece := await pieces.get():
        if isinstance(piece, OSError):
            raise SourceUnreadable(f"standard input cannot be read: {piece.strerror}") from piece
        yield piece
