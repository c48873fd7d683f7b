"""What /metrics tells: plain counters behind instruments and events, and gauges that are asked for when somebody looks.

Counting costs an addition; nothing of Prometheus is touched before a scrape. A gauge is never counted up and down,
since such a counter drifts: it is read from what it describes. Every set of labels is closed and begins with zeros, so
that no client can grow the series and a first error is seen as an increase. Seconds, bytes, `_total`, as Prometheus
advises. `received` and `synced` may be called from any thread, everything else from the event loop.

Where several processes serve, each counts in its row of a Sheet, and whichever is asked tells the sum of all: counters
go on when a process dies, and gauges are at most REFRESH_EVERY old and lose the part of one that has died.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterator

from tusd_py import __version__
from tusd_py.counters import Count, Counts, Durations, Labels, SharedCount, Sheet
from tusd_py.errors import (
    Dropped,
    MaxSizeExceeded,
    ReadTimeout,
    ServerStopping,
    StorageFull,
    TusError,
    UploadInterrupted,
    UploadSizeExceeded,
    UploadStopped,
)
from tusd_py.figures import Figure, Histogram
from tusd_py.hooks import events
from tusd_py.hooks.events import Event
from tusd_py.upload import Kind

METHODS = ("OPTIONS", "POST", "HEAD", "PATCH", "DELETE", "GET")
BACKGROUND = ("checkpoint", "finish", "sweep", "sync")  # who calls background_failed; a test reads the code for it
ENDINGS = (  # what ends a body early (law 2)
    *(Dropped, MaxSizeExceeded, ReadTimeout, ServerStopping, StorageFull, UploadInterrupted),
    *(UploadSizeExceeded, UploadStopped),
)
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
REFRESH_EVERY = 1.0  # seconds


class Metrics:
    """Counts as Instruments and hears as a Listener. Raises StartError where the sheet is of another version."""

    def __init__(self, sheet: Sheet | None = None) -> None:
        self._sheet = sheet = sheet or Sheet()
        self._asked: dict[str, Callable[[], int]] = {}
        self._gauges = {name: sheet.gauge() for name in ("open_connections", "receiving_bodies")}
        self._requests = Counts(sheet, *((method,) for method in METHODS))
        self._errors = Counts(sheet, *sorted(_answers()))
        self._received = SharedCount(sheet)
        self._syncs = Durations(sheet, BOUNDS)
        self._commits = Durations(sheet, BOUNDS)
        self._committed = Count(sheet)
        self._listener_failures = Count(sheet)
        self._background = Counts(sheet, *((what,) for what in BACKGROUND))
        self._created = Counts(sheet, *((kind.value,) for kind in Kind))
        self._finished = Counts(sheet, *((kind.value,) for kind in Kind))
        self._interrupted = Counts(sheet, *((error.code,) for error in ENDINGS))
        self._ended: dict[type[Event], Count] = {
            kind: Count(sheet) for kind in (events.UploadTerminated, events.UploadExpired, events.UploadFailed)
        }
        sheet.seal(f"{METHODS}{sorted(_answers())}{BACKGROUND}{[kind.value for kind in Kind]}{ENDINGS}{BOUNDS}")

    # Instruments

    def requested(self, method: str) -> None:
        self._requests.add(method)

    def refused(self, status: int, code: str) -> None:
        self._errors.add(str(status), code)

    def received(self, amount: int) -> None:
        self._received.add(amount)

    def synced(self, seconds: float) -> None:
        self._syncs.add(seconds)

    def committed(self, requests: int, seconds: float) -> None:
        self._committed.add(requests)
        self._commits.add(seconds)

    def listener_failed(self) -> None:
        self._listener_failures.add(1)

    def background_failed(self, what: str) -> None:
        self._background.add(what)

    # Listener

    def hear(self, event: Event) -> None:
        kind = type(event)
        if kind is events.UploadCreated:
            self._created.add(event.upload.kind)
        elif kind is events.UploadFinished:
            self._finished.add(event.upload.kind)
        elif isinstance(event, events.UploadInterrupted):
            self._interrupted.add(event.reason)
        else:
            self._ended[kind].add(1)

    # Telling

    def observe(
        self, *, open_connections: Callable[[], int], receiving: Callable[[], int], free_bytes: Callable[[], int]
    ) -> None:
        """Say where the gauges of this process are read. Quick functions; while one raises TusError, what it stands
        for is left out."""
        self._asked = {
            "open_connections": open_connections,
            "receiving_bodies": receiving,
            "free_disk_bytes": free_bytes,
        }

    def refresh(self) -> None:
        """Write down this process' part of the gauges that are sums, for whoever is asked."""
        for name, place in self._gauges.items():
            self._sheet.words[place] = self._ask(name) or 0

    async def keep_fresh(self) -> None:
        """Refresh again and again, until cancelled; needed where several processes share a sheet."""
        while True:
            self.refresh()
            await asyncio.sleep(REFRESH_EVERY)

    def exposition(self, open_uploads: int | None = None) -> tuple[bytes, str]:
        """The text for Prometheus and its content type; `open_uploads` as counted in the records, None if they do not
        answer."""
        from tusd_py.exposition import exposition  # when somebody looks: of many processes few are ever asked

        figures = [*self._figures(), *_gauge("open_uploads", open_uploads)]
        return exposition(figures, self._sheet.pids(), self._sheet.parent)

    def _figures(self) -> Iterator[Figure | Histogram]:
        yield from self._of_requests()
        yield from self._of_uploads()
        yield from self._of_disks()
        self.refresh()
        for name, place in self._gauges.items():
            yield from _gauge(name, self._sheet.total(place) if name in self._asked else None)
        yield from _gauge("free_disk_bytes", self._ask("free_disk_bytes"))
        build = {"version": __version__, "python": platform.python_version()}
        yield Figure("gauge", "build_info", "Which version runs.", {tuple(build.values()): 1}, tuple(build))

    def _of_requests(self) -> Iterator[Figure]:
        yield _labelled(
            ("requests", "Requests to the upload port that were understood, by effective method."),
            self._requests,
            "method",
        )
        yield _labelled(("errors", "Errors answered, by status and stable code."), self._errors, "status", "code")
        yield _counted("received_bytes", "Bytes of bodies kept, counted as they come.", self._received)
        yield _labelled(("interrupted", "Bodies that ended early, by stable code."), self._interrupted, "reason")

    def _of_uploads(self) -> Iterator[Figure]:
        yield _labelled(("uploads_created", "Uploads created, by kind."), self._created, "kind")
        yield _labelled(("uploads_finished", "Uploads finished, by kind."), self._finished, "kind")
        for event, count in self._ended.items():
            what = event.__name__.removeprefix("Upload").lower()
            yield _counted(f"uploads_{what}", f"Uploads {ENDED[what]}.", count)

    def _of_disks(self) -> Iterator[Figure | Histogram]:
        yield _histogram("sync_seconds", "How long data syncs took.", self._syncs)
        yield _histogram("commit_seconds", "How long database transactions took.", self._commits)
        yield _counted("committed_requests", "Requests whose writes those transactions carried.", self._committed)
        failures = ("background_failures", "Rounds of background work that failed and are tried again.")
        yield _labelled(failures, self._background, "what")
        yield _counted("listener_failures", "Listeners of events that raised an exception.", self._listener_failures)

    def _ask(self, name: str) -> int | None:
        try:
            return self._asked[name]() if name in self._asked else None
        except TusError:
            return None


GAUGES = {
    "open_connections": "Client connections open on the upload port.",
    "open_uploads": "Uploads that are not finished yet, as the records count them.",
    "receiving_bodies": "Bodies being received at this moment.",
    "free_disk_bytes": "Free space where uploads are kept.",
}
ENDED = {
    "terminated": "deleted by a client, an operator or the retention of finished uploads",
    "expired": "left unfinished for too long and removed",
    "failed": "whose bytes were lost or damaged, so that they can never be finished",
}


def _labelled(told: tuple[str, str], counts: Counts, *labels: str) -> Figure:
    name, help = told
    return Figure("counter", name, help, dict(counts.totals()), labels)


def _counted(name: str, help: str, count: Count) -> Figure:
    return Figure("counter", name, help, {(): count.total()})


def _histogram(name: str, help: str, durations: Durations) -> Histogram:
    buckets, seconds = durations.totals()
    return Histogram(name, help, buckets, seconds)


def _gauge(name: str, value: int | None) -> Iterator[Figure]:
    if value is not None:
        yield Figure("gauge", name, GAUGES[name], {(): value})


def _answers(error: type[TusError] = TusError) -> set[Labels]:
    """Status and code of this error and of all below it."""
    return {(str(error.status), error.code)}.union(*(_answers(kind) for kind in error.__subclasses__()))
