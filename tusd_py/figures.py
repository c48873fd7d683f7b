"""What is told at a scrape, before it takes anybody's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple


class Figure(NamedTuple):
    """A number by the values of its labels."""

    kind: Literal["counter", "gauge"]
    name: str
    help: str
    values: Mapping[tuple[str, ...], float]
    labels: tuple[str, ...] = ()


class Histogram(NamedTuple):
    """How many were at most so long, by bound, and the seconds of all together."""

    name: str
    help: str
    buckets: Sequence[tuple[str, float]]
    seconds: float
