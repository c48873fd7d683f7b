"""A blocking tus client over one raw keep-alive connection: nothing between the buffer and the socket."""

from __future__ import annotations

import array
import fcntl
import socket
import termios
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

MIB = 1024 * 1024
METADATA = "filename YS5iaW4=,filetype YXBwbGljYXRpb24vb2N0ZXQtc3RyZWFt"
BUFFER = memoryview(bytes(range(256)) * (8 * MIB // 256))


class Failed(Exception):
    """A server did not do what the measure asks; the sentence goes into the table."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


def parse_head(head: bytes) -> Answer:
    """Status and lower-case header names of a response head without its closing blank line."""
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Answer(int(first.split()[1]), {name.strip().lower(): value.strip() for name, _, value in pairs})


def path_of(location: str) -> str:
    """The path of a Location, be it a URL or a path."""
    return urlsplit(location).path


def pieces(size: int) -> Iterable[memoryview]:
    """`size` bytes out of one prepared buffer."""
    for start in range(0, size, len(BUFFER)):
        yield BUFFER[: min(len(BUFFER), size - start)]


class Connection:
    """One connection; opened again when the server has closed it. Times out after `patience` seconds."""

    def __init__(self, host: str, port: int, patience: float = 60.0) -> None:
        self.host, self.port, self.patience = host, port, patience
        self._socket: socket.socket | None = None
        self._input = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._input = None, b""

    def ask(self, method: str, path: str, headers: Mapping[str, str], body_size: int = 0) -> Answer:
        """Send a request with `body_size` bytes and read its answer, also one that comes in mid-body."""
        self.begin(method, path, {**headers, "Content-Length": str(body_size)} if body_size else headers)
        try:
            for piece in pieces(body_size):
                self.send(piece)
        except (ConnectionResetError, BrokenPipeError):
            pass  # the server may have answered before it closed: what it said is what the table should tell
        return self.answer(method)

    def begin(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", "Tus-Resumable: 1.0.0"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def send(self, data: bytes | memoryview) -> None:
        if self._socket is None:
            self._socket = socket.create_connection((self.host, self.port), self.patience)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(data)

    def fetch(self, path: str) -> int:
        """GET it; returns how many bytes its body has, which are thrown away."""
        self.begin("GET", path, {})
        head = parse_head(self._until(b"\r\n\r\n"))
        if head.status != 200:
            raise Failed(f"GET: {head.status} in place of 200")
        size = int(head.headers.get("content-length", "-1"))
        received, self._input = len(self._input), b""
        buffer = bytearray(MIB)
        while 0 <= received < size and self._socket is not None and (count := self._socket.recv_into(buffer)):
            received += count
        if head.closes:
            self.close()
        return received

    def answer(self, method: str) -> Answer:
        head = parse_head(self._until(b"\r\n\r\n"))
        answer = Answer(head.status, head.headers, self._body(method, head))
        if answer.closes:
            self.close()
        return answer

    @property
    def port_here(self) -> int:
        """Of the client's end; 0 while it is not open."""
        port: int = self._socket.getsockname()[1] if self._socket is not None else 0
        return port

    def unsent(self) -> int:
        """Bytes that the server's side of the connection has not taken yet."""
        count = array.array("i", [0])
        if self._socket is not None:
            fcntl.ioctl(self._socket, termios.TIOCOUTQ, count)
        return count[0]

    def has_spoken(self, within: float = 0.0) -> bool:
        """Whether the server answered or closed, waiting at most `within` seconds for it."""
        if self._socket is None:
            return True
        self._socket.settimeout(within)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, TimeoutError):
            return False
        except OSError:
            return True
        finally:
            self._socket.settimeout(self.patience)
        return True

    def _body(self, method: str, head: Answer) -> bytes:
        if method == "HEAD" or head.status in (204, 304):
            return b""
        if head.headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        return self._exactly(int(head.headers.get("content-length", "0")))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            body += self._exactly(size)
            self._until(b"\r\n")
        self._until(b"\r\n")
        return body

    def _until(self, end: bytes) -> bytes:
        while end not in self._input:
            self._more()
        found, _, self._input = self._input.partition(end)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._input) < size:
            self._more()
        found, self._input = self._input[:size], self._input[size:]
        return found

    def _more(self) -> None:
        data = self._socket.recv(65536) if self._socket is not None else b""
        if not data:
            self.close()
            raise Failed("the connection was closed without an answer")
        self._input += data
