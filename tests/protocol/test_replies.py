"""Outcomes become replies."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace

import pytest

from tests.protocol.given import LIMITS, UNFINISHED_TOO, UPLOAD
from tusd_py import errors
from tusd_py.errors import ChecksumMismatch, MethodNotAllowed, MismatchedOffset, TusError, UnsupportedVersion
from tusd_py.protocol import replies
from tusd_py.protocol.replies import Reply
from tusd_py.upload import Kind, State

URL = "http://host/files/" + UPLOAD.id
LATER = 1403712000.0
DATE = "Wed, 25 Jun 2014 16:00:00 GMT"
FAILURES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, TusError)]


def fields(reply: Reply) -> dict[str, str]:
    """Its header fields; no reply carries one twice."""
    names = [name.lower() for name, _ in reply.headers]
    assert len(names) == len(set(names))
    return dict(reply.headers)


def own(reply: Reply) -> dict[str, str]:
    """Its header fields without those that every reply has."""
    found = fields(reply)
    assert (found.pop("Tus-Resumable"), found.pop("X-Content-Type-Options")) == ("1.0.0", "nosniff")
    return found


@pytest.mark.rule("T6", "T7", "T10", "T37", "T83", "T85", "T128", "T129")
def test_options() -> None:
    """OPTIONS is 200 without a body and tells versions, extensions and algorithms."""
    reply = replies.described(LIMITS)
    assert (reply.status, reply.body) == (200, b"")
    assert own(reply) == {
        "Tus-Version": "1.0.0",
        "Tus-Extension": "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination,"
        "concatenation",
        "Tus-Checksum-Algorithm": "sha1,sha256,sha512,md5,crc32",
    }


@pytest.mark.rule("T10", "T11", "T83", "T90")
def test_options_without_extensions() -> None:
    """No extension, no field; the maximum is told when there is one, 0 included."""
    bare = replace(LIMITS, extensions=())
    assert own(replies.described(bare)) == {"Tus-Version": "1.0.0"}
    assert own(replies.described(replace(bare, max_size=0)))["Tus-Max-Size"] == "0"
    assert "Tus-Checksum-Algorithm" not in own(replies.described(replace(bare, extensions=("creation",))))


@pytest.mark.rule("T6", "T52", "T73", "T74", "T79", "T80", "T110")
@pytest.mark.parametrize(
    ("offset", "expires", "more"),
    [
        (0, None, {"Upload-Offset": "0"}),
        (5, LATER, {"Upload-Offset": "5", "Upload-Expires": DATE}),
        (None, None, {}),
    ],
)
def test_created(offset: int | None, expires: float | None, more: dict[str, str]) -> None:
    """201 with Location, the offset even when it is 0, and the date of expiry."""
    reply = replies.created(URL, offset, expires)
    assert (reply.status, reply.body, own(reply)) == (201, b"", {"Location": URL, **more})


@pytest.mark.rule("T6", "T26", "T33", "T36", "T79")
def test_appended() -> None:
    """204 with the new offset, and the date of expiry while there is one."""
    assert own(replies.appended(0, None)) == {"Upload-Offset": "0"}
    reply = replies.appended(7, LATER)
    assert (reply.status, reply.body, own(reply)) == (204, b"", {"Upload-Offset": "7", "Upload-Expires": DATE})


@pytest.mark.rule("T6", "T14", "T15", "T17", "T18", "T19", "T51", "T58", "T64", "T79", "T109", "T112")
@pytest.mark.parametrize(
    ("changes", "offset", "expires", "more"),
    [
        ({}, 0, None, {"Upload-Offset": "0", "Upload-Length": "100"}),
        ({"length": None}, 5, None, {"Upload-Offset": "5", "Upload-Defer-Length": "1"}),
        ({"length": 0, "state": State.FINISHED}, 0, None, {"Upload-Offset": "0", "Upload-Length": "0"}),
        (
            {"metadata": "b ,a dmFs", "kind": Kind.PARTIAL, "concat": "partial"},
            7,
            LATER,
            {
                "Upload-Offset": "7",
                "Upload-Length": "100",
                "Upload-Metadata": "b ,a dmFs",
                "Upload-Concat": "partial",
                "Upload-Expires": DATE,
            },
        ),
    ],
)
def test_inspected(changes: dict[str, object], offset: int, expires: float | None, more: dict[str, str]) -> None:
    """200, never from a cache, with offset, length or its absence, and what the client sent as it sent it."""
    reply = replies.inspected(UPLOAD.evolve(**changes), offset, expires, LIMITS)  # type: ignore[arg-type]  # a table
    assert (reply.status, reply.body, own(reply)) == (200, b"", {"Cache-Control": "no-store", **more})


@pytest.mark.rule("T110", "T111", "T112", "T119")
def test_a_final_upload_inspected() -> None:
    """Its offset is shown when it is joined, before that only if unfinished concatenation is announced."""
    final = UPLOAD.evolve(kind=Kind.FINAL, concat=f"final; {URL}", length=None)
    joined = final.evolve(length=100, state=State.FINISHED)
    told = {"Cache-Control": "no-store", "Upload-Concat": f"final; {URL}"}
    assert own(replies.inspected(final, 5, None, LIMITS)) == {**told, "Upload-Defer-Length": "1"}
    growing = replies.inspected(final, 5, None, UNFINISHED_TOO)
    assert own(growing) == {**told, "Upload-Defer-Length": "1", "Upload-Offset": "5"}
    assert own(replies.inspected(joined, 100, None, LIMITS)) == {**told, "Upload-Offset": "100", "Upload-Length": "100"}


@pytest.mark.rule("T6", "T96")
def test_terminated() -> None:
    """204 and nothing else."""
    reply = replies.terminated()
    assert (reply.status, reply.body, own(reply)) == (204, b"", {})


@pytest.mark.rule("T5", "T6", "T18")
@pytest.mark.parametrize("kind", FAILURES, ids=lambda kind: kind.code)
def test_every_failure(kind: type[TusError]) -> None:
    """A failure is its status and `CODE: sentence`, never from a cache; HEAD gets no body."""
    reply = replies.failed(kind(), head=False, problem=False)
    assert (reply.status, reply.body) == (kind.status, f"{kind.code}: {kind.sentence()}\n".encode())
    assert fields(reply)["Tus-Resumable"] == "1.0.0"
    assert fields(reply)["Cache-Control"] == "no-store"
    assert fields(reply)["Content-Type"] == "text/plain; charset=utf-8"
    head = replies.failed(kind(), head=True, problem=False)
    assert head.body == b""
    assert "Content-Type" not in fields(head)


@pytest.mark.rule("T8", "T16", "T24", "T25")
def test_what_a_failure_carries() -> None:
    """Offset and Location only where they are the truth; Tus-Version, Allow and Retry-After with their statuses."""
    told = {"Cache-Control": "no-store"}
    assert own(replies.failed(MismatchedOffset(offset=0), True, False)) == {**told, "Upload-Offset": "0"}
    assert own(replies.failed(MismatchedOffset(), True, False)) == told
    assert own(replies.failed(UnsupportedVersion(), True, False)) == {**told, "Tus-Version": "1.0.0"}
    assert own(replies.failed(MethodNotAllowed(allow="HEAD"), True, False)) == {**told, "Allow": "HEAD"}
    assert own(replies.failed(errors.UploadLocked(), True, False)) == {**told, "Retry-After": "1"}
    kept = errors.StorageFull(offset=5)
    kept.location = URL
    reply = replies.failed(kept, True, False)
    assert own(reply) == {**told, "Upload-Offset": "5", "Location": URL, "Retry-After": "60"}


@pytest.mark.rule("T47")
def test_problem_details() -> None:
    """On request the body is RFC 9457: the phrase of the status as title, our code beside it."""
    reply = replies.failed(ChecksumMismatch(), head=False, problem=True)
    assert fields(reply)["Content-Type"] == "application/problem+json"
    assert json.loads(reply.body) == {
        "type": "about:blank",
        "title": "Checksum Mismatch",
        "status": 460,
        "code": "ERR_CHECKSUM_MISMATCH",
        "detail": ChecksumMismatch.sentence(),
    }


@pytest.mark.parametrize("problem", [True, False])
def test_a_detail_with_any_text_can_be_sent(problem: bool) -> None:
    """A reason from a hook may hold whatever it likes, even half a character."""
    body = replies.failed(errors.UploadStopped("nö \udce4"), head=False, problem=problem).body
    assert body.decode("utf-8")


@pytest.mark.rule("T29", "T42")
def test_endings_in_mid_body_close_the_connection() -> None:
    """Where the rest of a body is not read the connection cannot go on; an ordinary refusal leaves it open."""
    assert replies.failed(errors.ReadTimeout(), False, False).close
    assert replies.failed(errors.UploadInterrupted(), False, False).close
    assert not replies.failed(MismatchedOffset(), False, False).close


@pytest.mark.rule("T16", "T41")
@pytest.mark.parametrize("kind", FAILURES, ids=lambda kind: kind.code)
def test_head_never_says_5xx(kind: type[TusError]) -> None:
    """On HEAD every 5xx is a lock that passes, so that no client forgets its upload; all else stays what it is."""
    error = kind()
    told = replies.head_failure(error)
    assert told.status < 500
    assert told is error or (told.status, told.retry_after, error.status >= 500) == (423, 5, True)
