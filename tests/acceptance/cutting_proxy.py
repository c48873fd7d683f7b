"""A proxy that loses connections: it passes bytes on, and after so and so many of them in all it cuts the wire.

Which connection is hit is whichever brings the byte; both of its sides end with RST, as when a radio link goes away.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self


class CuttingProxy:
    """Listens on 127.0.0.1 in front of `upstream`; `cuts` are the totals of client bytes after which to cut."""

    def __init__(self, upstream: tuple[str, int], cuts: Iterable[int] = ()) -> None:
        self._upstream = upstream
        self._cuts = sorted(cuts)
        self._passed = 0
        self.cuts_made = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            still_open = list(self._open)
        for connection in still_open:
            _reset(connection)
        for thread in self._threads:
            thread.join()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:  # the listener is closed: the end
                return
            try:
                server = socket.create_connection(self._upstream)
            except OSError:  # the server is down just now
                _reset(client)
                continue
            with self._lock:
                self._open |= {client, server}
            self._start(self._carry, client, server, True)
            self._start(self._carry, server, client, False)

    def _carry(self, source: socket.socket, target: socket.socket, upwards: bool) -> None:
        try:
            while data := source.recv(65536):
                allowed, cut = self._allowed(len(data)) if upwards else (len(data), False)
                target.sendall(data[:allowed])
                if cut:
                    break
            else:
                target.shutdown(socket.SHUT_WR)
                return
        except OSError:  # one side is gone, so the other goes, too
            pass
        self._end(source, target)

    def _allowed(self, size: int) -> tuple[int, bool]:
        """How many of the next bytes pass, and whether the wire is cut behind them."""
        with self._lock:
            mark = self._cuts[0] if self._cuts else None
            if mark is None or self._passed + size < mark:
                self._passed += size
                return size, False
            allowed = mark - self._passed
            self._passed = self._cuts.pop(0)
            self.cuts_made += 1
            return allowed, True

    def _end(self, *connections: socket.socket) -> None:
        with self._lock:
            self._open -= set(connections)
        for connection in connections:
            _reset(connection)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]  # any callable
        self._threads.append(thread)
        thread.start()


def _reset(connection: socket.socket) -> None:
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # already gone
        pass
    connection.close()
