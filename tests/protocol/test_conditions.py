"""Conditional downloads: what RFC 9110 section 13 says, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from tests.protocol.given import ID, OTHER_ID, UPLOAD
from tusd_py.errors import PreconditionFailed
from tusd_py.protocol.conditions import is_known, range_counts, validators_of
from tusd_py.protocol.fields import http_date, read_http_date

DONE = UPLOAD.finished(1_700_000_000.7)
NOW = validators_of(DONE)
TAG = NOW.tag
DATE, BEFORE, AFTER = (http_date(1_700_000_000 + seconds) for seconds in (0, -1, 1))
OTHER = '"other"'
SEND, KNOWN, FAILED = "send", "known", "failed"


def verdict(*headers: tuple[str, str]) -> str:
    try:
        return KNOWN if is_known(CIMultiDict(headers), NOW) else SEND
    except PreconditionFailed:
        return FAILED


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, SEND),
        ({"If-None-Match": TAG}, KNOWN),
        ({"If-None-Match": f"W/{TAG}"}, KNOWN),
        ({"If-None-Match": f'{OTHER}, W/"x",{TAG}'}, KNOWN),
        ({"If-None-Match": "*"}, KNOWN),
        ({"If-None-Match": OTHER}, SEND),
        ({"If-None-Match": TAG.strip('"')}, SEND),
        ({"If-None-Match": f'"a{TAG}"'}, SEND),
        ({"If-Modified-Since": DATE}, KNOWN),
        ({"If-Modified-Since": AFTER}, KNOWN),
        ({"If-Modified-Since": BEFORE}, SEND),
        ({"If-Modified-Since": "yesterday"}, SEND),
        ({"If-None-Match": OTHER, "If-Modified-Since": DATE}, SEND),
        ({"If-None-Match": TAG, "If-Modified-Since": BEFORE}, KNOWN),
        ({"If-Match": TAG}, SEND),
        ({"If-Match": "*"}, SEND),
        ({"If-Match": f"{OTHER}, {TAG}"}, SEND),
        ({"If-Match": OTHER}, FAILED),
        ({"If-Match": f"W/{TAG}"}, FAILED),
        ({"If-Unmodified-Since": DATE}, SEND),
        ({"If-Unmodified-Since": BEFORE}, FAILED),
        ({"If-Unmodified-Since": "never"}, SEND),
        ({"If-Match": TAG, "If-Unmodified-Since": BEFORE}, SEND),
        ({"If-Match": OTHER, "If-None-Match": TAG}, FAILED),
        ({"If-Match": TAG, "If-None-Match": TAG}, KNOWN),
    ],
)
def test_conditions(headers: dict[str, str], expected: str) -> None:
    """Tags come before dates, what must match before what must not, and what cannot be read is not there."""
    assert verdict(*headers.items()) == expected


def test_a_list_may_come_in_two_fields() -> None:
    """Several fields of one name are one list."""
    assert verdict(("If-None-Match", OTHER), ("If-None-Match", TAG)) == KNOWN


@pytest.mark.parametrize(
    ("if_range", "counts"),
    [(None, True), (TAG, True), (DATE, True), (OTHER, False), (f"W/{TAG}", False), (BEFORE, False), (AFTER, False)],
)
def test_if_range(if_range: str | None, counts: bool) -> None:
    """A part is sent only to one who has parts of exactly this, else all of it."""
    assert range_counts(if_range, NOW) is counts


def test_what_identifies_the_bytes() -> None:
    """The tag differs with the upload and its size, stays the same otherwise, and does not tell the id."""
    assert validators_of(DONE.evolve(metadata="filename YQ==", handle="x")).tag == TAG
    others = {validators_of(DONE.evolve(**change)).tag for change in ({"id": OTHER_ID}, {"length": 101})}
    assert len(others | {TAG}) == 3
    assert ID not in TAG
    assert NOW.lines == f"ETag: {TAG}\r\nLast-Modified: {DATE}\r\n"


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_three_forms_of_dates(text: str) -> None:
    """The example of RFC 9110 section 5.6.7 in all of its forms."""
    assert read_http_date(text) == 784111777


@given(st.integers(0, 4_000_000_000))
def test_dates_come_back(when: int) -> None:
    """What we tell is what we read."""
    assert read_http_date(http_date(when)) == when


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 31 Feb 2020 00:00:00 GMT"),
        *("Sun, 06 Abc 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 06 Nov 0000 08:49:37 GMT"),
    ],
)
def test_what_is_no_date(text: str) -> None:
    """Whatever else is there counts as no field at all."""
    assert read_http_date(text) is None
