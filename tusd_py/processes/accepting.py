"""The parent accepts every connection and passes it to a worker, so that all have equally many."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import socket
from collections.abc import Sequence
from typing import Protocol

from tusd_py.doors import Door, Doors
from tusd_py.processes.guests import Guests
from tusd_py.processes.links import MOST_AT_ONCE, Link, Passed, take
from tusd_py.web.crowded import ANSWER

log = logging.getLogger("tusd_py.processes")

TRY_AGAIN_AFTER = 0.005  # seconds; every link is full, so it is clients who wait
REST_AFTER_TROUBLE = 1.0  # seconds; no descriptors or no memory
TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Host(Protocol):
    """A worker, as far as connections are concerned."""

    link: Link

    @property
    def attentive(self) -> bool:
        """Whether it is serving and has answered of late."""


class Accepting:
    """Between the doors and the links. `turned_away` is how many came beyond the limits, until somebody resets it."""

    def __init__(self, doors: Doors, hosts: Sequence[Host], guests: Guests, *, tls: bool) -> None:
        self._doors = doors
        self._hosts = hosts
        self._guests = guests
        self.turned_away = 0
        self._tls = tls
        self._numbers = itertools.count(1)
        self._next = 0
        self._held: list[Passed] = []  # for which no link had room
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._open = False

    def begin(self) -> None:
        self._open = True
        self._watch()

    def end(self) -> None:
        """No more; who waited to be passed on is let go."""
        self._unwatch()
        self._open = False
        for passed in self._held:
            _close(passed)
        self._held.clear()

    def rehouse(self, worker: int) -> None:
        """That worker has died: what waited in its link goes to the others, what it served is gone."""
        waiting = list(take(self._hosts[worker].link.theirs, at_most=1 << 20))
        clients = [self._guests.client(passed.number) for passed in waiting]
        self._guests.desert(worker)
        for passed, client in zip(waiting, clients, strict=True):
            self._pass_on(passed, client)
        if waiting:
            log.info("connections-passed-on", extra={"connections": len(waiting), "worker": worker})

    def _accept(self, door: Door, listener: socket.socket) -> None:
        for _ in range(MOST_AT_ONCE):
            if self._held:
                return
            try:
                connection, address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in TROUBLE:
                    raise
                log.error("accept-failed", extra={"error": error.strerror})
                self._rest(REST_AFTER_TROUBLE)
                return
            self._admit(connection, door, str(address[0]) if isinstance(address, tuple) else "")

    def _admit(self, connection: socket.socket, door: Door, client: str) -> None:
        if door is Door.UPLOADS and not self._guests.has_room(client):
            self._turn_away(connection)
        else:
            self._pass_on(Passed(connection, door, next(self._numbers)), client)

    def _turn_away(self, connection: socket.socket) -> None:
        """Answer before anything is read, and hang up; under TLS there is nobody to answer."""
        self.turned_away += 1
        with connection:
            connection.setblocking(False)
            try:
                if not self._tls:
                    connection.send(ANSWER)
            except OSError:
                pass  # gone already

    def _pass_on(self, passed: Passed, client: str) -> None:
        worker = self._put(passed)
        if passed.door is Door.UPLOADS:
            self._guests.enter(passed.number, client, -1 if worker is None else worker)
        if worker is None:
            self._held.append(passed)
            self._rest(TRY_AGAIN_AFTER)
        else:
            _close(passed)

    def _put(self, passed: Passed) -> int | None:
        """To the first whose link has room, in the order of `_order`."""
        for worker in self._order(passed.door):
            if self._hosts[worker].link.put(passed):
                if passed.door is Door.UPLOADS:
                    self._next = worker + 1
                return worker
        return None

    def _order(self, door: Door) -> Sequence[int]:
        """Who is attentive comes first; of those who has the fewest connections, and of those the next one round.
        Operators always go to the same one, so that the others need not load what answers them."""
        count = len(self._hosts)
        if door is not Door.UPLOADS:
            return sorted(range(count), key=lambda worker: not self._hosts[worker].attentive)
        order = [(self._next + step) % count for step in range(count)]
        return sorted(order, key=lambda worker: (not self._hosts[worker].attentive, self._guests.of(worker)))

    # Looking at the doors

    def _watch(self) -> None:
        for door, listener in self._doors.all():
            self._loop.add_reader(listener, self._accept, door, listener)

    def _unwatch(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        for _, listener in self._doors.all():
            self._loop.remove_reader(listener)

    def _rest(self, seconds: float) -> None:
        if self._open and self._pause is None:
            self._unwatch()
            self._pause = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        held, self._held = self._held, []
        for passed in held:
            self._pass_on(passed, self._guests.client(passed.number))
        if self._pause is None:
            self._watch()


def _close(passed: Passed) -> None:
    assert passed.connection is not None
    passed.connection.close()
