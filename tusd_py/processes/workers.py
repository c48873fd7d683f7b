"""A worker as its parent sees it: started, watched, told, killed when it hangs, and replaced when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from tusd_py.errors import StartError
from tusd_py.processes.links import Link
from tusd_py.processes.messages import (
    Begin,
    Change,
    Channel,
    Closed,
    Failed,
    Message,
    Ping,
    Pong,
    Ready,
    Stop,
)
from tusd_py.processes.restarts import Restarts
from tusd_py.settings import Settings

log = logging.getLogger("tusd_py.processes")

PING_EVERY = 1.0  # seconds
UNANSWERED = 8  # pings; then it hangs
INATTENTIVE = 2  # pings; then others are given the new connections
ENDS_WITHIN = 5.0  # seconds after it has closed its channel
STARTS_WITHIN = 60  # pings that one may leave unanswered which has never answered any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # they are for the parent, which tells its workers


class Hopeless(Exception):
    """A worker dies again and again before it serves, and no other serves either, or the server never has."""


class Orders(NamedTuple):
    """What a worker is started with, and whom it reports to."""

    begin: Callable[[int], Begin]
    lock: int  # the data folder's lock, which workers inherit
    closed: Callable[[tuple[int, ...]], None]
    died: Callable[[int, int], None]
    serving: Callable[[], bool]  # whether any worker does
    program: str  # the module that is a worker


class Worker:
    """The worker of one number, whichever process it is at the moment."""

    def __init__(self, number: int, orders: Orders) -> None:
        self.number = number
        self.link = Link()
        self.ready = asyncio.Event()
        self.may_begin = asyncio.Event()
        self._orders = orders
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._stopping = asyncio.Event()
        self._begun = False  # the first that it hears is Begin, or Stop
        self._unanswered = 0
        self._has_answered = False
        self._has_served = False
        self._answer: asyncio.Future[str | None] | None = None

    @property
    def attentive(self) -> bool:
        return self.ready.is_set() and self._unanswered <= INATTENTIVE

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def keep(self) -> int:
        """Have a worker of this number until `stop`; returns the last one's exit status. Raises StartError for what it
        says before it has ever served, and Hopeless."""
        restarts = Restarts()
        try:
            while True:
                began = monotonic()
                served, status = await self._live()
                if self._stopping.is_set():
                    return status
                restarts = restarts.after(monotonic() - began if served else None)
                log.error("worker-died", extra={"worker": self.number, "status": status})
                if restarts.hopeless and not (self._has_served and self._orders.serving()):
                    raise Hopeless
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), restarts.pause)
                    return 0
        finally:
            self.kill()

    def ping(self) -> None:
        """Once every PING_EVERY seconds; kills a worker that has not answered for long."""
        if self._channel is None or self._process is None or not self._begun or self._stopping.is_set():
            return
        if self._unanswered >= (UNANSWERED if self._has_answered else STARTS_WITHIN):
            log.error("worker-hangs", extra={"worker": self.number, "pid": self._process.pid})
            self.kill()
            return
        self._unanswered += 1
        self._channel.tell(Ping())

    async def change(self, settings: Settings) -> str | None:
        """Let it take the settings over; None, or why it cannot. One that dies over it begins with the new ones."""
        await self.ready.wait()
        assert self._channel is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._channel.tell(Change(settings))
        return await self._answer

    def tell(self, message: Message) -> None:
        """If it serves; a worker that does not has no use for it."""
        if self.ready.is_set() and self._channel is not None:
            self._channel.tell(message)

    def stop(self) -> None:
        """It ends by itself, and is not replaced."""
        self._stopping.set()
        self.may_begin.set()
        if self._channel is not None:
            self._channel.tell(Stop())

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _live(self) -> tuple[bool, int]:
        """One life: whether it has served, and how it ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = self._process = self._spawn(theirs)
        channel = self._channel = await Channel.over(ours)
        self._begun, self._unanswered, self._has_answered, served = False, 0, False, False
        try:
            await self.may_begin.wait()
            self._begun = True
            channel.tell(Stop() if self._stopping.is_set() else self._orders.begin(self.number))
            while (message := await channel.hear()) is not None:
                self._heard(message)
            served = self.ready.is_set()
            status = await _ended(process)
        finally:
            self.ready.clear()
            self._channel = None
            await channel.close()
        self._settle(None)
        if not self._stopping.is_set():
            self._orders.died(self.number, process.pid)
        return served, status

    def _heard(self, message: Message) -> None:
        match message:
            case Pong():
                self._unanswered, self._has_answered = 0, True
            case Closed(connections):
                self._orders.closed(connections)
            case Ready():
                if not self.ready.is_set() and self._has_served:
                    log.info("worker-serves", extra={"worker": self.number, "pid": self.pid})  # in another's place
                self._has_served = True
                self.ready.set()
                self._settle(None)
            case Failed(sentence):
                if not self._has_served:
                    raise StartError(sentence)
                if self._answer is None:
                    log.error("worker-cannot-start", extra={"worker": self.number, "error": sentence})
                self._settle(sentence)

    def _settle(self, sentence: str | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(sentence)

    def _spawn(self, channel: socket.socket) -> subprocess.Popen[bytes]:
        """A new program rather than a fork of this one, whose event loop it could not use; -P, so that it loads nothing
        that lies in the working directory. Signals wait until it knows that they are not for it, since a terminal sends
        them to all."""
        descriptors = (channel.fileno(), self.link.theirs.fileno(), self._orders.lock)
        command = [sys.executable, "-P", "-m", self._orders.program, *map(str, descriptors)]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            return subprocess.Popen(command, pass_fds=descriptors, stdin=subprocess.DEVNULL, env=_environment())  # noqa: S603  # our own program
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment() -> dict[str, str]:
    """Without what is the parent's: the settings, and the socket of systemd."""
    return {
        name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET" and not name.startswith("TUSD_PY_")
    }


async def _ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit status; it has closed its channel, so it will end now, or is made to."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(process.pid)
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(ENDS_WITHIN):
            await ended.wait()
    except TimeoutError:
        process.kill()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()
