"""Numbers that only go up, in words of eight bytes: a list in memory, or rows of one mapped file that processes share.

Counting is one addition to a word of one's own row, the same for both; the sum over all rows is made when somebody
looks. A row outlives its process: whoever takes the row after it goes on from there, so no sum ever goes back.

Laws:

* A row has one process at a time. In it `Counts` and `Count` belong to the event loop; `Durations` and `SharedCount`
  may be added to from any thread.
* Words are given out in the order in which counters are made, so every process must make the same ones in the same
  order: `seal` refuses one that does not, since it is of another version than the process that was first.
* Nothing but `vacate` ever lowers a word, and that only the gauges of a process that is gone.
"""

from __future__ import annotations

import mmap
import os
import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from zlib import crc32

from tusd_py.errors import StartError

ROW: Final = 512  # words, a page: no two processes write to the same cache line
GAUGES: Final = 16  # words at the beginning of a row that describe its process, the first one its pid
OTHER: Final = "other"  # whatever is not in a closed set; it is not seen unless the set is wrong

_PID: Final = 0
_LAYOUT, _PARENT = 0, 1  # words of the page before the rows

Labels = tuple[str, ...]


class Sheet:
    """The rows of all processes, and `words`, the row of this one. Without arguments: one row in memory."""

    def __init__(self, shared: memoryview | None = None, row: int = 0) -> None:
        self._shared = shared
        self._row = row
        self.words: list[int] | memoryview = [0] * ROW if shared is None else shared[_start(row) : _start(row + 1)]
        self._gauges = _PID
        self._counters = GAUGES
        self.words[_PID] = os.getpid()

    @staticmethod
    def create(path: Path, rows: int) -> None:
        """A fresh file with `rows` rows, by the parent of the processes that will share it. Raises OSError."""
        path.unlink(missing_ok=True)  # whoever still maps an old one keeps it
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _start(rows) * 8)  # a full disk is told of now, not by SIGBUS later
            os.pwrite(fd, os.getpid().to_bytes(8, "little"), _PARENT * 8)
        finally:
            os.close(fd)

    @classmethod
    def open(cls, path: Path, row: int) -> Sheet:
        """The file, with this row as one's own: whoever had it before must have ended. Raises OSError."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            return cls(memoryview(mmap.mmap(fd, 0)).cast("Q"), row)
        finally:
            os.close(fd)

    def gauge(self) -> int:
        """The place of a new word that `vacate` clears."""
        self._gauges += 1
        assert self._gauges < GAUGES
        return self._gauges

    def counter(self) -> int:
        """The place of a new word that only goes up."""
        self._counters += 1
        assert self._counters <= ROW
        return self._counters - 1

    def seal(self, layout: str) -> None:
        """Say what the words mean, once all are given out. Raises StartError if others mean something else by them."""
        if self._shared is None:
            return
        seal = crc32(layout.encode()) + 1
        if self._shared[_LAYOUT] not in (0, seal):
            raise StartError("Another version was installed while the server runs; restart it as a whole.")
        self._shared[_LAYOUT] = seal

    def total(self, place: int) -> int:
        """The sum of this word over all rows."""
        return sum(self._column(place))

    def pids(self) -> list[int]:
        """The processes that have a row now."""
        return [pid for pid in self._column(_PID) if pid]

    @property
    def parent(self) -> int | None:
        """The process that made the file; None for a sheet in memory."""
        return None if self._shared is None else self._shared[_PARENT]

    def vacate(self, row: int) -> None:
        """The process of this row has ended: its gauges are 0, its counters stay for whoever comes next."""
        assert self._shared is not None
        start = _start(row)
        self._shared[start : start + GAUGES] = memoryview(bytes(GAUGES * 8)).cast("Q")

    def _column(self, place: int) -> Sequence[int]:
        return self.words[place : place + 1] if self._shared is None else self._shared[_start(0) + place :: ROW]


def _start(row: int) -> int:
    return (1 + row) * ROW


class Count:
    """One counter."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._words = sheet.words
        self._place = sheet.counter()

    def add(self, amount: int) -> None:
        self._words[self._place] += amount

    def total(self) -> int:
        return self._sheet.total(self._place)


class SharedCount(Count):
    """One that any thread may add to."""

    def __init__(self, sheet: Sheet) -> None:
        super().__init__(sheet)
        self._lock = threading.Lock()

    def add(self, amount: int) -> None:
        with self._lock:
            self._words[self._place] += amount


class Counts:
    """Counters by label values of a closed set, which begin at 0; one more for what is in no set."""

    def __init__(self, sheet: Sheet, *known: Labels) -> None:
        self._sheet = sheet
        self._words = sheet.words
        self._places = {labels: sheet.counter() for labels in known}
        self._other = sheet.counter()

    def add(self, *labels: str) -> None:
        self._words[self._places.get(labels, self._other)] += 1

    def totals(self) -> Iterator[tuple[Labels, int]]:
        for labels, place in self._places.items():
            yield labels, self._sheet.total(place)
        if others := self._sheet.total(self._other):
            yield (OTHER,) * len(next(iter(self._places))), others


class Durations:
    """A histogram with these bounds, in seconds. Its lock is for events of milliseconds, not for every byte."""

    def __init__(self, sheet: Sheet, bounds: Sequence[float]) -> None:
        self._sheet = sheet
        self._words = sheet.words
        self._bounds = bounds
        self._places = [sheet.counter() for _ in range(len(bounds) + 1)]
        self._nanoseconds = sheet.counter()
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        place = self._places[bisect_left(self._bounds, seconds)]
        with self._lock:
            self._words[place] += 1
            self._words[self._nanoseconds] += int(seconds * 1e9)

    def totals(self) -> tuple[list[tuple[str, int]], float]:
        """How many took at most as long as each bound, and the seconds of all together."""
        buckets, at_most = [], 0
        for bound, place in zip([*map(str, self._bounds), "+Inf"], self._places, strict=True):
            at_most += self._sheet.total(place)
            buckets.append((bound, at_most))
        return buckets, self._sheet.total(self._nanoseconds) / 1e9
