"""What clients sent and what the server acknowledged of it, and whether the server still stands by it.

An entry knows the bytes of its upload, the highest offset that was acknowledged, and which offsets are possible beyond
it because a request was under way when the server died. `Ledger.settle` asks the server about every entry.
"""

from __future__ import annotations

import base64
import hashlib
import random
import sqlite3
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from tests.acceptance.server import Server
from tests.acceptance.wire import Fields, eventually
from tusd_py.upload import is_id


def payload(key: str, length: int) -> bytes:
    """The bytes of an upload, the same for the same key."""
    return random.Random(key).randbytes(length)


class Fate(Enum):
    COMING = "coming"  # its creation was sent; no answer yet
    THERE = "there"
    GOING = "going"  # its termination was sent; no answer yet
    GONE = "gone"


@dataclass(slots=True)
class Sent:
    """One upload as its client knows it. Offsets are bytes."""

    key: str
    data: bytes = field(repr=False)
    concat: str | None = None
    path: str | None = None
    length: int | None = None  # as far as the server knows it
    acknowledged: int = 0
    reach: int = 0  # as much as may have arrived
    only: frozenset[int] | None = None  # where a chunk counts whole or not at all
    fate: Fate = Fate.COMING

    @property
    def fields(self) -> Fields:
        """The key travels as metadata, by which an upload is found whose creation was never answered."""
        told: dict[str, str | list[str] | None] = {
            "Upload-Metadata": f"key {base64.b64encode(self.key.encode()).decode()}"
        }
        return {**told, "Upload-Concat": self.concat} if self.concat else told

    @property
    def complete(self) -> bool:
        return self.acknowledged == len(self.data)

    def acknowledge(self, offset: int) -> None:
        """The server said so in a 201, a 204 or a HEAD."""
        assert self.acknowledged <= offset <= self.reach, f"{self} cannot be at {offset}"
        assert self.only is None or offset in self.only, f"{self} cannot be at {offset}"
        self.acknowledged, self.reach, self.only = offset, offset, None

    def expect(self, reach: int, *, only: frozenset[int] | None = None) -> None:
        """A request is under way that may move the offset."""
        self.reach, self.only = reach, only


@dataclass(frozen=True, slots=True)
class Row:
    """What the database says of an upload."""

    id: str
    length: int | None
    state: str


class Ledger:
    """All entries of a run on one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.entries: list[Sent] = []
        self.failed_syncs_are_final = False  # an upload may be 410 if its bytes are in quarantine (law 7)

    def settle(self, *, strays: bool = True) -> None:
        """Every entry is looked at: what was acknowledged is there, and nothing is there that should not be.

        Strays are for a server that has just been started: they are left over from a life before.
        """
        rows = self._rows_by_key()
        for sent in self.entries:
            if sent.fate is Fate.COMING:
                self._find(sent, rows)
            if sent.path is not None:
                self._look(sent)
        self.entries = [sent for sent in self.entries if sent.fate is Fate.THERE]
        if strays:
            self.no_strays()

    def no_strays(self) -> None:
        """After the first round of cleaning up, each file belongs to a record, and nothing lies beside them."""
        eventually(lambda: not self._strays(), "a folder without strays")

    def _find(self, sent: Sent, rows: dict[str, Row]) -> None:
        """A creation that was not answered has happened or has not; one that has is an upload like any other."""
        row = rows.get(sent.key)
        sent.fate = Fate.GONE if row is None else Fate.THERE
        if row is not None:
            sent.path, sent.length = self.server.files + row.id, row.length

    def _look(self, sent: Sent) -> None:
        assert sent.path is not None
        head = self.server.head(sent.path)
        if sent.fate is Fate.GONE or (sent.fate is Fate.GOING and head.status != 200):
            assert head.status == 404, f"{sent} is terminated: {head}"
            sent.fate = Fate.GONE
            return
        if head.status == 410 and self._in_quarantine(sent.path):
            sent.fate = Fate.GONE
            return
        assert head.status == 200, f"{sent} is lost: {head}"
        sent.fate = Fate.THERE
        sent.acknowledge(head.offset)
        sent.length = int(head["Upload-Length"]) if "Upload-Length" in head else None
        assert sent.concat in (None, "partial") or sent.complete, f"{sent} is a final upload, half made"
        self._compare(sent)

    def _compare(self, sent: Sent) -> None:
        """Every acknowledged byte, by hash: of a finished upload as anybody gets it, of another as it lies there."""
        assert sent.path is not None
        if sent.length == sent.acknowledged:
            answer = self.server.get(sent.path)
            assert answer.status == 200, f"{sent} cannot be read: {answer}"
            found = answer.body
        else:
            found = (self.server.folder / "uploads" / sent.path.rpartition("/")[2]).read_bytes()[: sent.acknowledged]
        wanted = sent.data[: sent.acknowledged]
        assert hashlib.sha256(found).digest() == hashlib.sha256(wanted).digest(), f"{sent} holds other bytes"

    def _rows_by_key(self) -> dict[str, Row]:
        found = {}
        for id, metadata, length, state in rows(self.server.folder):
            if metadata:
                found[base64.b64decode(metadata.split(" ")[1]).decode()] = Row(id, length, state)
        return found

    def _in_quarantine(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        return self.failed_syncs_are_final and (self.server.folder / "quarantine" / name).exists()

    def _strays(self) -> list[str]:
        known = {id for id, _, _, state in rows(self.server.folder) if state in ("receiving", "finished")}
        return [name for name in names(self.server.folder) if name.removesuffix(".floor") not in known]


def names(folder: Path) -> list[str]:
    """What lies among the uploads."""
    return sorted(entry.name for entry in (folder / "uploads").iterdir())


def ids(folder: Path) -> list[str]:
    """The uploads that have a file."""
    return [name for name in names(folder) if is_id(name)]


def rows(folder: Path) -> list[tuple[str, str | None, int | None, str]]:
    """Id, metadata, length and state of all uploads in the database, read beside the server."""
    database = sqlite3.connect(f"file:{folder / 'tusd.db'}?mode=ro", uri=True)
    try:
        return database.execute("SELECT id, metadata, length, state FROM uploads").fetchall()
    finally:
        database.close()
