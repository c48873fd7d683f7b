"""From a file to a socket by sendfile(2), in a thread that holds no GIL meanwhile; bytes of our own go between.

A hop never waits for a slow client. But one that takes all that it is given makes room again before a thread could be
told of it, so a hop that has moved something waits a moment for more room before it ends.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from collections.abc import Iterable
from enum import Enum

from tusd_py.protocol.ranges import Span

HOP = 16 << 20  # 16 MiB at most in one hop, so that threads go round among many readers
MOMENT = 2  # ms that a hop waits for a client that has just taken something
BRISK = 256 << 10  # bytes that must have gone since the last wait: for slow clients no thread waits
WITH_MORE = getattr(socket, "MSG_MORE", 0)  # the head of an answer goes in one packet with what follows
_NOT_HERE = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESPIPE))


class Rest(Enum):
    """Why a hop ended."""

    DONE = "done"  # everything is sent
    MORE = "more"  # the hop is full, the socket may take more
    FULL = "full"  # the socket takes nothing at present
    UNABLE = "unable"  # this file cannot be sent in this way
    SHORT = "short"  # the file ends too early


class Parcel:
    """What is still to be sent, in its order: bytes, and spans of a file."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: Iterable[bytes | Span]) -> None:
        self._pieces = deque(piece for piece in pieces if size_of(piece))

    def __bool__(self) -> bool:
        return bool(self._pieces)

    @property
    def first(self) -> bytes | Span:
        return self._pieces[0]

    @property
    def is_last(self) -> bool:
        return len(self._pieces) == 1

    @property
    def size(self) -> int:
        return sum(map(size_of, self._pieces))

    def sent(self, amount: int) -> None:
        """So many bytes of the first piece are on their way."""
        piece = self._pieces.popleft()
        if amount < size_of(piece):
            rest = piece[amount:] if isinstance(piece, bytes) else Span(piece.start + amount, piece.stop)
            self._pieces.appendleft(rest)


def size_of(piece: bytes | Span) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.stop - piece.start


def hop(outlet: socket.socket, file: int, parcel: Parcel, most: int = HOP, moment: int = MOMENT) -> Rest:
    """Send of the parcel what the socket takes, at most about `most` bytes. Raises ConnectionError if the client is
    gone, and OSError for what the disk says."""
    moved = since_wait = 0
    while parcel and moved < most:
        try:
            amount = _send(outlet, file, parcel)
        except BlockingIOError:
            if since_wait < BRISK or not _has_room(outlet, moment):
                return Rest.FULL
            since_wait = 0
            continue
        except OSError as error:
            if error.errno in _NOT_HERE:
                return Rest.UNABLE
            raise
        if amount == 0:
            return Rest.SHORT
        parcel.sent(amount)
        moved += amount
        since_wait += amount
    return Rest.MORE if parcel else Rest.DONE


def _send(outlet: socket.socket, file: int, parcel: Parcel) -> int:
    piece = parcel.first
    if isinstance(piece, bytes):
        return outlet.send(piece, 0 if parcel.is_last else WITH_MORE)
    return os.sendfile(outlet.fileno(), file, piece.start, min(size_of(piece), HOP))


def _has_room(outlet: socket.socket, milliseconds: int) -> bool:
    poll = select.poll()
    poll.register(outlet, select.POLLOUT)
    return bool(poll.poll(milliseconds))
