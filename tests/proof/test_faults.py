"""The server dies, or the disk fails, at every system call that matters of every kind of request.

Each test goes through one request's calls of one kind: the first, the second, until there is none left to reach.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import MIB
from tests.conftest import StartServer
from tests.proof.ledger import Fate, Ledger, Sent, payload
from tests.proof.strace import FEW_THREADS, injection, traced
from tests.proof.writers import Client, Refused

pytestmark = pytest.mark.strace

MOST_CALLS = 200  # of a kind in one request; more means that the tests go round in circles
DONE = 200  # whatever stands for success
HONEST = (410, 423, 503, 507)  # what a failing disk may make of a request
RENAME, UNLINK = "/^rename", "/^unlink"

Act = Callable[[], object]


class Script:
    """The requests: each method prepares one and returns it, ready to be sent."""

    def __init__(self, ledger: Ledger) -> None:
        self.client = Client(ledger)
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

    def terminate(self) -> Act:
        """A DELETE."""
        sent = self.client.create(self._sent(8192), 4096)
        return lambda: self.client.terminate(sent)

    def _sent(self, length: int, concat: str | None = None) -> Sent:
        key = self._key()
        return Sent(key, payload(key, length), concat)

    def _key(self) -> str:
        self._number += 1
        return str(self._number)


# What each request does, so that a call that is never reached is noticed.
KINDS: dict[str, tuple[str, ...]] = {
    "small": ("pwrite64", "fdatasync", "fsync"),
    "beginning": ("pwrite64", "fdatasync"),
    "ordinary": ("pwrite64", "fdatasync", "fsync"),
    "zero_copy": ("splice", "pwrite64", "fdatasync", "fsync"),
    "verified": ("pwrite64", "write", RENAME, UNLINK),
    "wrong": ("pwrite64", RENAME, "ftruncate", UNLINK),
    "join": ("copy_file_range", "pwrite64", "fdatasync", "fsync"),
    "terminate": ("pwrite64", "fdatasync", UNLINK),
}


class Where(Enum):
    """Which calls are counted: strace counts those of each thread, so that one thread's may hide another's."""

    ANY = "any file"
    DATABASE = "database"
    UPLOAD = "upload"
    FLOOR = "floor"


OWN = {"splice": Where.UPLOAD, "write": Where.FLOOR}  # calls that the server makes for other purposes too
CASES = [
    *((kind, call, OWN.get(call, Where.ANY)) for kind, calls in KINDS.items() for call in calls),
    *(
        (kind, call, Where.DATABASE)
        for kind, calls in KINDS.items()
        if "fdatasync" in calls
        for call in ("pwrite64", "fdatasync")
    ),
]


@dataclass
class Stage:
    """A server, what was sent to it, and an upload of somebody else."""

    server: Server
    ledger: Ledger
    script: Script
    bystander: Sent

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


@pytest.fixture
def stage(start_server: StartServer) -> Stage:
    server = start_server(*FEW_THREADS, "--free-space-reserve", "0")
    ledger = Ledger(server)
    script = Script(ledger)
    bystander = script.client.create(Sent("bystander", payload("bystander", 10 * MOST_CALLS)), 1)
    return Stage(server, ledger, script, bystander)


@pytest.mark.parametrize(("kind", "call", "where"), CASES)
def test_killed(stage: Stage, kind: str, call: str, where: Where) -> None:
    """The server is killed as it enters the call; after a restart nothing acknowledged is lost and all goes on."""
    reached = 0
    while stage.reached(kind, call, where, "signal=KILL", reached + 1):
        reached += 1
        stage.server.wait()
        stage.server.restart()
        stage.ledger.settle()
        stage.bystander_goes_on()
        stage.all_go_on()
        assert reached < MOST_CALLS
    assert reached


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize(("kind", "call", "where"), CASES)
def test_failing(stage: Stage, kind: str, call: str, where: Where, error: str) -> None:
    """The call fails: an honest answer, no harm to others, and when the disk works again, all that is left goes on."""
    stage.ledger.failed_syncs_are_final = call in ("fdatasync", "fsync") and where is not Where.DATABASE
    reached = 0
    while stage.reached(kind, call, where, f"error={error}", reached + 1):
        reached += 1
        stage.bystander_goes_on()
        assert reached < MOST_CALLS
    stage.ledger.settle(strays=False)
    stage.server.restart()
    stage.ledger.settle()
    stage.all_go_on()
    assert reached
