"""What parent and worker tell each other, and the channel that carries it.

Values are pickled: both ends are the same program of the same user, the channel is a socket pair that nobody else can
open, and so nothing secret stands in an argument or in the environment. Whoever sees the channel's end knows that the
other process is gone.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from typing import NamedTuple

from tusd_py.settings import Settings

LENGTH = struct.Struct("!I")


class Begin(NamedTuple):
    """Parent: serve with these settings. `started` is when the server started, in seconds since the epoch."""

    settings: Settings
    number: int
    workers: int
    started: float


class Ready(NamedTuple):
    """Worker: it serves."""


class Failed(NamedTuple):
    """Worker: it cannot start, or cannot take these settings over, and why."""

    sentence: str


class Change(NamedTuple):
    """Parent: take these settings over; Ready or Failed answers."""

    settings: Settings


class Ping(NamedTuple):
    """Parent: are you there?"""


class Pong(NamedTuple):
    """Worker: I am."""


class Closed(NamedTuple):
    """Worker: these connections, by their numbers, are closed."""

    connections: tuple[int, ...]


class Bereaved(NamedTuple):
    """Parent: a sibling has died, perhaps in the middle of something."""


class TurnedAway(NamedTuple):
    """Parent: so many connections beyond the limits, for the metrics."""

    connections: int


class Stop(NamedTuple):
    """Parent: end bodies, keep what came, answer, and exit."""


Message = Begin | Ready | Failed | Change | Ping | Pong | Closed | Bereaved | TurnedAway | Stop


class Channel:
    """One end of the socket pair between parent and worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Channel:
        return cls(*await asyncio.open_unix_connection(sock=end))

    def tell(self, message: Message) -> None:
        """Never waits: there is little to tell, what cannot be written now follows, and who is gone hears nothing."""
        packed = pickle.dumps(message)
        if not self._writer.is_closing():
            self._writer.write(LENGTH.pack(len(packed)) + packed)

    async def hear(self) -> Message | None:
        """The next message; None once the other process is gone."""
        try:
            (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            message: Message = pickle.loads(await self._reader.readexactly(length))  # noqa: S301  # from our own process
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return message

    async def close(self) -> None:
        """Returns when everything is told, or there is nobody to hear it."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            pass  # the other process was faster


def first(end: socket.socket) -> Message | None:
    """The first message, before there is an event loop; waits for it."""
    with end.makefile("rb", buffering=0) as file:
        head = file.read(LENGTH.size)
        if not head:
            return None
        packed = bytearray()
        (length,) = LENGTH.unpack(head)
        while len(packed) < length:
            piece = file.read(length - len(packed))
            if not piece:
                return None
            packed += piece
    message: Message = pickle.loads(packed)  # noqa: S301  # from our own process
    return message
