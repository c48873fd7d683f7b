"""How uploads look at a terminal. Pure.

Names come from clients, so what is not printable never reaches the terminal.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

Told = Mapping[str, Any]  # an upload, as the API tells it

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
AGES = ((86400 * 365, "y"), (86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
GAP = 2  # spaces between two columns
LEAST_NAME = 10


class Column(NamedTuple):
    heading: str
    width: int
    rank: int  # the highest go first where there is no room
    of: Callable[[Told, float], str]
    right: bool = False

    def cell(self, text: str) -> str:
        return text.rjust(self.width) if self.right else text.ljust(self.width)


class Table:
    """Lines of at most `width` columns, however long; None is as wide as need be."""

    def __init__(self, width: int | None) -> None:
        self._columns = _fitting(width)
        used = sum(column.width + GAP for column in self._columns)
        self._name = None if width is None else max(0, width - used)
        if self._name is not None and self._name < LEAST_NAME:
            self._name = 0

    def heading(self) -> str:
        return self._line([column.cell(column.heading) for column in self._columns], "NAME")

    def row(self, upload: Told, now: float) -> str:
        """`now` in seconds since the epoch."""
        return self._line([column.cell(column.of(upload, now)) for column in self._columns], name_of(upload))

    def _line(self, cells: Sequence[str], name: str) -> str:
        if self._name != 0:
            cells = [*cells, name if self._name is None else shortened(name, self._name)]
        return (" " * GAP).join(cells).rstrip()


def block(upload: Told) -> str:
    """All there is to say about one upload, a line each."""
    lines = {
        "id": upload["id"],
        "name": name_of(upload),
        "state": upload["state"],
        "kind": upload["kind"],
        "owner": printable(upload["owner"]),
        "length": _bytes(upload["length"]) or "not known yet",
        "kept": _bytes(upload["offset"]),
        "created": _moment(upload["created"]),
        "ended": _moment(upload["ended"]),
        "expires": _moment(upload["expires"]),
        "partials": " ".join(upload["partials"]),
    }
    for key, value in (upload["metadata"] or {}).items():
        lines[f"metadata {printable(key)}"] = printable(value)
    width = max(map(len, lines)) + GAP
    return "\n".join(f"{name:{width}}{value}" for name, value in lines.items() if value)


def human_size(size: int) -> str:
    """Three digits or so, and at most eight characters: 999 B, 1.5 KiB, 20.0 GiB."""
    value, unit = float(size), UNITS[0]
    for unit in UNITS:
        if value < 1000 or unit == UNITS[-1]:
            break
        value /= 1024
    return f"{size} B" if unit == "B" else f"{value:.{1 if value < 99.95 else 0}f} {unit}"


def human_age(seconds: float) -> str:
    """The largest unit that it has at least two of: 90m, 47h, 3d."""
    for length, unit in AGES:
        if seconds >= 2 * length or unit == "s":
            return f"{max(0, int(seconds // length))}{unit}"
    raise AssertionError("seconds are the last")


def name_of(upload: Told) -> str:
    """What a client calls its file, under the names that tus clients use."""
    metadata = upload["metadata"] or {}
    return printable(metadata.get("filename") or metadata.get("name") or "")


def printable(text: str) -> str:
    """The text with everything replaced that could move the cursor, change colours or turn the line round."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def shortened(text: str, width: int) -> str:
    """Cut to so many columns of a terminal, of which wide characters take two."""
    if sum(map(_columns, text)) <= width:
        return text
    kept, used = "", 0
    for character in text:
        used += _columns(character)
        if used >= width:
            break
        kept += character
    return f"{kept}\N{HORIZONTAL ELLIPSIS}"


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _size(upload: Told, _: float) -> str:
    if upload["length"] is not None:
        return human_size(upload["length"])
    return "?" if upload["offset"] is None else f"{human_size(upload['offset'])}+"


def _done(upload: Told, _: float) -> str:
    length, offset = upload["length"], upload["offset"]
    if length is None or offset is None:
        return "-"
    return f"{100 * offset // length if length else 100}%"


def _age(upload: Told, now: float) -> str:
    return human_age(now - datetime.fromisoformat(upload["created"]).timestamp())


COLUMNS = (
    Column("ID", 22, 0, lambda upload, _: str(upload["id"])),
    Column("STATE", 9, 2, lambda upload, _: str(upload["state"])),
    Column("SIZE", 9, 1, _size, right=True),
    Column("DONE", 4, 3, _done, right=True),
    Column("AGE", 4, 4, _age, right=True),
)


def _fitting(width: int | None) -> list[Column]:
    columns = list(COLUMNS)
    while width is not None and len(columns) > 1 and sum(column.width + GAP for column in columns) - GAP > width:
        columns.remove(max(columns, key=lambda column: column.rank))
    return columns


def _bytes(size: int | None) -> str:
    if size is None:
        return ""
    return f"{human_size(size)} ({size} bytes)" if size >= 1000 else f"{size} bytes"


def _moment(text: str | None) -> str:
    """In the time zone of whoever looks."""
    if text is None:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(datetime.fromisoformat(text).timestamp()))
