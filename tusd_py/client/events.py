"""What an upload tells while it runs: values, given to a function of whoever wants to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Began(NamedTuple):
    """`length` in bytes; None while nobody knows."""

    length: int | None


class Moved(NamedTuple):
    """So many bytes have been sent. After a lost connection it goes back to what the server has."""

    sent: int


class Resumed(NamedTuple):
    """So many bytes were there from an earlier run."""

    kept: int


class Waiting(NamedTuple):
    """Something failed, `failures` times in a row; it is tried again in `pause` seconds."""

    why: str
    pause: float
    failures: int


Event = Began | Moved | Resumed | Waiting
Report = Callable[[Event], None]


def nobody(event: Event) -> None:
    """Nobody wants to know."""
