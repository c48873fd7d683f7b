"""What happened to an upload: frozen values that listeners hear of, in the order in which it happened to that upload.

Listeners are called directly, after the fact is durable, and never delay or fail a request: one that raises is
logged and counted (law 8).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from tusd_py.instruments import Instruments
from tusd_py.upload import Upload

log = logging.getLogger("tusd_py.hooks")


@dataclass(frozen=True, slots=True)
class UploadCreated:
    """A record exists and its URL is about to be told."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class UploadFinished:
    """All bytes are kept and the finished state is committed."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class UploadTerminated:
    """A client or an operator deleted it."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class UploadExpired:
    """It was left unfinished for too long and its bytes were deleted."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class UploadFailed:
    """It can never be finished: `reason` is the stable code of the failure."""

    upload: Upload
    reason: str


@dataclass(frozen=True, slots=True)
class UploadInterrupted:
    """A body ended early, for instance by a drop or a takeover; `offset` is where the next one begins."""

    upload: Upload
    offset: int
    reason: str


Event = UploadCreated | UploadFinished | UploadTerminated | UploadExpired | UploadFailed | UploadInterrupted
Listener = Callable[[Event], None]


class Listeners:
    """Tells every listener of every event."""

    def __init__(self, instruments: Instruments, *listeners: Listener) -> None:
        self._instruments = instruments
        self._listeners = listeners

    def tell(self, event: Event) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # a supervisor: law 8
                self._instruments.listener_failed()
                log.exception("listener-failed", extra={"listener": repr(listener), "event": type(event).__name__})
