"""Which bytes of a finished upload a Range field asks for (RFC 9110 section 14).

A field that is no valid set of byte ranges, or one of more than MOST_RANGES, is ignored: all of it is the answer.
Ranges that overlap, touch or lie closer together than the head of a part is long become one, so that no set of them
can cost more than the upload itself.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tusd_py.errors import RangeNotSatisfiable

MOST_RANGES = 64  # players and readers of PDFs ask for a handful
GAP = 128  # bytes; about what the head of a part takes
_UNIT = re.compile(r"bytes=", re.IGNORECASE)
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_ENDLESS = 10**19  # beyond every size; int() never meets thousands of digits


class Span(NamedTuple):
    """Bytes [start, stop)."""

    start: int
    stop: int


def requested(field: str, size: int) -> tuple[Span, ...] | None:
    """The spans that `field` asks for of an upload of `size` bytes, apart from each other, in the order in which they
    were asked for; None if the field does not count. Raises RangeNotSatisfiable if all of them lie outside."""
    specs = _specs(field)
    if specs is None or size == 0:  # no range lies in nothing; what is asked for anyhow is all there is
        return None
    spans = []
    for first, last in specs:
        span = _span(first, last, size)
        if span is None:
            return None
        if span.start < span.stop:
            spans.append(span)
    if not spans:
        raise RangeNotSatisfiable(size=size)
    return tuple(spans) if len(spans) == 1 else _joined(spans)


def _specs(field: str) -> list[tuple[str, str]] | None:
    """The first and last positions as text; None if this is no set of byte ranges, or too large a one."""
    unit = _UNIT.match(field)
    if unit is None or field.count(",") > MOST_RANGES:
        return None
    matches = [_SPEC.fullmatch(spec) for part in field[unit.end() :].split(",") if (spec := part.strip(" \t"))]
    found = [(match[1], match[2]) for match in matches if match is not None]
    return found if found and len(found) == len(matches) and len(found) <= MOST_RANGES else None


def _span(first: str, last: str, size: int) -> Span | None:
    """One range, empty if it lies outside; None if it is none."""
    if not first:
        return Span(max(0, size - _position(last)), size) if last else None
    start = _position(first)
    if not last:
        return Span(min(start, size), size)
    stop = _position(last) + 1
    return Span(min(start, size), min(stop, size)) if start < stop else None


def _position(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) < 20 else _ENDLESS


def _joined(spans: list[Span]) -> tuple[Span, ...]:
    """Neighbours as one, at the place of whichever of them was asked for first."""
    joined: list[tuple[int, Span]] = []
    for place, span in sorted(enumerate(spans), key=lambda placed: placed[1]):
        before = joined[-1] if joined else None
        if before is not None and span.start <= before[1].stop + GAP:
            joined[-1] = min(before[0], place), Span(before[1].start, max(before[1].stop, span.stop))
        else:
            joined.append((place, span))
    return tuple(span for _, span in sorted(joined))
