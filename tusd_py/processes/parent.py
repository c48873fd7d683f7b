"""The parent of many processes. It holds the data folder (law 11), accepts connections and passes them on, and starts,
watches and replaces its workers. It knows neither HTTP nor the database, so that there is little in it that could fail.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable

from tusd_py import logs
from tusd_py.counters import Sheet
from tusd_py.datafolder import DataFolder
from tusd_py.doors import Doors
from tusd_py.errors import StartError
from tusd_py.process import how_many, notify, raise_open_file_limit, reason_of
from tusd_py.processes.accepting import Accepting
from tusd_py.processes.guests import Guests
from tusd_py.processes.messages import Begin, Bereaved, TurnedAway
from tusd_py.processes.workers import PING_EVERY, Hopeless, Orders, Worker
from tusd_py.settings import Settings, reloaded
from tusd_py.stamps import Stamps
from tusd_py.turnstile import HOLD_AT_MOST, Watch

log = logging.getLogger("tusd_py.processes")

WORKER = "tusd_py.processes.worker"
GIVING_UP = "The workers die as soon as they are started; the log says of what."
GRACE = 2.0  # seconds that workers get beyond shutdown_timeout, within which they end themselves


def run(settings: Settings, read_again: Callable[[], Settings], program: str = WORKER) -> int:
    """Serve until a signal says otherwise; returns the exit code. Raises StartError. `program` is the module that is a
    worker, for who composes one of other parts."""
    logs.configure(settings.log_format, settings.log_level)
    raise_open_file_limit()
    data = DataFolder(settings.upload_dir)
    try:
        _clear(data)
        with asyncio.Runner() as runner:
            return runner.run(_serve(settings, data, read_again, program))
    finally:
        data.close()


async def _serve(settings: Settings, data: DataFolder, read_again: Callable[[], Settings], program: str) -> int:
    doors = Doors(settings, data)
    try:
        return await Parent(settings, data, doors, read_again, program).serve()
    except OSError as error:
        raise StartError(f"{data.processes} cannot be used: {reason_of(error)}.") from error
    except BaseExceptionGroup as group:
        if group.subgroup(Hopeless) is None:
            raise _first(group) from None
        print(f"tusd-py: {GIVING_UP}", file=sys.stderr)  # noqa: T201  # the last word
        return 1
    finally:
        doors.close()


class Parent:
    """One server: its workers, its guests and its signals."""

    def __init__(
        self, settings: Settings, data: DataFolder, doors: Doors, read_again: Callable[[], Settings], program: str
    ) -> None:
        self._settings = settings
        self._data = data
        self._doors = doors
        self._read_again = read_again
        self._started = time.time()
        self._count = how_many(settings.processes)
        self._stamps = Stamps(data.processes / "stamps")
        self._gate = Watch(data.processes)
        Sheet.create(data.processes / "counters", self._count + 1)
        self._sheet = Sheet.open(data.processes / "counters", self._count)  # the last row is ours
        orders = Orders(self._begin, data.lock, self._closed, self._died, self._is_serving, program)
        self._workers = [Worker(number, orders) for number in range(self._count)]
        self._guests = Guests(settings.max_connections, settings.max_connections_per_client)
        tls = settings.tls_certificate is not None
        self._accepting = Accepting(doors, self._workers, self._guests, tls=tls)
        self._signals = Signals(self._end_at_once)

    async def serve(self) -> int:
        """From the start of the workers to their end; returns the exit code."""
        async with asyncio.TaskGroup() as tasks:
            keeping = [tasks.create_task(worker.keep(), name=f"worker {worker.number}") for worker in self._workers]
            pinging = tasks.create_task(self._ping())
            serving = tasks.create_task(self._serve())
            await self._signals.stop.wait()
            notify("STOPPING=1")
            serving.cancel()
            self._accepting.end()
            self._doors.close()
            status = await self._stop(keeping)
            pinging.cancel()
        return status

    async def _until_ready(self) -> None:
        """The first worker shows that the server can start, and brings the database up to date; then the others."""
        first, *others = self._workers
        first.may_begin.set()
        await first.ready.wait()
        for worker in others:
            worker.may_begin.set()
        for worker in others:
            await worker.ready.wait()

    async def _serve(self) -> None:
        """Take connections once all can be served, and settings when there are new ones."""
        await self._until_ready()
        self._accepting.begin()
        for line in self._doors.greeting(self._settings, self._data):
            print(line, flush=True)  # noqa: T201  # what scripts wait for
        notify("READY=1")
        await self._reload_when_told()

    async def _stop(self, keeping: list[asyncio.Task[int]]) -> int:
        for worker in self._workers:
            worker.stop()
        _, late = await asyncio.wait(keeping, timeout=self._settings.shutdown_timeout + GRACE)
        if late:
            log.error("stop-took-too-long", extra={"workers": len(late)})
        for worker in self._workers:
            worker.kill()
        ends = [await task for task in keeping]
        return 1 if late or max(ends) > 0 else 0  # one below 0 was killed by others, like any that is replaced

    def _end_at_once(self) -> None:
        for worker in self._workers:
            worker.kill()
        os._exit(1)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_EVERY)
            for worker in self._workers:
                worker.ping()
            self._clear_gate()
            self._tell_turned_away()

    def _tell_turned_away(self) -> None:
        """Any worker may count them: the metrics are one sum."""
        serving = [worker for worker in self._workers if worker.attentive]
        if serving and self._accepting.turned_away:
            serving[0].tell(TurnedAway(self._accepting.turned_away))
            self._accepting.turned_away = 0

    def _clear_gate(self) -> None:
        """One that stands in the database's gate keeps all others out, and might never go."""
        holder = self._gate.holder()
        if holder is None or holder.seconds < HOLD_AT_MOST:
            return
        for worker in self._workers:
            if worker.pid == holder.pid:
                log.error("worker-blocks-database", extra={"worker": worker.number, "pid": holder.pid})
                worker.kill()

    # What workers ask and tell

    def _begin(self, number: int) -> Begin:
        return Begin(self._settings, number, self._count, self._started)

    def _is_serving(self) -> bool:
        return any(worker.ready.is_set() for worker in self._workers)

    def _closed(self, connections: tuple[int, ...]) -> None:
        for connection in connections:
            self._guests.leave(connection)

    def _died(self, number: int, pid: int) -> None:
        """Whatever it did may be half done: nobody trusts what is remembered, what waited for it goes to others, and
        whoever leads looks for uploads that it left complete."""
        self._stamps.change_all()
        self._sheet.vacate(number)
        self._accepting.rehouse(number)
        for worker in self._workers:
            worker.tell(Bereaved())

    # Settings

    async def _reload_when_told(self) -> None:
        while True:
            await self._signals.reload.wait()
            self._signals.reload.clear()
            notify("RELOADING=1")
            try:
                await self._reload()
            except StartError as error:
                log.error("reload-failed", extra={"error": str(error)})
            notify("READY=1")

    async def _reload(self) -> None:
        """One worker after the other; where one cannot, those before it go back, and nothing has changed."""
        before = self._settings
        settings, waiting = reloaded(before, self._read_again())
        self._settings = settings  # for a worker that is started meanwhile
        for place, worker in enumerate(self._workers):
            refusal = await worker.change(settings)
            if refusal is not None:
                self._settings = before
                for changed in self._workers[:place]:
                    await changed.change(before)
                raise StartError(refusal)
        self._guests.most, self._guests.per_client = settings.max_connections, settings.max_connections_per_client
        logging.getLogger().setLevel(settings.log_level.upper())
        if waiting:
            log.warning("restart-needed", extra={"settings": ",".join(waiting)})
        log.info("reloaded")


class Signals:
    """SIGTERM and SIGINT stop the server, a second one ends it at once; SIGHUP reads the settings again."""

    def __init__(self, end_at_once: Callable[[], None]) -> None:
        self._end_at_once = end_at_once
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def _stop(self, number: signal.Signals) -> None:
        if self.stop.is_set():
            self._end_at_once()
        log.info("stopping", extra={"signal": number.name})
        self.stop.set()


def _clear(data: DataFolder) -> None:
    """What the processes of a life before shared means nothing to those of this one."""
    try:
        shutil.rmtree(data.processes, ignore_errors=True)
        data.processes.mkdir(mode=0o700)
    except OSError as error:
        raise StartError(f"The folder {data.processes} cannot be made: {error.strerror}.") from error


def _first(error: BaseException) -> BaseException:
    """Tasks of one group that fail together fail for one reason."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
