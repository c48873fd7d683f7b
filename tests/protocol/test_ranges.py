"""Range fields against the simplest model of them: a set of byte positions."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.errors import RangeNotSatisfiable
from tusd_py.protocol.ranges import GAP, MOST_RANGES, Span, requested

SIZE = 3000
Spec = tuple[int | None, int | None]

positions = st.integers(0, SIZE + 500)
specs = st.one_of(
    st.tuples(positions, st.none()),
    st.tuples(st.none(), positions),
    st.tuples(positions, positions).map(lambda pair: (min(pair), max(pair))),
)


def spelt(spec: Spec) -> str:
    return "-".join("" if number is None else str(number) for number in spec)


def meant(spec: Spec) -> set[int]:
    """The positions of one range, by the sentences of RFC 9110 section 14.1.2."""
    first, last = spec
    if first is None:
        assert last is not None
        return set(range(max(0, SIZE - last), SIZE))
    return set(range(first, SIZE if last is None else min(last + 1, SIZE)))


@given(st.lists(specs, min_size=1, max_size=12))
def test_all_that_was_asked_for_is_sent_and_little_else(wanted: list[Spec]) -> None:
    """The spans hold every position that was asked for, no others but short gaps between two of them, and none twice;
    the one asked for first comes first."""
    field = "bytes=" + ", ".join(map(spelt, wanted))
    asked = set().union(*map(meant, wanted))
    if not asked:
        with pytest.raises(RangeNotSatisfiable):
            requested(field, SIZE)
        return
    spans = requested(field, SIZE)
    assert spans is not None
    sent = [position for span in spans for position in range(*span)]
    assert len(sent) == len(set(sent)) <= SIZE
    assert asked <= set(sent)
    edges = {edge for span in spans for edge in (span.start, span.stop - 1)}
    assert edges <= asked
    assert len(sent) - len(asked) <= GAP * (len(wanted) - 1)
    ordered = sorted(spans)
    assert all(b.start - a.stop > GAP for a, b in pairwise(ordered))
    first = next(iter(meant(next(spec for spec in wanted if meant(spec)))))
    assert first in range(*spans[0])


@given(st.text(alphabet="bytesBYTES=0123456789-, \t", max_size=40), st.integers(0, 50))
def test_nothing_else_comes_out(field: str, size: int) -> None:
    """Whatever the field, the answer is spans that lie inside, the whole, or that there is no such range."""
    spans: tuple[Span, ...] | None = None
    with suppress(RangeNotSatisfiable):
        spans = requested(field, size)
    assert spans is None or (spans and all(0 <= span.start < span.stop <= size for span in spans))


@pytest.mark.parametrize(
    "field",
    [
        *("", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=--1", "bytes=1", "bytes=a-b", "bytes=3-2", "bytes 0-1"),
        *("lines=0-1", "bytes=0-1;q=1", "bytes=0 -1", "bytes=+1-2", "bytes=0-1, x", "bytes=0-1,5-4", "bytes=\u0661-2"),
    ],
)
def test_what_is_no_range_is_ignored(field: str) -> None:
    """A field that RFC 9110 calls invalid, one of another unit, and one with an invalid member."""
    assert requested(field, SIZE) is None


@pytest.mark.parametrize(
    ("field", "spans"),
    [
        ("bytes=0-", [(0, SIZE)]),
        ("BYTES=0-0", [(0, 1)]),
        ("bytes=-1", [(SIZE - 1, SIZE)]),
        ("bytes=-999999999999999999999999", [(0, SIZE)]),
        ("bytes=10-999999999999999999999999", [(10, SIZE)]),
        ("bytes=00000000000000000000000000007-8", [(7, 9)]),
        ("bytes=,, 1-2 ,\t,", [(1, 3)]),
        ("bytes=2000-2001,0-1", [(2000, 2002), (0, 2)]),
        ("bytes=0-9,5-14,15-19", [(0, 20)]),
        ("bytes=1000-1009,0-9,990-1004", [(990, 1010), (0, 10)]),
        (f"bytes=0-9,{10 + GAP}-{10 + GAP}", [(0, 11 + GAP)]),
        (f"bytes=0-9,{11 + GAP}-{11 + GAP}", [(0, 10), (11 + GAP, 12 + GAP)]),
        (f"bytes={SIZE}-,0-1", [(0, 2)]),
    ],
)
def test_what_is_a_range(field: str, spans: list[tuple[int, int]]) -> None:
    """Units in any case, numbers of any length, empty members of the list, and neighbours that become one."""
    assert requested(field, SIZE) == tuple(Span(*span) for span in spans)


@pytest.mark.parametrize("field", [f"bytes={SIZE}-", "bytes=-0", f"bytes={SIZE}-,{SIZE + 5}-{SIZE + 6},-0"])
def test_what_lies_outside(field: str) -> None:
    """A range of which nothing is there is refused with the size."""
    with pytest.raises(RangeNotSatisfiable) as refusal:
        requested(field, SIZE)
    assert refusal.value.size == SIZE


def test_an_empty_upload_has_no_ranges() -> None:
    """Whoever asks for a part of nothing gets all of it."""
    assert requested("bytes=0-", 0) is None


def test_a_long_list_is_ignored() -> None:
    """More ranges than any player asks for are an attack, and cost no more than the whole upload."""
    allowed = ",".join(f"{i}-{i}" for i in range(MOST_RANGES))
    assert requested(f"bytes={allowed}", SIZE) == (Span(0, MOST_RANGES),)
    assert requested(f"bytes={allowed},5-6", SIZE) is None
    assert requested("bytes=0-1" + "," * MOST_RANGES + ",", SIZE) is None
