"""What a measure is: it takes one sample of one running server; rounds and medians are made elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.client.load import Loader
from bench.client.wire import Failed
from bench.peers.base import HOST, Server

Sample = Mapping[str, float]


@dataclass(frozen=True)
class Scale:
    """How much one sample takes; `--quick` takes less."""

    patch_mib: int = 256
    seconds: float = 1.5
    stalled: int = 500
    growth: int = 1000
    growth_first: int = 100


QUICK = Scale(seconds=0.7, stalled=200, growth=300)


@dataclass(frozen=True)
class Metric:
    """One figure of a sample; `digits` after the point in tables."""

    key: str
    title: str
    digits: int = 0
    more_is_better: bool = False


@dataclass(frozen=True)
class Stage:
    """Where a sample is taken."""

    server: Server
    scale: Scale
    place: Path
    load_binary: Path | None

    def loader(self) -> Loader:
        if self.load_binary is None:
            raise Failed("no C compiler for the load client")
        return Loader(self.load_binary, HOST, self.server.port, self.server.peer.root, self.place / "paths")

    def settled_kib(self, patience: float = 8.0) -> int:
        """Resident memory once it has stood still (within 64 KiB) for a second."""
        deadline = time.monotonic() + patience
        seen, since = processes.resident_kib(self.server.pid), time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - since < 1.0:
            time.sleep(0.1)
            now = processes.resident_kib(self.server.pid)
            if abs(now - seen) > 64:
                seen, since = now, time.monotonic()
        return processes.resident_kib(self.server.pid)

    def must_store(self, size: int, count: int = 1) -> None:
        """Failed unless `count` files of `size` bytes are on the disk."""
        if (found := self.server.stored(size)) < count:
            raise Failed(f"{found} of {count} files of {size} bytes are on the disk")


@dataclass(frozen=True)
class Row:
    """One line of the table. `fresh`: a new server for every sample; `again`: also on a disk and without sync; `many`:
    also with two processes; `by_any`: also by servers that take no uploads."""

    key: str
    title: str
    metrics: tuple[Metric, ...]
    measure: Callable[[Stage], Sample]
    fresh: bool = False
    again: bool = False
    many: bool = False
    by_any: bool = False
    only_ours: bool = False
    rounds: int | None = None
