"""What may happen: the screen, the room under the lock, concatenation, expiry."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.given import CREATED, DEFERRED, ID, LIMITS, UNFINISHED_TOO, UPLOAD, append
from tusd_py.errors import (
    IncompleteUpload,
    InvalidConcat,
    InvalidContentType,
    InvalidOffset,
    InvalidUploadLength,
    MaxSizeExceeded,
    MismatchedOffset,
    ModifyFinal,
    TusError,
    UnsupportedVersion,
    UploadExpired,
    UploadExpiredNotFound,
    UploadFailed,
    UploadFinishing,
    UploadNotFinished,
    UploadNotFound,
    UploadSizeExceeded,
)
from tusd_py.protocol import fields, rules
from tusd_py.protocol.commands import Append, Download, Faulty, Inspect, OnUpload, Terminate
from tusd_py.protocol.limits import Limits
from tusd_py.protocol.rules import Room
from tusd_py.upload import Kind, State, Upload

FINISHED = UPLOAD.evolve(state=State.FINISHED)
FINAL = FINISHED.evolve(kind=Kind.FINAL)
PARTIAL = FINISHED.evolve(kind=Kind.PARTIAL)
GROWING = PARTIAL.evolve(state=State.RECEIVING)
SMALL = replace(LIMITS, max_size=100)
HOURLY = replace(LIMITS, expire_after=3600)
COMMANDS = (Inspect(ID), append(), Terminate(ID), Download(ID))


def screen(command: OnUpload, record: Upload | None, limits: Limits = LIMITS) -> Upload:
    return rules.screen(command, record, CREATED, CREATED, limits)


def faulty(fault: TusError, method: str = "PATCH", first: bool = False) -> Faulty:
    return Faulty(ID, method, fault, first)


@pytest.mark.rule("T1", "T14", "T21", "T96")
@pytest.mark.parametrize("command", [Inspect(ID), append(), append(body=100), append(body=0), Terminate(ID)])
def test_what_may_happen_to_a_growing_upload(command: OnUpload) -> None:
    """HEAD, PATCH and DELETE pass and get the record."""
    assert screen(command, UPLOAD) is UPLOAD


@pytest.mark.rule("T34", "T96")
@pytest.mark.parametrize("command", COMMANDS)
def test_what_may_happen_to_a_finished_upload(command: OnUpload) -> None:
    """All of it, a download and a late PATCH too."""
    assert screen(command, FINISHED) is FINISHED


def test_an_unfinished_upload_cannot_be_downloaded() -> None:
    """A download waits for the finish."""
    with pytest.raises(IncompleteUpload):
        screen(Download(ID), UPLOAD)


@pytest.mark.rule("T16", "T27", "T44", "T81", "T98")
@pytest.mark.parametrize("command", [*COMMANDS, faulty(UnsupportedVersion()), faulty(InvalidContentType(), "PATCH")])
@pytest.mark.parametrize(
    ("record", "error"),
    [
        (None, UploadNotFound),
        (UPLOAD.evolve(state=State.EXPIRED), UploadExpired),
        (UPLOAD.evolve(state=State.FAILED), UploadFailed),
    ],
)
def test_what_is_gone_is_told_first(command: OnUpload, record: Upload | None, error: type[TusError]) -> None:
    """404 or 410 comes before anything that is wrong with the request, a missing version included."""
    with pytest.raises(error):
        screen(command, record)


@pytest.mark.rule("T8", "T44")
@pytest.mark.parametrize("record", [None, UPLOAD, FINAL, UPLOAD.evolve(state=State.EXPIRED)])
def test_an_unsupported_version_is_told_before_that(record: Upload | None) -> None:
    """An unsupported version is 412 whether the upload exists or not."""
    with pytest.raises(UnsupportedVersion):
        screen(faulty(UnsupportedVersion(), first=True), record)


@pytest.mark.rule("T44", "T108", "T120")
@pytest.mark.parametrize(
    ("command", "error"),
    [
        (append(), ModifyFinal),
        (append(offset=7, length=5, body=1000), ModifyFinal),
        (faulty(InvalidContentType()), ModifyFinal),
        (faulty(InvalidOffset()), ModifyFinal),
        (faulty(UnsupportedVersion()), UnsupportedVersion),
        (faulty(UnsupportedVersion(), "HEAD"), UnsupportedVersion),
    ],
)
@pytest.mark.parametrize("state", [State.RECEIVING, State.FINISHED])
def test_a_final_upload_takes_no_bytes(command: OnUpload, error: type[TusError], state: State) -> None:
    """PATCH on a final upload is 403 at all times, before media type, syntax and offset, after a missing version."""
    with pytest.raises(error):
        screen(command, FINAL.evolve(state=state))


def test_a_fault_is_told_when_the_upload_is_there() -> None:
    """The very fault of the headers is raised."""
    fault = InvalidOffset()
    with pytest.raises(InvalidOffset) as caught:
        screen(faulty(fault), UPLOAD)
    assert caught.value is fault


@pytest.mark.rule("T78", "T81", "T82")
@pytest.mark.parametrize(
    ("state", "touched", "age", "gone"),
    [
        (State.RECEIVING, 0, 3599, False),
        (State.RECEIVING, 0, 3600, True),
        (State.RECEIVING, 1000, 4599, False),
        (State.RECEIVING, 1000, 4600, True),
        (State.RECEIVING, -5000, 3599, False),
        (State.FINISHED, 0, 10**9, False),
    ],
)
def test_expiry_slides_and_spares_the_finished(state: State, touched: float, age: float, gone: bool) -> None:
    """An unfinished upload is gone a period after its last write, sweeper or not; a finished one never is."""
    record = UPLOAD.evolve(state=state)
    if gone:
        with pytest.raises(UploadExpired):
            rules.screen(Inspect(ID), record, CREATED + touched, CREATED + age, HOURLY)
    else:
        assert rules.screen(Inspect(ID), record, CREATED + touched, CREATED + age, HOURLY) is record


@pytest.mark.rule("T81")
@pytest.mark.parametrize(("status", "error"), [(410, UploadExpired), (404, UploadExpiredNotFound)])
def test_the_status_of_the_expired_can_be_chosen(status: int, error: type[TusError]) -> None:
    """410 by the specification, 404 for clients that start again on nothing else."""
    with pytest.raises(error) as caught:
        screen(Inspect(ID), UPLOAD.evolve(state=State.EXPIRED), replace(LIMITS, expired_status=status))
    assert caught.value.status == status


@pytest.mark.rule("T78", "T79")
def test_expiry_dates() -> None:
    """Only an unfinished upload has one, a period after its creation or its last write."""
    assert rules.expires_at(UPLOAD, CREATED + 5, HOURLY) == CREATED + 3605
    assert rules.expires_at(UPLOAD, CREATED - 5, HOURLY) == CREATED + 3600
    assert rules.expires_at(UPLOAD, CREATED, LIMITS) is None
    assert rules.expires_at(FINISHED, CREATED, HOURLY) is None


@pytest.mark.rule("T31", "T32", "T66", "T67", "T68")
@pytest.mark.parametrize(
    ("command", "record", "limits", "error"),
    [
        (append(length=99), UPLOAD, LIMITS, InvalidUploadLength),
        (append(length=101), UPLOAD, LIMITS, InvalidUploadLength),
        (append(length=0), FINISHED, LIMITS, InvalidUploadLength),
        (append(offset=6, length=5), DEFERRED, LIMITS, InvalidUploadLength),
        (append(length=101), DEFERRED, SMALL, MaxSizeExceeded),
        (append(length=fields.LARGEST + 1), DEFERRED, LIMITS, MaxSizeExceeded),
    ],
)
def test_a_length_that_cannot_be(command: Append, record: Upload, limits: Limits, error: type[TusError]) -> None:
    """A length that contradicts or exceeds is refused without the lock."""
    with pytest.raises(error):
        screen(command, record, limits)
    with pytest.raises(error):
        rules.room(command, record, command.offset, limits)


@pytest.mark.rule("T24", "T44")
@pytest.mark.parametrize("command", [append(offset=50, body=60), append(offset=1000, body=1)])
def test_a_body_at_a_wrong_offset_is_judged_by_the_offset(command: Append) -> None:
    """409 comes before 413: the screen lets a body pass that does not fit at its own offset."""
    assert screen(command, UPLOAD) is UPLOAD
    with pytest.raises(MismatchedOffset) as caught:
        rules.room(command, UPLOAD, 20, LIMITS)
    assert caught.value.offset == 20


@pytest.mark.rule("T24", "T25")
@pytest.mark.parametrize("claimed", [0, 49, 51, 100, fields.LARGEST + 1])
def test_another_offset_is_told_the_true_one(claimed: int) -> None:
    """A mismatch carries the offset from which the client can go on."""
    with pytest.raises(MismatchedOffset) as caught:
        rules.room(append(offset=claimed), UPLOAD, 50, LIMITS)
    assert caught.value.offset == 50


@pytest.mark.rule("T24", "T40")
def test_who_is_behind_disturbs_nobody() -> None:
    """An append below what is stored is refused before its writer is asked to stop; any other may go on."""
    with pytest.raises(MismatchedOffset) as caught:
        rules.foresee(append(offset=49), UPLOAD, 50, LIMITS)
    assert caught.value.offset == 50
    rules.foresee(append(offset=50), UPLOAD, 50, LIMITS)
    rules.foresee(append(offset=51), UPLOAD, 50, LIMITS)


@pytest.mark.rule("T31", "T32")
@pytest.mark.parametrize(
    ("command", "record", "limits", "error"),
    [
        (append(body=101), UPLOAD, LIMITS, UploadSizeExceeded),
        (append(offset=60, body=41), UPLOAD, LIMITS, UploadSizeExceeded),
        (append(body=6, length=5), DEFERRED, LIMITS, UploadSizeExceeded),
        (append(body=101), DEFERRED, SMALL, MaxSizeExceeded),
    ],
)
def test_what_does_not_fit_disturbs_nobody(
    command: Append, record: Upload, limits: Limits, error: type[TusError]
) -> None:
    """A body that does not fit from its own offset on is refused before a writer is asked to stop."""
    with pytest.raises(error):
        rules.foresee(command, record, 0, limits)


@pytest.mark.rule("T31", "T32", "T33", "T34", "T65", "T66", "T69")
@pytest.mark.parametrize(
    ("command", "record", "limits", "room"),
    [
        (append(offset=40), UPLOAD, LIMITS, Room(60, None)),
        (append(offset=40, body=60), UPLOAD, LIMITS, Room(60, None)),
        (append(offset=40, body=0), UPLOAD, LIMITS, Room(60, None)),
        (append(offset=100, body=0), FINISHED, LIMITS, Room(0, None)),
        (append(offset=100), UPLOAD, LIMITS, Room(0, None)),
        (append(offset=40, length=100), UPLOAD, LIMITS, Room(60, None)),
        (append(offset=40, length=100), UPLOAD, replace(LIMITS, max_size=50), Room(60, None)),
        (append(offset=40), DEFERRED, LIMITS, Room(None, None)),
        (append(offset=40), DEFERRED, SMALL, Room(60, None)),
        (append(offset=40), DEFERRED, replace(LIMITS, max_size=30), Room(0, None)),
        (append(offset=40, length=50), DEFERRED, LIMITS, Room(10, 50)),
        (append(offset=40, length=40, body=0), DEFERRED, LIMITS, Room(0, 40)),
        (append(offset=0, length=0, body=0), DEFERRED, LIMITS, Room(0, 0)),
    ],
)
def test_room(command: Append, record: Upload, limits: Limits, room: Room) -> None:
    """What is left of the length, or of the maximum while the length is unknown; a length declared now counts."""
    assert rules.room(command, record, command.offset, limits) == room


@pytest.mark.rule("T31", "T32", "T34")
@pytest.mark.parametrize(
    ("command", "record", "error"),
    [
        (append(offset=40, body=61), UPLOAD, UploadSizeExceeded),
        (append(offset=100, body=1), FINISHED, UploadSizeExceeded),
        (append(offset=40, body=11, length=50), DEFERRED, UploadSizeExceeded),
        (append(offset=40, body=61), DEFERRED, MaxSizeExceeded),
    ],
)
def test_a_body_that_does_not_fit(command: Append, record: Upload, error: type[TusError]) -> None:
    """A body announced beyond the length or the maximum is refused before its first byte."""
    with pytest.raises(error):
        rules.room(command, record, command.offset, SMALL)


@pytest.mark.rule("T24", "T31", "T66", "T68")
@given(
    claimed=st.integers(0, 20),
    body=st.none() | st.integers(0, 20),
    declared=st.none() | st.integers(0, 20),
    length=st.none() | st.integers(0, 20),
    offset=st.integers(0, 20),
    most=st.none() | st.integers(0, 20),
)
def test_room_never_leads_beyond_the_end(
    claimed: int, body: int | None, declared: int | None, length: int | None, offset: int, most: int | None
) -> None:
    """An append that may go on starts at the true offset, ends within the length and changes no known length."""
    limits = replace(LIMITS, max_size=most)
    upload = UPLOAD.evolve(length=length)
    try:
        room = rules.room(append(claimed, body, declared), upload, offset, limits)
    except (MismatchedOffset, InvalidUploadLength, MaxSizeExceeded, UploadSizeExceeded):
        return
    assert claimed == offset
    assert room.length is None or (length is None and offset <= room.length == declared)
    end = next((bound for bound in (length, room.length, most) if bound is not None), None)
    assert room.bytes == (None if end is None else max(end - offset, 0))
    assert room.bytes is None or (body or 0) <= room.bytes


@pytest.mark.rule("T103", "T106", "T111", "T113", "T117")
@pytest.mark.parametrize(
    ("parts", "limits", "length"),
    [
        ([(PARTIAL, 100)], LIMITS, 100),
        ([(PARTIAL, 100), (PARTIAL.evolve(length=0), 0), (PARTIAL, 100)], LIMITS, 200),
        ([(GROWING, 5), (PARTIAL, 100)], UNFINISHED_TOO, 200),
        ([(GROWING.evolve(length=None), 5), (PARTIAL, 100)], UNFINISHED_TOO, None),
        ([(PARTIAL, 100)], SMALL, 100),
    ],
)
def test_the_length_of_a_final_upload(parts: list[tuple[Upload, int]], limits: Limits, length: int | None) -> None:
    """The lengths of the parts added up, a part given twice counting twice; unknown while one of them is."""
    assert rules.concatenated(parts, limits) == length


@pytest.mark.rule("T113", "T121", "T122")
@pytest.mark.parametrize(
    ("parts", "limits", "error"),
    [
        ([(PARTIAL, 100), (None, 0)], LIMITS, InvalidConcat),
        ([(PARTIAL.evolve(state=State.EXPIRED), 0)], UNFINISHED_TOO, InvalidConcat),
        ([(PARTIAL.evolve(state=State.FAILED), 0)], UNFINISHED_TOO, InvalidConcat),
        ([(FINISHED, 100)], LIMITS, InvalidConcat),
        ([(FINAL, 100)], LIMITS, InvalidConcat),
        ([(GROWING, 5)], LIMITS, UploadNotFinished),
        ([(GROWING.evolve(length=None), 5)], LIMITS, UploadNotFinished),
        ([(GROWING, 100)], LIMITS, UploadFinishing),
        ([(PARTIAL, 100), (PARTIAL, 100)], SMALL, MaxSizeExceeded),
        ([(GROWING.evolve(length=None), 50), (PARTIAL, 100)], replace(UNFINISHED_TOO, max_size=149), MaxSizeExceeded),
        ([(PARTIAL.evolve(length=fields.LARGEST), fields.LARGEST), (PARTIAL, 100)], LIMITS, MaxSizeExceeded),
    ],
)
def test_parts_that_cannot_be_joined(
    parts: list[tuple[Upload | None, int]], limits: Limits, error: type[TusError]
) -> None:
    """Parts exist, are partial, finished unless that is waived, and fit together under the maximum."""
    with pytest.raises(error):
        rules.concatenated(parts, limits)
