"""The course of an upload against servers that lose, forget and refuse, without any of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.client.answers import Answer, Setback
from tusd_py.client.course import Course
from tusd_py.client.failures import Misanswered, Refused
from tusd_py.client.steps import Append, Ask, Create, Done, More

ENDPOINT = "http://there/files/"
SETBACKS = st.sampled_from([409, 423, 429, 460, 500, 502, 503, 504, 507])


def answer(status: int, text: str = "", **fields: object) -> Answer:
    return Answer(status, {name.replace("_", "-"): str(value) for name, value in fields.items()}, text)


def placed(course: Course, offset: int = 0) -> Course:
    """Through the creation."""
    step = course.next()
    assert isinstance(step, Create)
    assert course.heard(step, answer(201, location="a", upload_offset=offset)) is None
    return course


@given(
    data=st.binary(max_size=60),
    chunk=st.none() | st.integers(1, 70),
    pieces=st.none() | st.integers(1, 20),
    small=st.integers(0, 30),
    trouble=st.lists(st.tuples(st.sampled_from(["lose", "cut", "forget", "refuse"]), st.integers(0, 70), SETBACKS)),
)
def test_all_bytes_arrive_once(
    data: bytes, chunk: int | None, pieces: int | None, small: int, trouble: list[tuple[str, int, int]]
) -> None:
    """Whatever is cut, lost, forgotten or refused on the way, the upload ends with just these bytes."""
    stream = pieces is not None
    end = 0 if stream else len(data)
    course = Course(
        ENDPOINT,
        end,
        None if stream else end,
        chunk=chunk,
        with_creation=0 if stream else small,
        may_restart=not stream,
    )
    kept, there, declared = bytearray(), False, not stream
    while not isinstance(step := course.next(), Done):
        if isinstance(step, More):
            end = min(end + (pieces or 0), len(data))
            course.extend(end, end == len(data))
            continue
        what, number, status = trouble.pop() if trouble else ("", 0, 0)
        if what == "refuse":
            assert isinstance(course.heard(step, answer(status)), Setback)
            continue
        if what == "forget" and there and not stream:
            kept, there = bytearray(), False
        if isinstance(step, Create):
            kept, there = bytearray(data[: step.size]), True
            heard = answer(201, location="/files/a", upload_offset=len(kept))
        elif not there:
            heard = answer(404)
            if isinstance(step, Append):
                with pytest.raises(Refused):
                    course.heard(step, heard)
                return
        elif isinstance(step, Ask):
            length = {"upload_length": len(data)} if declared else {"upload_defer_length": 1}
            heard = answer(200, upload_offset=len(kept), **length)
        else:
            assert step.offset == len(kept)
            kept += data[step.offset : step.offset + (number if what == "cut" else step.size)][: step.size]
            declared = declared or step.declares == len(data)
            heard = answer(204, upload_offset=len(kept))
        if what in {"lose", "cut"}:
            course.lost()
            continue
        course.heard(step, heard)
    assert bytes(kept) == data
    assert declared


def test_after_any_failure_the_server_is_asked() -> None:
    """Nothing is sent before HEAD has told the offset (T20)."""
    course = placed(Course(ENDPOINT, 10, 10))
    step = course.next()
    assert step == Append("http://there/files/a", 0, 10)
    assert course.heard(step, answer(423, retry_after=3)) == Setback("the server answered 423", 3.0)
    assert course.next() == Ask("http://there/files/a")
    assert course.heard(Ask("http://there/files/a"), answer(200, upload_offset=4, upload_length=10)) is None
    assert course.next() == Append("http://there/files/a", 4, 6)


def test_an_adopted_upload_that_is_gone_starts_again_without_a_pause() -> None:
    """What an earlier run left may have expired: no failure; when it vanishes in mid-run it is one."""
    course = Course(ENDPOINT, 10, 10, url="http://there/files/old")
    step = course.next()
    assert isinstance(step, Ask)
    assert course.heard(step, answer(410)) is None
    placed(course).lost()
    step = course.next()
    assert isinstance(step, Ask)
    assert course.heard(step, answer(404)) is not None
    assert course.next() == Create(10)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_head_that_fails_throws_no_progress_away(status: int) -> None:
    """Only 404 and 410 mean that an upload is gone."""
    course = Course(ENDPOINT, 10, 10, url="http://there/files/old")
    step = course.next()
    assert isinstance(step, Ask)
    if status in {401, 403}:
        with pytest.raises(Refused):
            course.heard(step, answer(status))
    else:
        assert course.heard(step, answer(status)) is not None
    assert course.next() == step


def test_a_stream_cannot_start_again() -> None:
    """The bytes of a stream are gone, so an upload that is gone is the end."""
    course = placed(Course(ENDPOINT, 5, None, may_restart=False))
    course.lost()
    step = course.next()
    assert isinstance(step, Ask)
    with pytest.raises(Refused):
        course.heard(step, answer(404))


@pytest.mark.parametrize(
    ("fields", "word"),
    [({"upload_offset": 11}, "acknowledged"), ({"upload_offset": -1}, None), ({}, None), ({"upload_offset": 0}, None)],
)
def test_an_acknowledgement_that_cannot_be(fields: dict[str, int], word: str | None) -> None:
    """More than was sent is fatal; none, or nothing kept, is a failure after which the server is asked."""
    course = placed(Course(ENDPOINT, 20, 20, chunk=10))
    step = course.next()
    assert isinstance(step, Append)
    if word:
        with pytest.raises(Misanswered, match=word):
            course.heard(step, answer(204, **fields))
    else:
        assert course.heard(step, answer(204, **fields)) is not None
        assert isinstance(course.next(), Ask)


@pytest.mark.parametrize("fields", [{}, {"upload_offset": 11}, {"upload_offset": 1, "upload_length": 9}])
def test_an_upload_that_is_not_ours(fields: dict[str, int]) -> None:
    """Without an offset, with more bytes than there are or another length, nothing is sent."""
    course = Course(ENDPOINT, 10, 10, url="http://there/files/old")
    step = course.next()
    assert isinstance(step, Ask)
    with pytest.raises(Misanswered):
        course.heard(step, answer(200, **fields))


def test_where_an_upload_is() -> None:
    """Location may be relative, must be there, and must not lead out of encryption."""
    for location, url in (("a", "https://there/files/a"), ("/b", "https://there/b"), ("https://x/c", "https://x/c")):
        course = Course("https://there/files/", 1, 1)
        assert course.heard(Create(1), answer(201, location=location)) is None
        assert course.url == url
    with pytest.raises(Refused, match="public URL"):
        Course("https://there/files/", 1, 1).heard(Create(1), answer(201, location="http://there/files/a"))
    with pytest.raises(Misanswered, match="did not say where"):
        Course(ENDPOINT, 1, 1).heard(Create(1), answer(201))


def test_a_redirect_is_told() -> None:
    """3xx is followed by nobody; the URL is told instead (T48)."""
    with pytest.raises(Refused, match="https://there/files/"):
        Course(ENDPOINT, 1, 1).heard(Create(1), answer(301, location="https://there/files/"))
