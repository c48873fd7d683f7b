"""A server that is one process: it listens, serves and hears signals itself."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable

from tusd_py import logs
from tusd_py.app import Server, settle_down
from tusd_py.datafolder import DataFolder
from tusd_py.doors import Doors
from tusd_py.errors import StartError
from tusd_py.process import loop_factory, notify, raise_open_file_limit
from tusd_py.settings import Settings, reloaded
from tusd_py.surroundings import Surroundings

log = logging.getLogger("tusd_py")


def run(settings: Settings, read_again: Callable[[], Settings]) -> int:
    """Serve until a signal says otherwise; returns the exit code. Raises StartError."""
    logs.configure(settings.log_format, settings.log_level)
    raise_open_file_limit()
    data = DataFolder(settings.upload_dir)
    try:
        with asyncio.Runner(loop_factory=loop_factory(settings.event_loop)) as runner:
            return runner.run(_serve(settings, data, read_again))
    finally:
        data.close()


async def _serve(settings: Settings, data: DataFolder, read_again: Callable[[], Settings]) -> int:
    server = await Server.start(settings, Surroundings(data))
    try:
        doors = Doors(settings, data)
        await server.front.listen(doors)
        await server.resume()
    except BaseException:
        await server.stop()  # its threads would keep the process alive
        raise
    server.begin(server.sweep(), "sweep")
    signals = Signals(server, read_again)
    for line in doors.greeting(settings, data):
        print(line, flush=True)  # noqa: T201  # what scripts wait for
    notify("READY=1")
    settle_down()
    await signals.stopped.wait()
    notify("STOPPING=1")
    server.front.refuse()
    doors.close()
    return await server.stop()


class Signals:
    """SIGTERM and SIGINT stop the server, a second one ends it at once; SIGHUP reads the settings again."""

    def __init__(self, server: Server, read_again: Callable[[], Settings]) -> None:
        self.stopped = asyncio.Event()
        self._server = server
        self._read_again = read_again
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _stop(self, number: signal.Signals) -> None:
        if self.stopped.is_set():
            os._exit(1)
        log.info("stopping", extra={"signal": number.name})
        self.stopped.set()

    def _reload(self) -> None:
        notify("RELOADING=1")
        try:
            settings, waiting = reloaded(self._server.settings, self._read_again())
            self._server.reload(settings)
        except StartError as error:
            log.error("reload-failed", extra={"error": str(error)})
        else:
            if waiting:
                log.warning("restart-needed", extra={"settings": ",".join(waiting)})
            log.info("reloaded")
        notify("READY=1")
