"""Where the server listens: the upload port (TCP or a Unix socket), the private port, and the control socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path

from tusd_py.datafolder import DataFolder
from tusd_py.errors import StartError
from tusd_py.process import reason_of
from tusd_py.settings import Settings
from tusd_py.spelling import spelt_address

BACKLOG = 1024  # connections that wait to be accepted


class Door(IntEnum):
    """Which of them a connection came through."""

    UPLOADS = 1
    PRIVATE = 2
    CONTROL = 3


class Doors:
    """All sockets, bound and listening. Raises StartError where that cannot be, and leaves none open then."""

    def __init__(self, settings: Settings, data: DataFolder) -> None:
        self.listeners: dict[Door, list[socket.socket]] = {}
        self._unix_socket: Path | None = None
        try:
            self.listeners[Door.CONTROL] = [data.control_socket(BACKLOG)]
            self.listeners[Door.PRIVATE] = _private_port(settings)
            self.listeners[Door.UPLOADS] = _upload_port(settings)
        except StartError:
            self.close()
            raise
        self._unix_socket = settings.unix_socket
        for _, listener in self.all():
            listener.setblocking(False)

    def all(self) -> Iterator[tuple[Door, socket.socket]]:
        for door, listeners in self.listeners.items():
            for listener in listeners:
                yield door, listener

    def greeting(self, settings: Settings, data: DataFolder) -> Sequence[str]:
        """What is printed at the start; the last line is what tusd prints, and what scripts wait for."""
        lines = [f"Uploads are kept in: {data.uploads}"]
        if private := self.listeners[Door.PRIVATE]:
            lines.append(f"Metrics, readiness and API: http://{_spelt(private[0])}/")
        if settings.unix_socket is not None:
            address = f"unix:{settings.unix_socket}:"
        else:
            scheme = "https" if settings.tls_certificate else "http"
            address = f"{scheme}://{_spelt(self.listeners[Door.UPLOADS][0])}"
        return [*lines, f"You can now upload files to: {address}{settings.base_path}"]

    def close(self) -> None:
        """Whoever comes now is refused."""
        for _, listener in self.all():
            listener.close()
        if self._unix_socket is not None:
            self._unix_socket.unlink(missing_ok=True)


def _upload_port(settings: Settings) -> list[socket.socket]:
    try:
        if settings.unix_socket is not None:
            return [_bound_to_path(settings.unix_socket)]
        return _bound(settings.host, settings.port)
    except OSError as error:
        raise StartError(f"Cannot listen on {_wanted(settings)}: {reason_of(error)}.") from error


def _private_port(settings: Settings) -> list[socket.socket]:
    wanted = settings.ops_listen
    if wanted is None:
        return []
    try:
        return _bound(*wanted)
    except OSError as error:
        raise StartError(
            f"Cannot listen on {wanted.host}:{wanted.port} for metrics: {reason_of(error)}; "
            "choose another --ops-listen, or 'off'."
        ) from error


def _bound(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of that name, which all wait for connections."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            bound.append(listener := socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(BACKLOG)  # at once, since only that takes a port which another has bound as well
    except OSError:
        for listener in bound:
            listener.close()
        raise
    return bound


def _bound_to_path(path: Path) -> socket.socket:
    remove_old_socket(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def remove_old_socket(path: Path) -> None:
    """A socket that a dead server left is removed; anything else in its place is not ours."""
    if path.is_socket():
        if is_answered(path):
            raise StartError(f"Another server listens on {path}; stop it, or choose another --unix-socket.")
        path.unlink()
    elif path.exists():
        raise StartError(f"{path} exists and is not a socket; remove it, or choose another --unix-socket.")


def is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        return caller.connect_ex(os.fspath(path)) == 0


def _spelt(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return spelt_address((host, port))


def _wanted(settings: Settings) -> str:
    return str(settings.unix_socket) if settings.unix_socket is not None else f"{settings.host}:{settings.port}"
