"""Clients that fight for the same uploads in several processes, and what of it must not be seen.

Each client asks for an upload's offset and sends bytes of its own from there on, some of them slowly, so that others
take the upload over. A PATCH that was answered with 204 owns the bytes between its offsets: nobody else can own any of
them, they must be found there, and no HEAD that is sent later may tell less.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tests.acceptance.server import Server
from tests.acceptance.wire import Wire, patch_fields

CLIENTS, UPLOADS = 6, 3
LENGTH = 1 << 30  # bytes; no upload is ever finished
LONGEST = 4000  # bytes of one PATCH
SLOWLY = 0.3  # how often a PATCH takes its time


class Owned(NamedTuple):
    """The answer said that these bytes are kept from `start` on."""

    path: str
    start: int
    data: bytes


class Contest:
    """One contest on one server; `faults` says what must not have been."""

    def __init__(self, server: Server, seed: str) -> None:
        self._server = server
        self._seed = seed
        self._paths = [server.new(LENGTH) for _ in range(UPLOADS)]
        self._told = dict.fromkeys(self._paths, 0)  # the highest offset that any answer has told
        self._guard = threading.Lock()
        self.owned: list[Owned] = []
        self.faults: list[str] = []
        self.heads = 0

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with ThreadPoolExecutor(CLIENTS) as threads:
            clients = [threads.submit(self._fight, client, deadline) for client in range(CLIENTS)]
        for client in clients:
            client.result()
        for path in self._paths:
            self._judge(path, sorted(owned for owned in self.owned if owned.path == path))

    def _fight(self, client: int, deadline: float) -> None:
        chance = random.Random(f"{self._seed}/{client}")
        while time.monotonic() < deadline:
            path = chance.choice(self._paths)
            offset = self._offset(path)
            if offset is not None:
                data = bytes([client + 1]) * chance.randint(1, LONGEST)
                self._patch(path, offset, data, slowly=chance.random() < SLOWLY)

    def _offset(self, path: str) -> int | None:
        """What HEAD tells; None while somebody cannot be asked to let go."""
        least = self._told[path]
        answer = self._server.head(path)
        if answer.status != 200:
            return None
        if answer.offset < least:
            self.faults.append(f"HEAD {path} went back from {least} to {answer.offset}")
        with self._guard:
            self.heads += 1
            self._told[path] = max(self._told[path], answer.offset)
        return answer.offset

    def _patch(self, path: str, offset: int, data: bytes, *, slowly: bool) -> None:
        with Wire((self._server.host, self._server.port)) as wire:
            fields = {**patch_fields(offset), "Content-Length": str(len(data))}
            wire.begin("PATCH", path, fields, data[:-1] if slowly else data)
            if slowly and wire.is_silent(0.02):
                wire.send_regardless(data[-1:])
            answer = wire.answer("PATCH")
        if answer.status != 204:
            return
        with self._guard:
            self.owned.append(Owned(path, offset, data))
            self._told[path] = max(self._told[path], answer.offset)

    def _judge(self, path: str, owned: Sequence[Owned]) -> None:
        content = (self._server.folder / "uploads" / path.rpartition("/")[2]).read_bytes()
        end = 0
        for _, start, data in owned:
            if start < end:
                self.faults.append(f"{path}: two own what is at {start}")
            if content[start : start + len(data)] != data:
                self.faults.append(f"{path}: others' bytes at {start}")
            end = max(end, start + len(data))
