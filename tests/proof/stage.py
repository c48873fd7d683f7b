"""Requests on whose system calls faults fall, and what must hold afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.acceptance.server import Server
from tests.acceptance.wire import MIB, Wire, eventually, patch_fields
from tests.proof.ledger import Fate, Ledger, Sent, payload
from tests.proof.strace import FEW_THREADS, injection, traced
from tests.proof.writers import Client, Refused, checksum

MOST_CALLS = 200  # of a kind in one request; more means that the tests go round in circles
OPTIONS = (*FEW_THREADS, "--free-space-reserve", "0")
DONE = 200  # whatever stands for success
HONEST = (410, 423, 503, 507)  # what a failing disk may make of a request

Act = Callable[[], object]


class Script:
    """The requests: each method prepares one and returns it, ready to be sent."""

    def __init__(self, ledger: Ledger) -> None:
        self.client = Client(ledger)
        self._server = ledger.server
        self._number = 0

    def small(self) -> Act:
        """A creation with all its 4 KiB."""
        return lambda: self.client.create(self._sent(4096), 4096)

    def beginning(self) -> Act:
        """A creation with the first bytes of more, too many to come before the record."""
        return lambda: self.client.create(self._sent(300_000), 100_000)

    def ordinary(self) -> Act:
        """A PATCH that goes through Python and finishes the upload."""
        sent = self.client.create(self._sent(200_000), 1000)
        return lambda: self.client.patch(sent, 200_000, "chunked")

    def zero_copy(self) -> Act:
        """A PATCH that is spliced and finishes the upload."""
        sent = self.client.create(self._sent(3 * MIB), 1000)
        return lambda: self.client.patch(sent, 3 * MIB)

    def verified(self) -> Act:
        """A PATCH with a checksum, too large to be verified in memory."""
        sent = self.client.create(self._sent(3 * MIB), 1000)
        return lambda: self.client.patch(sent, 2 * MIB, "verified")

    def wrong(self) -> Act:
        """The same with a wrong checksum."""
        sent = self.client.create(self._sent(3 * MIB), 1000)
        return lambda: self.client.patch(sent, 2 * MIB, "wrong")

    def join(self) -> Act:
        """The concatenation of two partial uploads."""
        parts = [self._sent(300_000, "partial") for _ in range(2)]
        for part in parts:
            self.client.finish(self.client.create(part))
        return lambda: self.client.join(self._key(), parts)

    def declared(self) -> Act:
        """A PATCH that only declares the length, where an unverified chunk began that a crash has left."""
        sent = self.client.create(self._sent(1000), 1000, defer=True)
        self._die_in_a_chunk(sent)
        return lambda: self.client.patch(sent, 1000)

    def life(self) -> Act:
        """A creation and PATCHes of every kind, the last of which declares the length and finishes."""
        sent = self._sent(5 * MIB)

        def live() -> None:
            self.client.create(sent, 100_000, defer=True)
            self.client.patch(sent, MIB)
            self.client.patch(sent, 3 * MIB, "verified")
            self.client.patch(sent, 3 * MIB + 1000, "verified")
            self.client.patch(sent, 5 * MIB, "wrong")
            self.client.patch(sent, 5 * MIB, "chunked")

        return live

    def terminate(self) -> Act:
        """A DELETE."""
        sent = self.client.create(self._sent(8192), 4096)
        return lambda: self.client.terminate(sent)

    def _die_in_a_chunk(self, sent: Sent) -> None:
        chunk = payload("unverified", 3 * MIB)
        fields = {**patch_fields(sent.acknowledged), "Upload-Checksum": checksum("sha1", chunk)}
        assert sent.path is not None
        file = self._server.folder / "uploads" / sent.path.rpartition("/")[2]
        with Wire(self._server.address, self._server.files) as wire:
            wire.begin("PATCH", sent.path, {**fields, "Content-Length": str(len(chunk))}, chunk[: 2 * MIB])
            eventually(lambda: file.stat().st_size > MIB, "unverified bytes")
            self._server.kill()
        self._server.restart()

    def _sent(self, length: int, concat: str | None = None) -> Sent:
        key = self._key()
        return Sent(key, payload(key, length), concat)

    def _key(self) -> str:
        self._number += 1
        return str(self._number)


class Where(Enum):
    """Which calls are counted: strace counts those of each thread, so that one thread's may hide another's."""

    ANY = "any file"
    DATABASE = "database"
    UPLOAD = "upload"
    FLOOR = "floor"


@dataclass
class Stage:
    """A server, what was sent to it, and an upload of somebody else."""

    server: Server
    ledger: Ledger
    script: Script
    bystander: Sent

    @classmethod
    def on(cls, server: Server) -> Stage:
        """The server was started with OPTIONS."""
        ledger = Ledger(server)
        script = Script(ledger)
        bystander = script.client.create(Sent("bystander", payload("bystander", 10 * MOST_CALLS)), 1)
        return cls(server, ledger, script, bystander)

    def reached(self, kind: str, call: str, where: Where, effect: str, when: int) -> bool:
        """Run one request with the fault; whether its n-th call was reached."""
        act: Act = getattr(self.script, kind)()
        with traced(self.server, *injection([call], effect, when), file=self._file(where)) as trace:
            status = self._status(act)
        assert status is not None or trace.injected, "a request without an answer"
        assert status in (None, DONE) or (trace.injected and status in HONEST), f"{kind} was answered {status}"
        return trace.injected

    def _file(self, where: Where) -> Path | None:
        uploads, path = self.server.folder / "uploads", self.ledger.entries[-1].path or ""
        id = path.rpartition("/")[2]
        database = self.server.folder / "tusd.db-wal"
        return {Where.DATABASE: database, Where.UPLOAD: uploads / id, Where.FLOOR: uploads / f"{id}.floor.new"}.get(
            where
        )

    def _status(self, act: Act) -> int | None:
        """What the client heard; None if that was nothing."""
        try:
            act()
        except ConnectionError:
            return None
        except Refused as refused:
            return refused.answer.status
        return DONE

    def comes_back(self) -> None:
        """The server was killed; it starts again, nothing acknowledged is lost, and all goes on."""
        self.server.wait()
        self.server.restart()
        self.ledger.settle()
        self.bystander_goes_on()
        self.all_go_on()

    def bystander_goes_on(self) -> None:
        self.script.client.patch(self.bystander, self.bystander.acknowledged + 1)

    def all_go_on(self) -> None:
        """Whatever is there can be finished, and is then what was sent."""
        for sent in self.ledger.entries:
            if sent is not self.bystander and sent.fate is Fate.THERE:
                self.script.client.finish(sent)
        self.ledger.settle()
        for sent in self.ledger.entries:
            if sent is not self.bystander:
                self.script.client.terminate(sent)
        self.ledger.settle()
