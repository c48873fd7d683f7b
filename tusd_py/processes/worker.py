"""A worker: `python -m tusd_py.processes.worker CHANNEL LINK LOCK`, descriptors that its parent has opened for it.

It serves the connections that come through the link, does what comes through the channel, and ends when either says
that the parent is gone.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from tusd_py import logs
from tusd_py.app import Server, settle_down
from tusd_py.datafolder import DataFolder
from tusd_py.doors import Door
from tusd_py.errors import Busy, StartError
from tusd_py.front import Factory
from tusd_py.process import loop_factory
from tusd_py.processes.leader import Leadership
from tusd_py.processes.links import Passed, take
from tusd_py.processes.messages import (
    Begin,
    Bereaved,
    Change,
    Channel,
    Closed,
    Failed,
    Ping,
    Pong,
    Ready,
    Stop,
    TurnedAway,
    first,
)
from tusd_py.processes.workers import SIGNALS
from tusd_py.sharing import Sharing
from tusd_py.surroundings import Surroundings
from tusd_py.web.edge import Connection, EdgeServer

Share = Callable[[Surroundings], Sharing]

log = logging.getLogger("tusd_py.processes")

ORPHAN_ENDS_WITHIN = 3.0  # seconds; whoever starts the server again waits for it


def main(arguments: Sequence[str], share: Share = Sharing.of) -> int:
    """Returns the exit status. `share` gives what it has in common with its siblings."""
    for number in SIGNALS:  # they are the parent's business, which tells us
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    channel, link, lock = map(int, arguments)
    end = socket.socket(fileno=channel)
    begin = first(end)
    if not isinstance(begin, Begin):
        return 0  # it stopped, or is gone, before this one was needed
    data = DataFolder.inherited(begin.settings.upload_dir, lock)
    around = Surroundings(data, begin.number, begin.workers, begin.started)
    logs.configure(begin.settings.log_format, begin.settings.log_level, process=around.name)
    try:
        with asyncio.Runner(loop_factory=loop_factory(begin.settings.event_loop)) as runner:
            return runner.run(_serve(end, socket.socket(fileno=link), begin, around, share))
    except Exception:  # a supervisor: a fault of ours must not leave a process behind that keeps the folder's lock
        log.exception("worker-failed")
        os._exit(1)  # its threads would wait for work for ever


async def _serve(end: socket.socket, link: socket.socket, begin: Begin, around: Surroundings, share: Share) -> int:
    channel = await Channel.over(end)
    worker = Worker(channel, link, around)
    hearing = asyncio.create_task(worker.hear(), name="parent")
    try:
        server = await Server.start(begin.settings, around, share)
    except StartError as error:
        channel.tell(Failed(str(error)))
        await channel.close()
        return 2
    worker.serve(server)
    settle_down()
    within = await hearing
    if within is not None:
        log.error("parent-gone")
    worker.close()
    server.begin(worker.watch_parent(), "parent")
    return await server.stop(within)


class Worker:
    """What the server in this process does at its parent's word."""

    def __init__(self, channel: Channel, link: socket.socket, around: Surroundings) -> None:
        self._channel = channel
        self._link = link
        self._leadership = Leadership(around.data.processes / "leader")
        self._loop = asyncio.get_running_loop()
        self._adopting: set[asyncio.Task[None]] = set()
        self._closed: list[int] = []
        self._server: Server | None = None

    def serve(self, server: Server) -> None:
        self._server = server
        self._loop.add_reader(self._link, self._take, server)
        server.begin(self._lead(server), "leader")
        self._channel.tell(Ready())

    def close(self) -> None:
        self._loop.remove_reader(self._link)

    async def hear(self) -> float | None:
        """Until it is time to stop: within so many seconds, or those that the settings say."""
        self._channel.tell(Pong())
        while (message := await self._channel.hear()) is not None:
            match message:
                case Ping():
                    self._channel.tell(Pong())
                case Change(settings) if self._server is not None:
                    try:
                        self._server.reload(settings)
                    except StartError as error:
                        self._channel.tell(Failed(str(error)))
                    else:
                        self._channel.tell(Ready())
                case Bereaved() if self._server is not None and self._leadership.held:
                    self._server.begin(self._server.resume(), "resume")
                case TurnedAway(connections) if self._server is not None:
                    for _ in range(connections):
                        self._server.metrics.refused(Busy.status, Busy.code)
                case Stop():
                    return None
        return ORPHAN_ENDS_WITHIN

    async def watch_parent(self) -> None:
        """While this one stops: without a parent nobody would end it if it hung."""
        while await self._channel.hear() is not None:
            pass
        await asyncio.sleep(ORPHAN_ENDS_WITHIN)
        os._exit(1)

    async def _lead(self, server: Server) -> None:
        """The background work of the whole server, as soon as nobody else does it."""
        await self._leadership.win()
        await server.resume()
        await server.sweep()

    # Connections

    def _take(self, server: Server) -> None:
        for passed in take(self._link):
            if passed.connection is None:
                log.error("connection-lost", extra={"error": os.strerror(errno.EMFILE)})
                self._has_closed(passed.number)
            else:
                task = self._loop.create_task(self._adopt(server, passed, passed.connection))
                self._adopting.add(task)
                task.add_done_callback(self._adopting.discard)

    async def _adopt(self, server: Server, passed: Passed, connection: socket.socket) -> None:
        connection.setblocking(False)
        left = functools.partial(self._has_closed, passed.number)
        factory: Factory = functools.partial(Guest, server.front.edge, self._loop, left)
        if passed.door is not Door.UPLOADS:  # the parent does not count those
            factory = await server.front.factory(passed.door)
        try:
            await self._loop.connect_accepted_socket(factory, connection, ssl=server.front.tls(passed.door))
        except OSError:  # a client that is gone, or speaks another TLS than ours
            connection.close()
            left()

    def _has_closed(self, number: int) -> None:
        if not self._closed:
            self._loop.call_soon(self._tell_closed)
        self._closed.append(number)

    def _tell_closed(self) -> None:
        self._channel.tell(Closed(tuple(self._closed)))
        self._closed.clear()


class Guest(Connection):
    """A connection that the parent has let in, and wants to know the end of."""

    __slots__ = ("_left",)

    def __init__(self, edge: EdgeServer, loop: asyncio.AbstractEventLoop, left: Callable[[], None]) -> None:
        super().__init__(edge, loop)
        self._left = left

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._left()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
