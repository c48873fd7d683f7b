"""What is promised is on the disk before it is promised: the order of the system calls themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import MIB
from tests.conftest import StartServer
from tests.proof.ledger import payload
from tests.proof.strace import traced

pytestmark = pytest.mark.strace

CALLS = "trace=pwrite64,splice,fdatasync,fsync,write,writev,sendto,sendmsg"
LINE = re.compile(r"^(?P<thread>\d+) +(?:(?P<call>\w+)\((?P<rest>.*)|<\.\.\. (?P<resumed>\w+) resumed>.*)$")


@dataclass(frozen=True, slots=True)
class Event:
    """A call that has ended: who called, its name and its arguments, in which strace names the files."""

    thread: str
    call: str
    about: str


def events(lines: Sequence[str]) -> list[Event]:
    """In the order of their ends; an answer counts from its start, since the client may have it from then on."""
    begun: dict[str, Event] = {}
    found = []
    for line in filter(None, map(LINE.match, lines)):
        if line["resumed"]:
            event = begun.pop(line["thread"])
            found += [] if "HTTP/1.1 " in event.about else [event]
            continue
        event = Event(line["thread"], line["call"], line["rest"])
        if not event.about.endswith("<unfinished ...>") or "HTTP/1.1 " in event.about:
            found.append(event)
        if event.about.endswith("<unfinished ...>"):
            begun[line["thread"]] = event
    return found


class Story:
    """The events of one request in the words of the promises."""

    def __init__(self, server: Server, lines: Sequence[str]) -> None:
        self._folder = server.folder
        told = [(word, event) for event in events(lines) if (word := self._word(event)) is not None]
        self.words = [word for word, _ in told]
        self.events = [event for _, event in told]

    def _word(self, event: Event) -> str | None:
        if "HTTP/1.1 20" in event.about:
            return "answer"
        uploads = f"{self._folder}/uploads"
        if event.call in ("fdatasync", "fsync"):
            return self._synced(event.about, uploads)
        if event.call == "pwrite64" and f"<{self._folder}/tusd.db-wal>" in event.about:
            return "record written"
        if event.call in ("pwrite64", "splice") and f"<{uploads}/" in event.about:
            return "data written"
        return None

    def _synced(self, about: str, uploads: str) -> str | None:
        places = {
            f"<{uploads}/": "data synced",
            f"<{uploads}>": "folder synced",
            f"{self._folder}/tusd.db-wal>": "record synced",
        }
        return next((word for place, word in places.items() if place in about), None)

    def last(self, word: str) -> int:
        assert word in self.words, f"never {word}: {self.words}"
        return len(self.words) - 1 - self.words[::-1].index(word)

    def insist_on(self, *order: str) -> None:
        """Each of these ends for the last time before the next does."""
        places = [self.last(word) for word in order]
        assert places == sorted(places), self.words


@pytest.mark.parametrize("durability", ["finish", "always"])
@pytest.mark.parametrize("size", [4096, 2 * MIB])
def test_a_creation_that_finishes(start_server: StartServer, durability: str, size: int) -> None:
    """Data and folder are synced before the record is written, and that is synced before the answer."""
    server = start_server("--durability", durability)
    data = payload("creation", size)
    for _ in range(3):  # the first of a server may take another way than the next
        with traced(server, "-e", CALLS) as trace:
            server.new(size, body=data)
        story = Story(server, trace.lines)
        story.insist_on("data written", "data synced", "folder synced", "record synced", "answer")
        story.insist_on("data written", "data synced", "record written", "record synced", "answer")


@pytest.mark.parametrize("durability", ["finish", "always"])
@pytest.mark.parametrize("size", [600_000, 3 * MIB])
def test_patches(start_server: StartServer, durability: str, size: int) -> None:
    """The last PATCH is answered when all is synced; with `always` each of them is."""
    server = start_server("--durability", durability)
    data, cuts = payload("patches", size), [0, 1000, size // 2, size]
    path = server.new(size)
    for start, stop in pairwise(cuts):
        with traced(server, "-e", CALLS) as trace:
            server.patch(path, start, data[start:stop])
        story = Story(server, trace.lines)
        if durability == "always" or stop == size:
            story.insist_on("data written", "data synced", "folder synced", "record synced", "answer")
        else:
            assert story.words.count("answer") == 1
            story.insist_on("data written", "answer")


def test_a_concatenation(start_server: StartServer) -> None:
    """The joined bytes are synced before the record that calls them finished."""
    server = start_server()
    parts = [server.new(MIB, {"Upload-Concat": "partial"}, payload(str(part), MIB)) for part in range(2)]
    with traced(server, "-e", CALLS) as trace:
        server.new(None, {"Upload-Defer-Length": None, "Upload-Concat": "final;" + " ".join(parts)})
    Story(server, trace.lines).insist_on("data synced", "folder synced", "record synced", "answer")


def test_os_syncs_no_data(start_server: StartServer) -> None:
    """With `os` only records are synced."""
    server = start_server("--durability", "os")
    with traced(server, "-e", CALLS) as trace:
        server.new(4096, body=payload("os", 4096))
    words = Story(server, trace.lines).words
    assert "data synced" not in words
    assert words.index("record synced") < words.index("answer")
