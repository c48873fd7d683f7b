"""What /metrics tells: plain counters behind instruments and events, and gauges that are asked for when somebody looks.

Counting costs an addition; nothing of Prometheus is touched before a scrape. A gauge is never counted up and down,
since such a counter drifts: it is read from what it describes. Every set of labels is closed and begins with zeros, so
that no client can grow the series and a first error is seen as an increase. Seconds, bytes, `_total`, as Prometheus
advises. `received` and `synced` may be called from any thread, everything else from the event loop.
"""

from __future__ import annotations

import platform
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from tusd_py import __version__
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
OTHER = "other"  # whatever is not in a closed set; it is not seen unless the sets above are wrong

Labels = tuple[str, ...]


class Tally:
    """Adds up from any thread without a lock: each thread has a number of its own, which nobody else writes."""

    def __init__(self) -> None:
        self._by_thread: defaultdict[int, int] = defaultdict(int)

    def add(self, amount: int) -> None:
        self._by_thread[threading.get_ident()] += amount

    def total(self) -> int:
        return sum(list(self._by_thread.values()))  # the list is made in one step, whoever adds meanwhile


class Counts:
    """Counters by label values of a closed set, which begin at 0."""

    def __init__(self, *known: Labels) -> None:
        self._other = (OTHER,) * len(known[0])
        self._counts = dict.fromkeys(known, 0)

    def add(self, *labels: str) -> None:
        if labels in self._counts:
            self._counts[labels] += 1
        else:
            self._counts[self._other] = self._counts.get(self._other, 0) + 1

    def fill(self, family: CounterMetricFamily) -> CounterMetricFamily:
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        return family


class Durations:
    """A histogram of seconds. Its lock is for events of milliseconds, a sync or a commit, not for every byte."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        with self._lock:
            self._counts[bisect_left(BOUNDS, seconds)] += 1
            self._seconds += seconds

    def family(self, name: str, help: str) -> HistogramMetricFamily:
        with self._lock:
            counts, seconds = list(self._counts), self._seconds
        bounds = [*map(str, BOUNDS), "+Inf"]
        buckets = [(bound, float(sum(counts[: place + 1]))) for place, bound in enumerate(bounds)]
        return HistogramMetricFamily(name, help, buckets=buckets, sum_value=seconds)


class Metrics:
    """Counts as Instruments and hears as a Listener."""

    def __init__(self) -> None:
        self._gauges: dict[str, Callable[[], int]] = {}
        self._requests = Counts(*((method,) for method in METHODS))
        self._errors = Counts(*sorted(_answers()))
        self._received = Tally()
        self._syncs = Durations()
        self._commits = Durations()
        self._committed = 0
        self._listener_failures = 0
        self._background = Counts(*((what,) for what in BACKGROUND))
        self._created = Counts(*((kind.value,) for kind in Kind))
        self._finished = Counts(*((kind.value,) for kind in Kind))
        self._interrupted = Counts(*((error.code,) for error in ENDINGS))
        self._ended = {events.UploadTerminated: 0, events.UploadExpired: 0, events.UploadFailed: 0}

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
        self._committed += requests
        self._commits.add(seconds)

    def listener_failed(self) -> None:
        self._listener_failures += 1

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
            self._ended[kind] += 1

    # Telling

    def observe(
        self, *, open_connections: Callable[[], int], receiving: Callable[[], int], free_bytes: Callable[[], int]
    ) -> None:
        """Say where the gauges are read, at each scrape. Quick functions; one that raises TusError is left out then."""
        self._gauges = {
            "open_connections": open_connections,
            "receiving_bodies": receiving,
            "free_disk_bytes": free_bytes,
        }

    def exposition(self, open_uploads: int | None = None) -> tuple[bytes, str]:
        """The text for Prometheus and its content type; `open_uploads` as counted in the records, None if they do not
        answer."""
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Scrape([*self._families(), *_gauge("open_uploads", open_uploads)]))
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _families(self) -> Iterator[Metric]:
        yield from self._request_families()
        yield from self._upload_families()
        yield from self._disk_families()
        for name, ask in self._gauges.items():
            yield from _gauge(name, _asked(ask))
        build = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily("tusd_py_build", "Which version runs.", value=build)

    def _request_families(self) -> Iterator[Metric]:
        yield self._requests.fill(
            _counter("requests", "Requests to the upload port that were understood, by effective method.", "method")
        )
        yield self._errors.fill(_counter("errors", "Errors answered, by status and stable code.", "status", "code"))
        yield _counted("received_bytes", "Bytes of bodies kept, counted as they come.", self._received.total())
        yield self._interrupted.fill(_counter("interrupted", "Bodies that ended early, by stable code.", "reason"))

    def _upload_families(self) -> Iterator[Metric]:
        yield self._created.fill(_counter("uploads_created", "Uploads created, by kind.", "kind"))
        yield self._finished.fill(_counter("uploads_finished", "Uploads finished, by kind.", "kind"))
        for event, count in self._ended.items():
            what = event.__name__.removeprefix("Upload").lower()
            yield _counted(f"uploads_{what}", f"Uploads {ENDED[what]}.", count)

    def _disk_families(self) -> Iterator[Metric]:
        yield self._syncs.family("tusd_py_sync_seconds", "How long data syncs took.")
        yield self._commits.family("tusd_py_commit_seconds", "How long database transactions took.")
        yield _counted("committed_requests", "Requests whose writes those transactions carried.", self._committed)
        yield self._background.fill(
            _counter("background_failures", "Rounds of background work that failed and are tried again.", "what")
        )
        yield _counted("listener_failures", "Listeners of events that raised an exception.", self._listener_failures)


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


class _Scrape(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _counter(name: str, help: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"tusd_py_{name}_total", help, labels=labels)


def _counted(name: str, help: str, count: int) -> CounterMetricFamily:
    return CounterMetricFamily(f"tusd_py_{name}_total", help, value=count)


def _gauge(name: str, value: int | None) -> Iterator[Metric]:
    if value is not None:
        yield GaugeMetricFamily(f"tusd_py_{name}", GAUGES[name], value=value)


def _asked(ask: Callable[[], int]) -> int | None:
    try:
        return ask()
    except TusError:
        return None


def _answers(error: type[TusError] = TusError) -> set[Labels]:
    """Status and code of this error and of all below it."""
    return {(str(error.status), error.code)}.union(*(_answers(kind) for kind in error.__subclasses__()))
