"""Requests on an upload's URL: what they ask for, and what is wrong with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.given import CHUNK, ID, LIMITS, parse, patch, tus_headers, without
from tusd_py.errors import (
    BadRequest,
    DuplicateHeader,
    InvalidChecksum,
    InvalidContentType,
    InvalidOffset,
    InvalidUploadLength,
    MethodNotAllowed,
    TusError,
    UnsupportedChecksum,
    UnsupportedVersion,
)
from tusd_py.protocol import fields
from tusd_py.protocol.commands import Append, Checksum, Command, Download, Faulty, Inspect, Terminate
from tusd_py.protocol.limits import Limits

TEXT = st.text(st.characters(max_codepoint=0x2FF) | st.sampled_from("\udce4"))
NAMES = st.sampled_from(
    ("Tus-Resumable", "upload-offset", "Upload-Length", "UPLOAD-CHECKSUM", "Content-Type", "Content-Length", "X-Other")
)


@pytest.mark.rule("T14", "T96", "T115")
@pytest.mark.parametrize(
    ("method", "headers", "command"),
    [
        ("HEAD", tus_headers(), Inspect(ID)),
        ("HEAD", [("host", "x"), ("TUS-RESUMABLE", "1.0.0")], Inspect(ID)),
        ("HEAD", tus_headers(upload_concat="partial", upload_offset="x"), Inspect(ID)),
        ("DELETE", tus_headers(), Terminate(ID)),
        ("GET", [], Download(ID)),
    ],
)
def test_requests_without_a_body(method: str, headers: list[tuple[str, str]], command: Command) -> None:
    """HEAD and DELETE need the version only, GET not even that; other fields are not looked at."""
    assert parse(method, ID, headers, LIMITS) == command


@pytest.mark.rule("T21", "T22", "T30", "T65", "T86", "T115")
@pytest.mark.parametrize(
    ("headers", "command"),
    [
        ({}, Append(ID, 0, None, None, 0)),
        ({"upload_offset": "7", "content_length": "3"}, Append(ID, 7, None, None, 3)),
        ({"transfer_encoding": "chunked"}, Append(ID, 0, None, None, None)),
        ({"content_type": CHUNK.upper() + ";a=b"}, Append(ID, 0, None, None, 0)),
        ({"upload_length": "9"}, Append(ID, 0, 9, None, 0)),
        ({"upload_checksum": "crc32 AAAAAA=="}, Append(ID, 0, None, Checksum("crc32", bytes(4)), 0)),
        ({"upload_concat": "partial", "upload_metadata": "??"}, Append(ID, 0, None, None, 0)),
        ({"upload_offset": "9" * 30}, Append(ID, fields.LARGEST + 1, None, None, 0)),
    ],
)
def test_appends(headers: dict[str, str], command: Append) -> None:
    """A PATCH says its offset and perhaps a length and a checksum; fields of a creation are ignored."""
    assert patch(**headers) == command


@pytest.mark.rule("T2", "T8", "T9", "T22", "T23", "T84", "T86")
@pytest.mark.parametrize(
    ("headers", "error", "first"),
    [
        ({"tus_resumable": "0.2.1"}, UnsupportedVersion, True),
        ({"tus_resumable": None}, UnsupportedVersion, False),
        ({"content_type": None}, InvalidContentType, False),
        ({"content_type": "application/octet-stream"}, InvalidContentType, False),
        ({"upload_offset": None}, InvalidOffset, False),
        ({"upload_offset": "-1"}, InvalidOffset, False),
        ({"upload_offset": "01"}, InvalidOffset, False),
        ({"upload_length": "x"}, InvalidUploadLength, False),
        ({"content_length": "+5"}, BadRequest, False),
        ({"upload_checksum": "sha3 AAAA"}, UnsupportedChecksum, False),
        ({"upload_checksum": "sha1 A"}, InvalidChecksum, False),
    ],
)
def test_a_faulty_append_is_a_command_too(headers: dict[str, str | None], error: type[TusError], first: bool) -> None:
    """A fault in the headers waits until the upload has been looked up, unless the version is unsupported."""
    command = patch(**headers)
    assert isinstance(command, Faulty)
    assert (type(command.fault), command.first, command.method) == (error, first, "PATCH")


@pytest.mark.rule("T8", "T9", "T98")
@pytest.mark.parametrize("method", ["HEAD", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    ("versions", "error", "first"),
    [
        ([], UnsupportedVersion, False),
        (["1.0.1"], UnsupportedVersion, True),
        (["1.0.1", "1.0.0"], UnsupportedVersion, True),
        (["1.0.0", "1.0.0"], DuplicateHeader, False),
    ],
)
def test_the_version_is_needed(method: str, versions: list[str], error: type[TusError], first: bool) -> None:
    """HEAD, PATCH and DELETE without one supported version are faulty."""
    headers = [*tus_headers(tus_resumable=None, content_type=CHUNK), *(("tus-Resumable", value) for value in versions)]
    command = parse(method, ID, headers, LIMITS)
    assert isinstance(command, Faulty)
    assert (command.id, command.method, type(command.fault), command.first) == (ID, method, error, first)


@pytest.mark.rule("T4")
def test_a_field_that_occurs_twice() -> None:
    """Two lines of Upload-Offset are refused, not chosen from."""
    headers = [*tus_headers(upload_offset="0", content_type=CHUNK), ("upload-offset", "5")]
    command = parse("PATCH", ID, headers, LIMITS)
    assert isinstance(command, Faulty)
    assert isinstance(command.fault, DuplicateHeader)


@pytest.mark.rule("T90", "T130")
def test_a_checksum_while_checksums_are_off() -> None:
    """A checksum that nobody would verify is refused, not ignored."""
    command = patch(without("checksum"), upload_checksum="sha1 AAAA")
    assert isinstance(command, Faulty)
    assert isinstance(command.fault, UnsupportedChecksum)


@pytest.mark.rule("T44")
def test_the_order_of_faults() -> None:
    """Version before media type before syntax before checksum algorithm."""
    headers: dict[str, str | None] = {
        "tus_resumable": None,
        "content_type": "text/plain",
        "upload_offset": "x",
        "upload_checksum": "sha3 x",
    }
    seen = []
    for name, value in (("tus_resumable", "1.0.0"), ("content_type", CHUNK), ("upload_offset", "0")):
        command = patch(**headers)
        assert isinstance(command, Faulty)
        seen.append(type(command.fault))
        headers[name] = value
    last = patch(**headers)
    assert isinstance(last, Faulty)
    assert [*seen, type(last.fault)] == [UnsupportedVersion, InvalidContentType, InvalidOffset, UnsupportedChecksum]


@pytest.mark.rule("T130")
@pytest.mark.parametrize(
    ("limits", "method", "allow"),
    [
        (LIMITS, "POST", "HEAD, PATCH, DELETE, GET, OPTIONS"),
        (LIMITS, "PUT", "HEAD, PATCH, DELETE, GET, OPTIONS"),
        (without("termination"), "DELETE", "HEAD, PATCH, GET, OPTIONS"),
        (replace(LIMITS, downloads=False), "GET", "HEAD, PATCH, DELETE, OPTIONS"),
    ],
)
def test_methods_that_are_not_allowed(limits: Limits, method: str, allow: str) -> None:
    """A method that is unknown or switched off is 405 with those that are on."""
    with pytest.raises(MethodNotAllowed) as caught:
        parse(method, ID, tus_headers(), limits)
    assert caught.value.allow == allow


@pytest.mark.rule("T44")
@given(st.sampled_from(["HEAD", "PATCH", "DELETE", "GET", "OPTIONS"]), st.lists(st.tuples(NAMES, TEXT)))
def test_no_header_makes_a_request_on_an_upload_raise(method: str, headers: list[tuple[str, str]]) -> None:
    """Whatever stands in the headers, the request becomes a command, so that the upload is looked up first."""
    assert isinstance(parse(method, ID, headers, LIMITS), Command)


@pytest.mark.rule("T8", "T9")
def test_a_download_needs_no_version_but_a_known_one() -> None:
    """GET may come without Tus-Resumable; one that names another version is refused."""
    command = parse("GET", ID, tus_headers(tus_resumable="9"), LIMITS)

    assert isinstance(command, Faulty)
    assert (type(command.fault), command.first) == (UnsupportedVersion, True)
