"""Clients that upload, resume, join and delete as chance will have it, until the server is gone."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import Callable, Sequence
from itertools import count

from tests.acceptance.wire import MIB, Answer, Fields, Wire, chunked, patch_fields
from tests.proof.ledger import Fate, Ledger, Sent, payload

STOPPING = 503  # a server that stops politely says so and keeps what came
HASHES = ("sha1", "sha256", "sha512", "md5", "crc32")


class Stopped(ConnectionError):
    """The server stops."""


def checksum(algorithm: str, data: bytes) -> str:
    """The value of Upload-Checksum."""
    digest = zlib.crc32(data).to_bytes(4, "big") if algorithm == "crc32" else hashlib.new(algorithm, data).digest()
    return f"{algorithm} {base64.b64encode(digest).decode()}"


class Writer:
    """One client, whose choices follow from `seed`. It enters into the ledger what it sends before it sends it."""

    def __init__(self, ledger: Ledger, seed: str, resumed: Sequence[Sent] = ()) -> None:
        self._ledger = ledger
        self._server = ledger.server
        self._random = random.Random(seed)
        self._keys = (f"{seed}/{number}" for number in count())
        self._mine = list(resumed)
        self.acts = 0

    def run(self) -> None:
        """Until the server goes; what it answers wrongly is an AssertionError."""
        acts: list[Callable[[], None]] = [self._upload] * 6 + [self._resume] * 4 + [self._join, self._terminate]
        try:
            while True:
                self._random.choice(acts)()
                self.acts += 1
        except (ConnectionError, TimeoutError):
            return

    # Acts

    def _upload(self, concat: str | None = None, whole: bool = False) -> Sent:
        key = next(self._keys)
        sent = Sent(key, payload(key, self._size()), concat)
        self._create(sent, defer=self._random.random() < 0.25)
        while not sent.complete and (whole or self._random.random() < 0.8):
            self._patch(sent)
        if not sent.complete or sent.length is None:
            self._mine.append(sent)
        return sent

    def _resume(self) -> None:
        if not self._mine:
            return
        sent = self._random.choice(self._mine)
        assert sent.path is not None
        sent.acknowledge(self._insist(self._server.head(sent.path), 200).offset)
        self._patch(sent)
        if sent.complete and sent.length is not None:
            self._mine.remove(sent)

    def _join(self) -> None:
        parts = [self._upload("partial", whole=True) for _ in range(self._random.randint(2, 3))]
        for part in parts:
            while part.length is None:
                self._patch(part)
        final = Sent(next(self._keys), b"".join(part.data for part in parts))
        final.concat = "final;" + " ".join(part.path or "" for part in parts)
        final.expect(len(final.data), only=frozenset({len(final.data)}))
        self._ledger.entries.append(final)
        answer = self._insist(self._server.create(None, final.fields), 201)
        final.path, final.length, final.fate = answer.path, len(final.data), Fate.THERE
        final.acknowledge(len(final.data))

    def _terminate(self) -> None:
        if not self._mine:
            return
        sent = self._mine.pop(self._random.randrange(len(self._mine)))
        assert sent.path is not None
        sent.fate = Fate.GOING
        self._insist(self._server.delete(sent.path), 204)
        sent.fate = Fate.GONE

    # Requests

    def _create(self, sent: Sent, *, defer: bool) -> None:
        first = sent.data[: self._chunk(sent)] if self._random.random() < 0.5 else b""
        sent.expect(len(first))
        fields = dict(sent.fields)
        if first and self._random.random() < 0.3:
            fields["Upload-Checksum"] = checksum(self._random.choice(HASHES), first)
            sent.expect(len(first), only=frozenset({0, len(first)}))
        length = {"Upload-Defer-Length": "1"} if defer else {"Upload-Length": str(len(sent.data))}
        self._ledger.entries.append(sent)
        answer = self._insist(self._server.create(None, {**fields, **length}, first or None), 201)
        sent.path, sent.length, sent.fate = answer.path, None if defer else len(sent.data), Fate.THERE
        sent.acknowledge(answer.offset if first else 0)

    def _patch(self, sent: Sent) -> None:
        start = sent.acknowledged
        chunk = sent.data[start : start + self._chunk(sent)]
        stop = start + len(chunk)
        fields = dict(patch_fields(start))
        if sent.length is None and stop == len(sent.data):
            fields["Upload-Length"] = str(len(sent.data))
        kind = self._random.choice(("plain", "plain", "dribbled", "chunked", "verified", "verified", "wrong"))
        if kind == "verified":
            fields["Upload-Checksum"] = checksum(self._random.choice(HASHES), chunk)
            sent.expect(stop, only=frozenset({start, stop}))
        elif kind == "wrong" and chunk:
            fields["Upload-Checksum"] = checksum("sha1", chunk + b"!")
            sent.expect(start)
        else:
            sent.expect(stop)
        answer = self._send(sent, fields, chunk, kind)
        if kind == "wrong" and chunk:
            self._insist(answer, 460)
            return
        self._insist(answer, 204)
        assert answer.offset == stop, answer
        sent.acknowledge(stop)
        if "Upload-Length" in fields:
            sent.length = stop

    def _send(self, sent: Sent, fields: Fields, chunk: bytes, kind: str) -> Answer:
        assert sent.path is not None
        with Wire((self._server.host, self._server.port), self._server.files) as wire:
            if kind == "chunked":
                body = chunked(*(chunk[at : at + 100_000] for at in range(0, len(chunk), 100_000)))
                return wire.ask("PATCH", sent.path, {**fields, "Transfer-Encoding": "chunked"}, body)
            if kind != "dribbled":
                return wire.ask("PATCH", sent.path, fields, chunk)
            wire.begin("PATCH", sent.path, {**fields, "Content-Length": str(len(chunk))})
            piece = len(chunk) // 8 + 1
            for at in range(0, len(chunk), piece):
                wire.is_silent(self._random.random() * 0.01)  # seconds
                wire.send(chunk[at : at + piece])
            return wire.answer("PATCH")

    # Choices

    def _size(self) -> int:
        """Small and large ones, since their bytes go different ways; some are empty."""
        most = self._random.choice((0, 4 << 10, 64 << 10, 300_000, MIB, 2 * MIB, 5 * MIB))
        return self._random.randint(0, most)

    def _chunk(self, sent: Sent) -> int:
        """Often all of the rest; up to 3 MiB, beyond which a checksum is verified in place."""
        most = self._random.choice((1000, 60_000, 400_000, 3 * MIB))
        return min(self._random.randint(1, most), len(sent.data) - sent.acknowledged)

    def _insist(self, answer: Answer, status: int) -> Answer:
        if answer.status == STOPPING:
            raise Stopped(str(answer))
        assert answer.status == status, answer
        return answer
