"""Back-off, how a file is cut, what a server offers, and what is told of its answers."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.client.answers import MOST_TEXT, Answer, Verdict, judge, refusal, setback
from tusd_py.client.checksums import checksum
from tusd_py.client.failures import NotOffered, Refused
from tusd_py.client.patience import Patience
from tusd_py.client.plan import LEAST_PART, Offer, spans
from tusd_py.protocol.fields import read_checksum


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_is_worth_another_try(method: str) -> None:
    """409, 423, 429, 460 and 5xx but 501; all other 4xx are final."""
    again = {status for status in range(300, 600) if judge(method, status) is Verdict.RETRY}
    assert again == {409, 423, 429, 460, *range(500, 600)} - {501}
    assert {judge(method, status) for status in {*range(300, 600)} - again} == {Verdict.FINAL}


def test_what_head_may_say() -> None:
    """As elsewhere, but 404 and 410 tell that the upload is gone."""
    assert {status for status in range(200, 600) if judge("HEAD", status) is Verdict.GONE} == {404, 410}


@given(
    failures=st.integers(1, 100_000),
    chance=st.floats(0, 1, exclude_max=True),
    asked=st.none() | st.floats(0, 1e9),
    first=st.floats(0.01, 10),
)
def test_pauses(failures: int, chance: float, asked: float | None, first: float) -> None:
    """A pause is at least half its ceiling, at most that and what the server asked for; enough failures are enough."""
    patience = Patience(retries=50_000, first=first, most=30.0)
    pause = patience.pause(failures, chance, asked)
    if failures > 50_000:
        assert pause is None
    else:
        assert pause is not None
        waited = pause - min(asked or 0.0, patience.longest_asked)
        ceiling = min(30.0, first * 2 ** min(failures - 1, 64))
        assert ceiling / 2 - 1e-6 <= waited <= ceiling + 1e-6


def test_pauses_double() -> None:
    """Without chance: 0.25, 0.5, 1, 2 … up to 30 seconds, halved."""
    pauses = [Patience().pause(failures, 0.0) for failures in range(1, 12)]
    assert pauses == [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, None]


@given(length=st.integers(0, 1 << 50), parts=st.integers(1, 999))
def test_parts_cover_the_file(length: int, parts: int) -> None:
    """The parts follow each other without gap, nearly equal, not too many and not too small."""
    cut = spans(length, parts)
    assert cut[0].start == 0
    assert cut[-1].stop == length
    assert all(before.stop == after.start for before, after in pairwise(cut))
    sizes = {span.stop - span.start for span in cut}
    assert max(sizes) - min(sizes) <= 1
    assert len(cut) == 1 or (len(cut) <= parts and min(sizes) >= LEAST_PART)


def test_what_a_server_offers() -> None:
    """Read from OPTIONS with or without spaces; an answer that is not of a tus server tells nothing."""
    fields = {
        "tus-version": "1.0.0",
        "tus-extension": "Creation, concatenation",
        "tus-checksum-algorithm": "md5, sha1",
        "tus-max-size": "100",
    }
    offer = Offer.read(Answer(204, fields))
    assert offer == Offer(frozenset({"creation", "concatenation"}), ("md5", "sha1"), 100)
    assert Offer.read(Answer(200, {})) == Offer.read(Answer(404, fields)) == Offer()
    offer.demand("concatenation", "it")
    Offer().demand("concatenation", "it")
    with pytest.raises(NotOffered, match="creation-defer-length, which it needs"):
        offer.demand("creation-defer-length", "it")
    offer.admit(100)
    with pytest.raises(Refused, match="at most 100 bytes"):
        offer.admit(101)


def test_checksums_only_where_they_are_verified() -> None:
    """The best algorithm both know, and none from a server that does not say that it verifies."""
    assert Offer(frozenset({"checksum"}), ("crc32", "sha1", "sha256")).algorithm() == "sha256"
    assert Offer(frozenset({"checksum"}), ("crc32", "sha1")).algorithm() == "sha1"
    for offer in (Offer(), Offer(frozenset(), ("sha1",)), Offer(frozenset({"checksum"}), ("crc32",))):
        with pytest.raises(NotOffered):
            offer.algorithm()


@given(data=st.binary())
def test_a_checksum_is_what_servers_read(data: bytes) -> None:
    """The field is read by this server's own reader."""
    assert read_checksum(checksum(data, "sha256")).digest == hashlib.sha256(data).digest()
    assert b64decode(checksum(data, "sha1").partition(" ")[2]) == hashlib.sha1(data).digest()


@given(text=st.text())
def test_words_of_a_server_do_nothing_to_a_terminal(text: str) -> None:
    """One line without control characters and of bounded length."""
    told = str(refusal(Answer(400, {}, text)))
    assert not {letter for letter in told if ord(letter) < 32 or 127 <= ord(letter) <= 160}
    assert len(told) < MOST_TEXT + 100


def test_words_of_a_server() -> None:
    """Its sentence is passed on, a page for browsers is not; Retry-After counts in seconds only."""
    assert "ERR_X: no" in str(refusal(Answer(400, {"content-type": "text/plain"}, "ERR_X: no\n")))
    assert "html" not in str(refusal(Answer(413, {"content-type": "text/html"}, "<html>")))
    assert "smaller chunks" in str(refusal(Answer(413, {})))
    assert setback(Answer(503, {"retry-after": "7"})).asked == 7.0
    assert setback(Answer(503, {"retry-after": "Wed, 25 Jun 2014 16:00:00 GMT"})).asked is None
