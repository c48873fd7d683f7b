"""A raw HTTP/1.1 client over a blocking socket: it sends exactly what the test says and shows what came as it came.

Ready-made clients mend, merge and hide; a test of a protocol needs none of that. `Wire` is one connection; `Verbs`
are the requests of tus on top of it, which anything offers that can `ask`.
"""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

Fields = Mapping[str, str | list[str] | None]  # a list is a field that occurs several times; None takes a default away
Address = tuple[str, int] | str  # host and port, or the path of a Unix socket

PATIENCE = 10.0  # seconds; nothing here takes as long, unless it hangs
MIB = 1 << 20

TUS: Fields = {"Tus-Resumable": "1.0.0"}
BYTES = "application/offset+octet-stream"


class Gone(ConnectionError):
    """The peer closed or reset the connection before a whole answer was there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its fields in their order and number, and the statuses of the interim responses before it."""

    version: str
    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    body: bytes = b""
    interim: tuple[int, ...] = ()

    def __getitem__(self, name: str) -> str:
        """The value of a field that must be there exactly once."""
        values = self.all(name)
        assert len(values) == 1, f"{name} occurs {len(values)} times in {self}"
        return values[0]

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def get(self, name: str) -> str | None:
        """The value of a field that may be missing, but not occur twice."""
        return self[name] if self.all(name) else None

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field.lower() == name.lower()]

    def listed(self, name: str) -> set[str]:
        """The members of a comma-separated field, in lower case."""
        return {member.strip().lower() for member in (self.get(name) or "").split(",")} - {""}

    @property
    def code(self) -> str:
        """The stable code of an error: what stands before the colon of a text body."""
        found = re.match(r"(ERR_[A-Z_]+): \S", self.body.decode())
        assert found, f"no code in {self}"
        return found[1]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def offset(self) -> int:
        return int(self["Upload-Offset"])

    @property
    def path(self) -> str:
        """Where the new upload is: the path of Location."""
        return urlsplit(self["Location"]).path


class Verbs:
    """The requests of tus, for whatever can `ask`; `files` is the path of the creation URL."""

    files: str

    def ask(self, method: str, target: str, fields: Fields | None = None, body: bytes | None = None) -> Answer:
        raise NotImplementedError

    def options(self, target: str | None = None, fields: Fields | None = None) -> Answer:
        return self.ask("OPTIONS", target or self.files, fields)

    def create(self, length: int | None = None, fields: Fields | None = None, body: bytes | None = None) -> Answer:
        """POST to the creation URL; a body gets its media type unless `fields` say otherwise."""
        known: Fields = {} if length is None else {"Upload-Length": str(length)}
        return self.ask("POST", self.files, {**TUS, **known, **_label(body), **(fields or {})}, body)

    def new(self, length: int | None = None, fields: Fields | None = None, body: bytes | None = None) -> str:
        """The path of a new upload; without a length it is deferred."""
        deferred: Fields = {"Upload-Defer-Length": "1"} if length is None else {}
        answer = self.create(length, {**deferred, **(fields or {})}, body)
        assert answer.status == 201, answer
        return answer.path

    def head(self, target: str, fields: Fields | None = None) -> Answer:
        return self.ask("HEAD", target, {**TUS, **(fields or {})})

    def patch(self, target: str, offset: int | str, body: bytes | None = b"", fields: Fields | None = None) -> Answer:
        return self.ask("PATCH", target, {**patch_fields(offset), **(fields or {})}, body)

    def delete(self, target: str, fields: Fields | None = None) -> Answer:
        return self.ask("DELETE", target, {**TUS, **(fields or {})})

    def get(self, target: str, fields: Fields | None = None) -> Answer:
        return self.ask("GET", target, fields)

    def offset(self, target: str) -> int:
        """The offset that HEAD tells."""
        answer = self.head(target)
        assert answer.status == 200, answer
        return answer.offset

    def until_offset(self, target: str, offset: int) -> None:
        """Wait until HEAD tells this offset: the bytes sent so far have arrived."""
        eventually(lambda: self.offset(target) == offset, f"offset {offset}")


class Wire(Verbs):
    """One connection. Use it as a context, or close it."""

    def __init__(self, address: Address, files: str = "/files/", patience: float = PATIENCE) -> None:
        self.files = files
        self.host = "localhost" if isinstance(address, str) else f"{address[0]}:{address[1]}"
        self._socket = _connected(address)
        self._socket.settimeout(patience)
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Ours, of a connection over TCP."""
        return int(self._socket.getsockname()[1])

    def ask(self, method: str, target: str, fields: Fields | None = None, body: bytes | None = None) -> Answer:
        self.send(self.head_bytes(method, target, fields, body), body or b"")
        return self.answer(method)

    def head_bytes(self, method: str, target: str, fields: Fields | None = None, body: bytes | None = None) -> bytes:
        """A request's head: the given fields, Host, and the Content-Length of the body if there is one."""
        lower = {name.lower() for name in fields or {}}
        defaults: dict[str, str | list[str] | None] = {} if "host" in lower else {"Host": self.host}
        if body is not None and not lower & {"content-length", "transfer-encoding"}:
            defaults["Content-Length"] = str(len(body))
        lines = [f"{name}: {value}" for name, value in _flat({**defaults, **(fields or {})})]
        return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("utf-8", "surrogateescape")

    def begin(self, method: str, target: str, fields: Fields | None = None, start: bytes = b"") -> None:
        """Send a head and the start of its body, and leave the rest open."""
        self.send(self.head_bytes(method, target, fields), start)

    def begin_patch(self, target: str, offset: int, length: int, start: bytes = b"") -> None:
        """A PATCH that announces `length` bytes and so far sends only `start`."""
        self.begin("PATCH", target, {**patch_fields(offset), "Content-Length": str(length)}, start)

    def send(self, *pieces: bytes) -> None:
        self._socket.sendall(b"".join(pieces))

    def send_regardless(self, data: bytes) -> None:
        """Send on as a client does that does not look at the answer; a closed connection ends it."""
        try:
            self._socket.sendall(data)
        except ConnectionError:
            return

    def answer(self, method: str = "GET") -> Answer:
        """The next final response, with the interim ones before it noted in it."""
        interim: list[int] = []
        while True:
            version, status, reason, fields = self._read_head()
            if status >= 200:
                break
            interim.append(status)
        answer = Answer(version, status, reason, fields, interim=tuple(interim))
        whole = Answer(version, status, reason, fields, self._read_body(method, answer), tuple(interim))
        assert status != 500, f"the server broke: {whole}"
        return whole

    def interim(self) -> int:
        """The status of the next interim response, which is read and nothing behind it."""
        status = self._read_head()[1]
        assert status < 200, f"a final response, {status}"
        return status

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes, not even the end, for that long."""
        return not self._unread and not select.select([self._socket], [], [], seconds)[0]

    def is_closed(self) -> bool:
        """Whether the peer closes without sending anything more; waits for it."""
        try:
            return not self._unread and self._socket.recv(1) == b""
        except ConnectionError:
            return True

    def stop_sending(self) -> None:
        """Half close: say that nothing more comes, and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST, as a phone that loses its network and comes back."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._socket.close()

    def _read_head(self) -> tuple[str, int, str, tuple[tuple[str, str], ...]]:
        head = self._read_until(b"\r\n\r\n").decode("utf-8", "surrogateescape")
        start, *lines = head[:-4].split("\r\n")
        version, status, reason = [*start.split(" ", 2), ""][:3]
        pairs = (line.partition(":") for line in lines)
        return version, int(status), reason, tuple((name, value.strip(" ")) for name, _, value in pairs)

    def _read_body(self, method: str, answer: Answer) -> bytes:
        if method == "HEAD" or answer.status in (204, 304):
            return b""
        if answer.get("Transfer-Encoding") == "chunked":
            return self._read_chunks()
        length = answer.get("Content-Length")
        return self._read_rest() if length is None else self._read(int(length))

    def _read_chunks(self) -> bytes:
        chunks = []
        while size := int(self._read_until(b"\r\n"), 16):
            chunks.append(self._read(size + 2)[:-2])
        self._read_until(b"\r\n")
        return b"".join(chunks)

    def _read_rest(self) -> bytes:
        while data := self._socket.recv(65536):
            self._unread += data
        return self._take(len(self._unread))

    def _read_until(self, mark: bytes) -> bytes:
        while mark not in self._unread:
            self._receive()
        return self._take(self._unread.index(mark) + len(mark))

    def _read(self, size: int) -> bytes:
        pieces, there = [self._unread], len(self._unread)
        while there < size:
            pieces.append(self._more())
            there += len(pieces[-1])
        self._unread = b"".join(pieces)
        return self._take(size)

    def _receive(self) -> None:
        self._unread += self._more()

    def _more(self) -> bytes:
        """What comes next, at least a byte of it."""
        try:
            data = self._socket.recv(65536)
        except ConnectionError as error:
            raise Gone(f"reset after {self._unread!r}") from error
        if not data:
            raise Gone(f"closed after {self._unread!r}")
        return data

    def _take(self, size: int) -> bytes:
        taken, self._unread = self._unread[:size], self._unread[size:]
        return taken


def patch_fields(offset: int | str) -> dict[str, str | list[str] | None]:
    """What every PATCH says."""
    return {**TUS, "Upload-Offset": str(offset), "Content-Type": BYTES}


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A chunked body; `end` may carry trailers or be left out."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


def eventually(condition: Callable[[], bool], what: str, within: float = PATIENCE) -> None:
    """Poll until the condition holds; fails after `within` seconds."""
    deadline = time.monotonic() + within
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        pause.wait(0.005)


def _label(body: bytes | None) -> Fields:
    return {"Content-Type": BYTES} if body else {}


def _flat(fields: Fields) -> Iterable[tuple[str, str]]:
    for name, value in fields.items():
        for one in [value] if isinstance(value, str) else value or []:
            yield name, one


def _connected(address: Address) -> socket.socket:
    if isinstance(address, str):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address)
        return connection
    connection = socket.create_connection(address, PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
