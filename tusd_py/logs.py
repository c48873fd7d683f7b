"""One line an event, text or JSON.

The message of a record is the event's name, its fields come by `extra=`:
`log.info("upload-finished", extra={"id": upload.id, "size": size})`. Whatever a client sent is escaped, so that no
value can start a line or move a terminal's cursor. Requests, of which there are many, go through RequestLog.

Where several processes serve, each line ends with the number of its own, `process=2`. They write to one stderr, and
their lines do not mix: each is written whole, at once, which a file takes in one piece, and a pipe up to PIPE_BUF.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import select
import stat
import sys
import time
from typing import Final, Literal, TextIO

Format = Literal["text", "json"]

FLUSH_AFTER: Final = 0.2  # seconds
FLUSH_AT: Final = 64 << 10  # characters
HOLD_AT_MOST: Final = 1 << 20  # characters; what comes while nobody reads is dropped and counted
CLIP_AT: Final = 256  # characters of one value from a client that is long or strange
CLOSE_WITHIN: Final = 1.0  # seconds

_PLAIN: Final = re.compile(r"[!#-\[\]-~]*")  # visible ASCII but for the two characters that quoting needs
_STANDARD_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(format: Format, level: str, stream: TextIO | None = None, process: int | None = None) -> None:
    """Send every record of every library to `stream`, which is stderr if not given; `process` is this one's number
    where there are several."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(process) if format == "json" else TextLines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def quoted(value: object) -> str:
    """A value on one line of ASCII, in quotes and escaped as in JSON."""
    return json.dumps(value, default=str).replace("\x7f", "\\u007f")


def spelt(value: object) -> str:
    """A value behind `key=`: bare where nobody can misread it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if text and _PLAIN.fullmatch(text) else quoted(text)


class _Lines(logging.Formatter):
    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._own = {} if process is None else {"process": process}

    def _fields(self, record: logging.LogRecord) -> dict[str, object]:
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return fields | self._own


class TextLines(_Lines):
    """`2026-11-21T15:04:05.123Z INFO upload-finished id=… size=…`"""

    def format(self, record: logging.LogRecord) -> str:
        name = record.getMessage()
        if not name.isascii() or not name.isprintable():
            name = quoted(name)
        fields = [f" {key}={spelt(value)}" for key, value in self._fields(record).items()]
        return f"{_timestamp(record.created)} {record.levelname} {name}{''.join(fields)}"


class JsonLines(_Lines):
    """`{"time": "…", "level": "info", "message": "upload-finished", "id": "…"}`"""

    def format(self, record: logging.LogRecord) -> str:
        head = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        return quoted(head | {key: value for key, value in self._fields(record).items() if key not in head})


def _timestamp(seconds: float) -> str:
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{_seconds_stamp(whole)}.{milliseconds:03d}Z"


def _seconds_stamp(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


_MILLISECONDS: Final = [f".{number:03d}Z" for number in range(1000)]


# Spelt out rather than made from a template, which takes longer, and every request pays it.
def _text_line(
    when: str,
    method: str,
    path: str,
    status: int,
    seconds: float,
    received: int,
    sent: int,
    peer: str,
    id: str,
    own: str,
) -> str:
    return (
        f"{when} INFO request method={method} path={path} status={status} seconds={seconds:.6f} "
        f"received={received} sent={sent} peer={peer} request_id={id}{own}\n"
    )


def _json_line(
    when: str,
    method: str,
    path: str,
    status: int,
    seconds: float,
    received: int,
    sent: int,
    peer: str,
    id: str,
    own: str,
) -> str:
    return (
        f'{{"time": "{when}", "level": "info", "message": "request", "method": "{method}", "path": "{path}", '
        f'"status": {status}, "seconds": {seconds:.6f}, "received": {received}, "sent": {sent}, "peer": "{peer}", '
        f'"request_id": "{id}"{own}}}\n'
    )


class RequestLog:
    """One line a request, cheap enough for the hot path: held in memory, written every 0.2 s or 64 KiB, in their order.

    Called on the event loop only. Nobody waits for whoever reads the log: a pipe takes what fits, the rest is tried
    again by the timer, and beyond 1 MiB lines are dropped, counted in `dropped` and told of once there is room. While
    it is not `on`, nothing is noted.
    """

    def __init__(self, stream: TextIO, format: Format, *, on: bool = True, process: int | None = None) -> None:
        self.on = on
        self.dropped = 0
        self._told = 0
        self._outlet = _Outlet(stream.fileno())
        self._written = _text_line if format == "text" else _json_line
        self._tame = _tamed_for_text if format == "text" else _tamed_for_json
        self._own = "" if process is None else f" process={process}" if format == "text" else f', "process": {process}'
        self._lines: list[str] = []
        self._text = ""  # lines that are on their way out, from `_at` on
        self._at = 0
        self._held = 0  # characters in both
        self._timer: asyncio.TimerHandle | None = None
        self._second = 0
        self._stamp = ""

    def line(
        self, method: str, path: str, status: int, seconds: float, received: int, sent: int, peer: str, request_id: str
    ) -> None:
        """Note an answered request: the `seconds` it took and the bytes of bodies `received` and `sent`."""
        if not self.on:
            return
        if self._held > HOLD_AT_MOST:
            self.dropped += 1
            return
        foreign = f"{method}{path}{peer}{request_id}"
        if len(foreign) > CLIP_AT or not _PLAIN.fullmatch(foreign):
            method, path, peer, request_id = map(self._tame, (method, path, peer, request_id))
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, _seconds_stamp(second)
        when = self._stamp + _MILLISECONDS[int((now - second) * 1000)]
        text = self._written(when, method, path, status, seconds, received, sent, peer, request_id, self._own)
        self._lines.append(text)
        self._held += len(text)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER, self.flush)
        elif self._held >= FLUSH_AT and self._held - len(text) < FLUSH_AT:  # once; a reader that is stuck has the timer
            self.flush()

    def flush(self) -> None:
        """Write what the reader takes at once; the timer tries the rest."""
        self._disarm()
        while self._held and self._outlet.ready(0) and self._write_some():
            pass
        if self._held:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER, self.flush)
        elif self.dropped > self._told:
            untold, self._told = self.dropped - self._told, self.dropped
            logging.getLogger(__name__).warning("request-lines-dropped", extra={"lines": untold})

    def close(self) -> None:
        """Write what is held, waiting for the reader for a second at most."""
        self._disarm()
        deadline = time.monotonic() + CLOSE_WITHIN
        while self._held and self._outlet.ready(deadline - time.monotonic()) and self._write_some():
            pass
        self.dropped += len(self._lines) + self._text.count("\n", self._at)
        self._lines.clear()
        self._text, self._at, self._held = "", 0, 0

    def _write_some(self) -> bool:
        """Whole lines, as many as the outlet takes at once; whether it took anything."""
        if self._at == len(self._text):
            self._text, self._at = "".join(self._lines), 0
            self._lines.clear()
        limit = self._at + self._outlet.at_once
        end = self._text.rfind("\n", self._at, limit) + 1 or limit
        written = self._outlet.write(self._text[self._at : end])
        self._at += written
        self._held -= written
        return written > 0

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Outlet:
    """A descriptor that may be shared with other processes, so its flags are left alone: it is asked before each
    write, and a pipe that has room at all takes PIPE_BUF bytes without making anybody wait."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self.at_once = FLUSH_AT if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF

    def ready(self, seconds: float) -> bool:
        return bool(self._poll.poll(max(0.0, seconds) * 1000))

    def write(self, line: str) -> int:
        """Characters taken. A reader that is gone, or a full disk, takes everything: the log must not stop uploads."""
        try:
            return os.write(self._fd, line.encode("ascii"))
        except BlockingIOError:
            return 0
        except OSError:
            return len(line)


def _tamed_for_text(value: str) -> str:
    clipped = value[:CLIP_AT]
    return clipped if _PLAIN.fullmatch(clipped) else quoted(clipped)


def _tamed_for_json(value: str) -> str:
    return quoted(value[:CLIP_AT])[1:-1]
