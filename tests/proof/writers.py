"""Clients that enter into the ledger what they send: one does what it is told, one what chance will have."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import Callable, Sequence
from itertools import count

from tests.acceptance.wire import MIB, Answer, Fields, Wire, chunked, patch_fields
from tests.proof.ledger import Fate, Ledger, Sent, payload
from tusd_py.uploads.receive import VERIFY_IN_MEMORY

STOPPING = 503  # a server that stops politely says so and keeps what came
LOCKED = 423  # the request that had the upload has not ended yet
HASHES = ("sha1", "sha256", "sha512", "md5", "crc32")


class Refused(AssertionError):
    """The server answered something else than it should in ordinary life."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer))
        self.answer = answer


class Stopped(ConnectionError):
    """The server stops."""


def checksum(algorithm: str, data: bytes) -> str:
    """The value of Upload-Checksum."""
    digest = zlib.crc32(data).to_bytes(4, "big") if algorithm == "crc32" else hashlib.new(algorithm, data).digest()
    return f"{algorithm} {base64.b64encode(digest).decode()}"


def whole(start: int, stop: int) -> frozenset[int] | None:
    """Where a chunk with a checksum may leave the offset. A small one is verified before a byte of it is stored, so
    that a part of it may be there; a large one counts whole or not at all (law 1b)."""
    return frozenset({start, stop}) if stop - start > VERIFY_IN_MEMORY else None


def insist(answer: Answer, status: int) -> Answer:
    if answer.status != status:
        raise Refused(answer)
    return answer


class Client:
    """Requests, entered before they are sent. Each raises Refused, or ConnectionError if it is not answered."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._server = ledger.server

    def create(self, sent: Sent, first: int = 0, *, defer: bool = False, algorithm: str | None = None) -> Sent:
        """With so many first bytes, and a checksum of them if an algorithm is named."""
        body, length = sent.data[:first], None if defer else len(sent.data)
        fields = {**sent.fields, "Upload-Defer-Length": "1"} if defer else {**sent.fields, "Upload-Length": str(length)}
        sent.expect(first)
        if algorithm:
            sent.expect(first, only=whole(0, first))
            fields["Upload-Checksum"] = checksum(algorithm, body)
        self._ledger.entries.append(sent)
        answer = insist(self._server.create(None, fields, body or None), 201)
        sent.path, sent.length, sent.fate = answer.path, length, Fate.THERE
        sent.acknowledge(answer.offset if body else 0)
        return sent

    def patch(self, sent: Sent, stop: int, kind: str = "plain", algorithm: str = "sha1") -> None:
        """Up to `stop`; the kind is plain, dribbled, chunked, verified (with a checksum) or wrong (a wrong one)."""
        start, chunk = sent.acknowledged, sent.data[sent.acknowledged : stop]
        kind = kind if chunk else "plain"
        fields = dict(patch_fields(start))
        if sent.length is None and stop == len(sent.data):
            fields["Upload-Length"] = str(stop)
        if kind in ("verified", "wrong"):
            fields["Upload-Checksum"] = checksum(algorithm, chunk if kind == "verified" else chunk + b"!")
            sent.expect(stop, only=whole(start, stop) if kind == "verified" else frozenset({start}))
        else:
            sent.expect(stop)
        answer = self._send(sent, fields, chunk, kind)
        if kind == "wrong":
            insist(answer, 460)
            return
        assert insist(answer, 204).offset == stop, answer
        sent.acknowledge(stop)
        if "Upload-Length" in fields:
            sent.length = stop

    def look(self, sent: Sent) -> None:
        """HEAD, which acknowledges as well."""
        assert sent.path is not None
        sent.acknowledge(insist(self._server.head(sent.path), 200).offset)

    def join(self, key: str, parts: Sequence[Sent]) -> Sent:
        """A final upload of finished partial ones."""
        final = Sent(key, b"".join(part.data for part in parts))
        final.concat = "final;" + " ".join(part.path or "" for part in parts)
        final.expect(len(final.data), only=frozenset({len(final.data)}))
        self._ledger.entries.append(final)
        answer = insist(self._server.create(None, final.fields), 201)
        final.path, final.length, final.fate = answer.path, len(final.data), Fate.THERE
        final.acknowledge(len(final.data))
        return final

    def terminate(self, sent: Sent) -> None:
        assert sent.path is not None
        sent.fate = Fate.GOING
        insist(self._server.delete(sent.path), 204)
        sent.fate = Fate.GONE

    def finish(self, sent: Sent) -> None:
        """Whatever has happened to it, the rest can be sent, in one PATCH."""
        if sent.length is None or not sent.complete:
            self.patch(sent, len(sent.data))

    def _send(self, sent: Sent, fields: Fields, chunk: bytes, kind: str) -> Answer:
        assert sent.path is not None
        with Wire((self._server.host, self._server.port), self._server.files) as wire:
            if kind == "chunked":
                body = chunked(*(chunk[at : at + 100_000] for at in range(0, len(chunk), 100_000)))
                return wire.ask("PATCH", sent.path, {**fields, "Transfer-Encoding": "chunked"}, body)
            if kind == "dribbled":
                return self._dribble(wire, sent.path, fields, chunk)
            return wire.ask("PATCH", sent.path, fields, chunk)

    def _dribble(self, wire: Wire, path: str, fields: Fields, chunk: bytes) -> Answer:
        wire.begin("PATCH", path, {**fields, "Content-Length": str(len(chunk))})
        piece = len(chunk) // 8 + 1
        for at in range(0, len(chunk), piece):
            wire.is_silent(0.005)
            wire.send(chunk[at : at + piece])
        return wire.answer("PATCH")


class Writer(Client):
    """One whose choices follow from `seed`. It ends at answers that ask for `patience`."""

    patience: tuple[int, ...] = (STOPPING,)

    def __init__(self, ledger: Ledger, seed: str, resumed: Sequence[Sent] = ()) -> None:
        super().__init__(ledger)
        self._random = random.Random(seed)
        self._keys = (f"{seed}/{number}" for number in count())
        self._mine = list(resumed)
        self.acts = 0

    def run(self) -> None:
        """Until the server goes; what it answers wrongly is an AssertionError."""
        acts: Sequence[Callable[[], object]] = [*[self._upload] * 6, *[self._resume] * 4, self._join, self._terminate]
        try:
            while True:
                self._random.choice(acts)()
                self.acts += 1
        except (ConnectionError, TimeoutError):
            return
        except Refused as refused:
            if refused.answer.status not in self.patience:
                raise

    def _upload(self, concat: str | None = None) -> Sent:
        key = next(self._keys)
        sent = Sent(key, payload(key, self._size()), concat)
        first = self._chunk(sent) if self._chance(0.5) else 0
        algorithm = self._random.choice(HASHES) if first and self._chance(0.3) else None
        self.create(sent, first, defer=self._chance(0.25), algorithm=algorithm)
        while self._is_open(sent) and (concat or self._chance(0.8)):
            self._go_on(sent)
        if self._is_open(sent):
            self._mine.append(sent)
        return sent

    def _resume(self) -> None:
        if not self._mine:
            return
        sent = self._random.choice(self._mine)
        self.look(sent)
        self._go_on(sent)
        if not self._is_open(sent):
            self._mine.remove(sent)

    def _join(self) -> None:
        self.join(next(self._keys), [self._upload("partial") for _ in range(self._random.randint(2, 3))])

    def _terminate(self) -> None:
        if self._mine:
            self.terminate(self._mine.pop(self._random.randrange(len(self._mine))))

    def _go_on(self, sent: Sent) -> None:
        kind = self._random.choice(("plain", "plain", "dribbled", "chunked", "verified", "verified", "wrong"))
        self.patch(sent, sent.acknowledged + self._chunk(sent), kind, self._random.choice(HASHES))

    def _is_open(self, sent: Sent) -> bool:
        return sent.length is None or not sent.complete

    def _chance(self, how_often: float) -> bool:
        return self._random.random() < how_often

    def _size(self) -> int:
        """Small and large ones, since their bytes go different ways; some are empty."""
        most = self._random.choice((0, 4 << 10, 64 << 10, 300_000, MIB, 2 * MIB, 5 * MIB))
        return self._random.randint(0, most)

    def _chunk(self, sent: Sent) -> int:
        """Often all of the rest; up to 3 MiB, beyond 1 MiB of which a checksum is verified in place."""
        most = self._random.choice((1000, 60_000, 400_000, 3 * MIB))
        return min(self._random.randint(1, most), len(sent.data) - sent.acknowledged)


class Stubborn(Writer):
    """One that goes on when a worker dies under it, until nobody takes its connections any more."""

    patience = (STOPPING, LOCKED)

    def run(self) -> None:
        while not self._is_refused():
            super().run()

    def _is_refused(self) -> bool:
        try:
            Wire((self._server.host, self._server.port)).close()
        except ConnectionError:
            return True
        return False
