"""What an interrupted run leaves behind, so that the next one goes on: a small file for each file that is being sent.

It holds URLs of unfinished uploads, which are as good as keys: the folder is only for its owner. Nothing of it has to
be true: the server is asked before anything is sent, and without a bookmark an upload just starts again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tusd_py.client.failures import InUse
from tusd_py.client.plan import Span
from tusd_py.client.sources import Identity

FORGOTTEN_AFTER = 30 * 86400.0  # seconds; servers forget sooner
MOST_BYTES = 1 << 20


class Mark(NamedTuple):
    """A part of the file, and where on the server it goes; None as long as nothing of it has been created."""

    span: Span
    url: str | None


class Bookmark:
    """The bookmark of one file and one server, held by this process."""

    def __init__(self, descriptor: int, path: Path, identity: Identity, finished: list[Path] | None) -> None:
        self._descriptor = descriptor
        self._path = path
        self._identity = identity
        self._finished = finished

    def read(self, metadata: str) -> tuple[Mark, ...]:
        """Where the parts were left; nothing without a run before, or if that one sent other metadata."""
        try:
            told = json.loads(os.pread(self._descriptor, MOST_BYTES, 0))
            return _marks(told, self._identity, metadata)
        except (ValueError, TypeError, KeyError):  # empty, or torn by the end of the machine
            return ()

    def write(self, metadata: str, marks: tuple[Mark, ...]) -> None:
        parts = [{"start": span.start, "stop": span.stop, "url": url} for span, url in marks]
        told = {"file": self._identity._asdict(), "metadata": metadata, "parts": parts}
        data = json.dumps(told).encode()
        try:
            os.pwrite(self._descriptor, data, 0)
            os.ftruncate(self._descriptor, len(data))
        except OSError:  # a full disk here is no reason not to send; it would only have to start again
            return

    def finish(self, metadata: str, url: str) -> None:
        """The upload is complete at `url`: nothing to go on with, unless it is one of many."""
        if self._finished is None:
            self._path.unlink(missing_ok=True)
        else:
            self.write(metadata, (Mark(Span(0, self._identity.size), url),))
            self._finished.append(self._path)


class Bookmarks:
    """A folder of them. Those of finished uploads are removed at once; with `keep_finished` only when told so, by who
    sends many files and, when run again, wants to find what is done already."""

    def __init__(self, folder: Path, *, keep_finished: bool = False) -> None:
        self._folder = folder
        self._finished: list[Path] | None = [] if keep_finished else None

    @classmethod
    def of_user(cls, *, keep_finished: bool = False) -> Bookmarks:
        """In the user's cache folder."""
        base = os.environ.get("XDG_CACHE_HOME", "")
        cache = Path(base) if base.startswith("/") else Path.home() / ".cache"
        return cls(cache / "tusd-py" / "send", keep_finished=keep_finished)

    def forget_finished(self) -> None:
        for path in self._finished or ():
            path.unlink(missing_ok=True)

    @contextmanager
    def hold(self, identity: Identity, endpoint: str) -> Iterator[Bookmark]:
        """The bookmark of that file and server. Raises InUse if another process holds it, OSError without a folder."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{key(identity, endpoint)}.json"
        descriptor = _locked(path)
        try:
            yield Bookmark(descriptor, path, identity, self._finished)
        finally:
            if os.fstat(descriptor).st_size == 0:  # nothing to go on with has come about
                path.unlink(missing_ok=True)
            os.close(descriptor)

    def prepare(self) -> None:
        """Make the folder, and remove from it what no server remembers; raises OSError where that cannot be."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self._folder.glob("*.json"):
            try:
                if time.time() - path.stat().st_mtime > FORGOTTEN_AFTER:
                    path.unlink()
            except OSError:  # somebody else's hand was quicker
                continue


def key(identity: Identity, endpoint: str) -> str:
    text = json.dumps([*identity, endpoint])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise InUse("another process is sending this file to this server") from error
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # its last holder has just removed it


def _marks(told: dict[str, Any], identity: Identity, metadata: str) -> tuple[Mark, ...]:
    if told["file"] != identity._asdict() or told["metadata"] != metadata:
        return ()
    marks = tuple(Mark(Span(int(part["start"]), int(part["stop"])), part["url"]) for part in told["parts"])
    edges = [0, *(mark.span.stop for mark in marks)]
    whole = edges[-1] == identity.size and [mark.span.start for mark in marks] == edges[:-1]
    return marks if whole and all(mark.url is None or isinstance(mark.url, str) for mark in marks) else ()
