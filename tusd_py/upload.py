"""The one noun of this project: an upload, as it is known to everybody."""

from __future__ import annotations

import re
import secrets
from binascii import b2a_base64
from enum import StrEnum
from typing import Any, NamedTuple

_random_bytes = secrets.SystemRandom().randbytes
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{22}")  # 128 bits, URL-safe Base64 without padding


class Kind(StrEnum):
    """What Upload-Concat made of it (T101, T102)."""

    __hash__ = str.__hash__  # that of Enum is a call, and members are labels of what is counted

    REGULAR = "regular"
    PARTIAL = "partial"
    FINAL = "final"


class State(StrEnum):
    """Where in its life it is. A terminated upload has no state: its record is gone (T97)."""

    __hash__ = str.__hash__

    RECEIVING = "receiving"
    FINISHED = "finished"
    FAILED = "failed"  # lost or damaged: 410 for good (laws 1a and 7, T121)
    EXPIRED = "expired"  # a tombstone: the bytes are gone (T81)


# Looking a member up in its class costs as much as a call, and these are asked for in every request.
REGULAR, PARTIAL, FINAL = Kind.REGULAR, Kind.PARTIAL, Kind.FINAL
RECEIVING, FINISHED = State.RECEIVING, State.FINISHED


_upload = tuple.__new__  # spares the naming of fields whose order is known


class Upload(NamedTuple):
    """What never changes by writing bytes. There is no offset here: the bytes that are kept are its one judge (law 1).

    A named tuple, because it is made several times for every request; nothing relies on it being a sequence.
    Sizes are bytes; times are seconds since the epoch; `metadata` and `concat` are the header fields as they were
    received (T58, T112); `handle` belongs to the storage and is opaque to all others.
    """

    id: str
    length: int | None
    created: float
    metadata: str | None = None
    kind: Kind = REGULAR
    concat: str | None = None
    partials: tuple[str, ...] = ()
    owner: str = ""
    state: State = RECEIVING
    ended: float | None = None
    handle: str = ""

    def evolve(self, **changes: Any) -> Upload:
        """The same upload, but for these fields."""
        return self._replace(**changes)

    def kept_as(self, handle: str) -> Upload:
        """The same upload with a new storage handle."""
        return _upload(Upload, (*self[:-1], handle))

    def finished(self, when: float) -> Upload:
        """The same upload, finished."""
        return _upload(Upload, (*self[:-3], FINISHED, when, self.handle))


def new_id() -> str:
    """128 random bits: an upload's URL is what entitles to it, so it must not be guessable."""
    return b2a_base64(_random_bytes(16), newline=False).translate(_URL_SAFE, b"=").decode("ascii")


def is_id(text: str) -> bool:
    """Whether a text that came from outside can be an upload's id. Nothing else ever reaches a path."""
    return ID_PATTERN.fullmatch(text) is not None
