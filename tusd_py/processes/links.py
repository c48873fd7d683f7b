"""The link from the parent to a worker: accepted connections wait in it until the worker takes them.

It is a pair of packet sockets; a packet carries a connection's descriptor, its number and its door. The parent keeps
both ends, so what waits survives the worker: the one that replaces it inherits the link.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from tusd_py.doors import Door

PACKET = struct.Struct("!BQ")  # door, number
DESCRIPTOR = struct.Struct("i")
SPACE = socket.CMSG_SPACE(DESCRIPTOR.size)
FULL = (errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS)  # the last: too many descriptors are on their way
MOST_AT_ONCE = 64  # connections taken before others get the event loop


class Passed(NamedTuple):
    """A connection on its way; None where it came to a process that has no room for another descriptor, and is closed
    therefore. Numbers are never used twice."""

    connection: socket.socket | None
    door: Door
    number: int


class Link:
    """Both ends, as the parent has them."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self.theirs.setblocking(False)

    def put(self, passed: Passed) -> bool:
        """Whether there was room. The connection then lives on in the link; the caller's descriptor is its own."""
        assert passed.connection is not None
        packet = PACKET.pack(passed.door, passed.number)
        descriptor = DESCRIPTOR.pack(passed.connection.fileno())
        try:
            self._ours.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor)])
        except OSError as error:
            if error.errno in FULL:
                return False
            raise
        return True

    def close(self) -> None:
        self._ours.close()
        self.theirs.close()


def take(end: socket.socket, at_most: int = MOST_AT_ONCE) -> Iterator[Passed]:
    """What waits in the link, in its order."""
    for _ in range(at_most):
        try:
            packet, ancillary, _, _ = end.recvmsg(PACKET.size, SPACE, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        if not packet:
            return  # the parent is gone
        door, number = PACKET.unpack(packet)
        descriptors = [DESCRIPTOR.unpack(data)[0] for _, _, data in ancillary]
        yield Passed(socket.socket(fileno=descriptors[0]) if descriptors else None, Door(door), number)
