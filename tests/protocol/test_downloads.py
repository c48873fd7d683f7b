"""The answer to a GET as a whole: which status, which lines, which bytes in which order."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from tests.protocol.given import UPLOAD
from tusd_py.errors import RangeNotSatisfiable
from tusd_py.protocol.conditions import validators_of
from tusd_py.protocol.downloads import Delivery, Offer, deliver
from tusd_py.protocol.ranges import Span

DONE = UPLOAD.finished(1_700_000_000.0).evolve(length=1000)
SELF = Offer()
TAG = validators_of(DONE).tag


def delivery(offer: Offer = SELF, **headers: str) -> Delivery:
    named = CIMultiDict((name.replace("_", "-"), value) for name, value in headers.items())
    return deliver(DONE, named, offer, lambda: "mark")


@pytest.mark.parametrize(
    ("headers", "status", "pieces"),
    [
        ({}, 200, (Span(0, 1000),)),
        ({"range": "bytes=0-"}, 206, (Span(0, 1000),)),
        ({"range": "bytes=5-9"}, 206, (Span(5, 10),)),
        ({"range": "bytes=5-9", "if_range": TAG}, 206, (Span(5, 10),)),
        ({"range": "bytes=5-9", "if_range": '"other"'}, 200, (Span(0, 1000),)),
        ({"range": "bytes=5000-", "if_range": '"other"'}, 200, (Span(0, 1000),)),
        ({"range": "bytes=9-5"}, 200, (Span(0, 1000),)),
        ({"range": "bytes=5000-", "if_none_match": TAG}, 304, ()),
        ({"range": "bytes=5-9", "if_none_match": '"other"'}, 206, (Span(5, 10),)),
    ],
)
def test_what_is_sent(headers: dict[str, str], status: int, pieces: tuple[Span, ...]) -> None:
    """Conditions come before ranges."""
    found = delivery(**headers)
    assert (found.reply.status, found.pieces) == (status, pieces)
    assert ("Content-Range" in dict(found.reply.headers)) == (status == 206)
    assert dict(found.reply.headers)["ETag"] == TAG


def test_a_range_outside_counts_only_if_it_is_asked_for() -> None:
    """416 is for one whose condition holds."""
    with pytest.raises(RangeNotSatisfiable):
        delivery(range="bytes=5000-", if_range=TAG)


def test_several_parts() -> None:
    """multipart/byteranges to the byte, in the order in which parts were asked for, with the length of all of it."""
    found = delivery(range="bytes=-10,0-4")
    assert found.pieces == (
        b"--mark\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 990-999/1000\r\n\r\n",
        Span(990, 1000),
        b"\r\n--mark\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 0-4/1000\r\n\r\n",
        Span(0, 5),
        b"\r\n--mark--\r\n",
    )
    assert found.length == sum(len(piece) for piece in found.pieces if isinstance(piece, bytes)) + 15
    assert dict(found.reply.headers)["Content-Type"] == "multipart/byteranges; boundary=mark"


def test_somebody_else_decides() -> None:
    """Whoever sends the file judges conditions and ranges."""
    offer = Offer(sender="x-accel-redirect", prefix="/inside/")
    found = delivery(offer, range="bytes=5000-", if_none_match="*")
    assert (found.reply.status, found.pieces, found.length) == (200, (), 0)
    assert dict(found.reply.headers)["X-Accel-Redirect"] == f"/inside/{DONE.id}"
