"""Listeners hear every event and can neither delay nor fail a request (law 8)."""

from __future__ import annotations

import logging

import pytest

from tusd_py.hooks.events import Event, Listeners, UploadCreated, UploadFinished
from tusd_py.instruments import Silent
from tusd_py.upload import Upload

UPLOAD = Upload("i" * 22, 5, 0.0)


class Counting(Silent):
    failures = 0

    def listener_failed(self) -> None:
        self.failures += 1


def test_everybody_hears() -> None:
    """Every listener hears every event, in the order in which they are told."""
    heard: list[tuple[str, Event]] = []
    listeners = Listeners(Silent(), lambda e: heard.append(("one", e)), lambda e: heard.append(("two", e)))
    created, finished = UploadCreated(UPLOAD), UploadFinished(UPLOAD)
    listeners.tell(created)
    listeners.tell(finished)
    assert heard == [("one", created), ("two", created), ("one", finished), ("two", finished)]


def test_nobody_listens() -> None:
    """Without a listener telling is nothing."""
    counting = Counting()
    Listeners(counting).tell(UploadCreated(UPLOAD))
    assert counting.failures == 0


def test_failing_listener(caplog: pytest.LogCaptureFixture) -> None:
    """A listener that raises is logged and counted; the others hear all the same, and it is told the next event."""
    counting = Counting()
    heard: list[Event] = []

    def fail(event: Event) -> None:
        raise ZeroDivisionError

    listeners = Listeners(counting, fail, heard.append)
    with caplog.at_level(logging.ERROR, "tusd_py.hooks"):
        listeners.tell(UploadCreated(UPLOAD))
        listeners.tell(UploadFinished(UPLOAD))
    assert heard == [UploadCreated(UPLOAD), UploadFinished(UPLOAD)]
    assert counting.failures == 2
    assert [record.message for record in caplog.records] == ["listener-failed"] * 2
    assert caplog.records[0].exc_info is not None
