"""How the command line reaches the API: over the control socket of the server that has the data folder or, if there is
none, by serving the same application in this process, over a socket pair that nobody else can reach. What a command
does is therefore the same in both cases.

Without a server the folder is locked like a server locks it (law 11): none can start meanwhile, and a second command
waits for the first.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tusd_py.app import Server
from tusd_py.datafolder import DATABASE, DataFolder, dialled
from tusd_py.doors import Door
from tusd_py.errors import StartError
from tusd_py.operating.api import Api, Dial
from tusd_py.settings import Settings
from tusd_py.surroundings import Surroundings

T = TypeVar("T")


@contextmanager
def reached(settings: Settings) -> Iterator[Api]:
    """The API of that data folder. Raises StartError where there is none."""
    folder = settings.upload_dir
    insist_on_database(folder)
    data = _locked(folder)
    if data is None:
        yield Api(functools.partial(_called, folder))
        return
    try:
        with _served(_for_one_command(settings), data) as dial:
            yield Api(dial)
    finally:
        data.close()


def insist_on_database(folder: Path) -> None:
    """A command that only looks must not make a data folder where somebody has mistyped its name."""
    try:
        if (folder / DATABASE).exists():
            return
    except OSError as error:
        raise StartError(f"The upload folder {folder} cannot be used: {error.strerror}.") from error
    raise StartError(f"There is no {DATABASE} in {folder}; name the server's folder by --upload-dir or --config.")


def _locked(folder: Path) -> DataFolder | None:
    """The folder, if no server has it."""
    if _is_served(folder):
        return None
    try:
        return DataFolder(folder)
    except StartError:
        if _is_served(folder):  # it has just started
            return None
        raise


def _is_served(folder: Path) -> bool:
    connection = dialled(folder)
    if connection is not None:
        connection.close()
    return connection is not None


def _called(folder: Path) -> socket.socket:
    connection = dialled(folder)
    if connection is None:
        raise ConnectionRefusedError
    return connection


def _for_one_command(settings: Settings) -> Settings:
    """Without what only matters to clients."""
    return dataclasses.replace(settings, tls_certificate=None, tls_key=None, zero_copy=False, log_level="warning")


@contextmanager
def _served(settings: Settings, data: DataFolder) -> Iterator[Dial]:
    """A server in a thread beside this one. It listens nowhere: it is handed its connections."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="tusd-server")
    thread.start()

    def run(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    try:
        server = run(Server.start(settings, Surroundings(data)))
        try:
            yield lambda: run(_connect(server))
        finally:
            run(server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _connect(server: Server) -> socket.socket:
    """Our end of a connection that the server takes for one to its control socket."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    factory = await server.front.factory(Door.CONTROL)
    await asyncio.get_running_loop().connect_accepted_socket(factory, theirs)
    return ours
