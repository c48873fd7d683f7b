"""Requests on the creation URL: what they ask for, and what is wrong with them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.protocol.given import CHUNK, ID, LIMITS, OTHER_ID, parse, post, tus_headers, without
from tusd_py.errors import (
    AmbiguousUploadLength,
    BadRequest,
    ConcatenationUnsupported,
    DuplicateHeader,
    InvalidChecksum,
    InvalidConcat,
    InvalidContentType,
    InvalidDeferLength,
    InvalidMetadata,
    InvalidUploadLength,
    MaxSizeExceeded,
    MethodNotAllowed,
    ModifyFinal,
    NotImplementedHere,
    TusError,
    UnsupportedChecksum,
    UnsupportedVersion,
    UploadSizeExceeded,
)
from tusd_py.protocol import fields, rules, tus
from tusd_py.protocol.commands import Checksum, Concatenate, Create, Describe
from tusd_py.protocol.limits import Limits

SMALL = replace(LIMITS, max_size=100)
FINAL = f"final;/files/{ID} https://host/files/{OTHER_ID}"


def created(length: int | None, body: int | None = 0, **rest: object) -> Create:
    empty = {"metadata": None, "partial": False, "concat": None, "checksum": None}
    return Create(length=length, body=body, **(empty | rest))  # type: ignore[arg-type]  # a table's worth of keywords


@pytest.mark.rule("T50", "T51", "T62", "T71", "T74", "T76", "T88", "T101")
@pytest.mark.parametrize(
    ("headers", "command"),
    [
        ({"upload_length": "5"}, created(5)),
        ({"upload_length": "0"}, created(0)),
        ({"upload_length": "1125899906842624"}, created(1 << 50)),
        ({"upload_length": "5", "content_type": "application/x-www-form-urlencoded"}, created(5)),
        ({"upload_length": "5", "content_length": "0", "content_type": "text/plain"}, created(5)),
        ({"upload_defer_length": "1"}, created(None)),
        ({"upload_length": "5", "content_type": CHUNK, "content_length": "5"}, created(5, 5)),
        ({"upload_length": "5", "content_type": CHUNK, "transfer_encoding": "chunked"}, created(5, None)),
        ({"upload_defer_length": "1", "content_type": CHUNK, "content_length": "5"}, created(None, 5)),
        ({"upload_length": "5", "upload_metadata": "a dmFs,b"}, created(5, metadata="a dmFs,b")),
        ({"upload_length": "5", "upload_concat": "partial"}, created(5, partial=True, concat="partial")),
        ({"upload_length": "5", "upload_checksum": "md5 AAAA"}, created(5, checksum=Checksum("md5", bytes(3)))),
        ({"upload_length": "5", "upload_tag": "x", "upload_complete": "?1", "cookie": "y"}, created(5)),
    ],
)
def test_creations(headers: dict[str, str], command: Create) -> None:
    """A POST says length, metadata, kind and perhaps its first bytes; unknown fields are ignored."""
    assert post(**headers) == command


@pytest.mark.rule("T8", "T9", "T50", "T57", "T63", "T72", "T75", "T84", "T86")
@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"tus_resumable": None, "upload_length": "5"}, UnsupportedVersion),
        ({"tus_resumable": "0.2.1", "upload_length": "5"}, UnsupportedVersion),
        ({"tus_resumable": "1.0.0 ", "upload_length": "5"}, UnsupportedVersion),
        ({}, InvalidUploadLength),
        ({"upload_length": ""}, InvalidUploadLength),
        ({"upload_length": "-1"}, InvalidUploadLength),
        ({"upload_length": "1.5"}, InvalidUploadLength),
        ({"upload_length": "5", "upload_defer_length": "1"}, AmbiguousUploadLength),
        ({"upload_defer_length": "0"}, InvalidDeferLength),
        ({"upload_defer_length": "+1"}, InvalidDeferLength),
        ({"upload_defer_length": "hello"}, InvalidDeferLength),
        ({"upload_length": "5", "upload_metadata": "a dmFs,a dmFs"}, InvalidMetadata),
        ({"upload_length": "5", "content_length": "5"}, InvalidContentType),
        ({"upload_length": "5", "content_length": "5", "content_type": "text/plain"}, InvalidContentType),
        ({"upload_length": "5", "transfer_encoding": "chunked"}, InvalidContentType),
        ({"upload_length": "5", "content_length": "x"}, BadRequest),
        ({"upload_length": "5", "content_length": "6", "content_type": CHUNK}, UploadSizeExceeded),
        ({"upload_length": "0", "content_length": "1", "content_type": CHUNK}, UploadSizeExceeded),
        ({"upload_length": "9" * 19}, MaxSizeExceeded),
        ({"upload_length": "9" * 40}, MaxSizeExceeded),
        ({"upload_length": "5", "upload_checksum": "sha3 AAAA"}, UnsupportedChecksum),
        ({"upload_length": "5", "upload_checksum": "sha1 !"}, InvalidChecksum),
        ({"upload_length": "5", "upload_concat": "Partial"}, InvalidConcat),
        ({"upload_length": "5", "upload_concat": ""}, InvalidConcat),
    ],
)
def test_faults_of_a_creation(headers: dict[str, str | None], error: type[TusError]) -> None:
    """A creation that cannot succeed is refused before anything exists."""
    with pytest.raises(error):
        post(**headers)


@pytest.mark.rule("T53", "T71", "T76")
@pytest.mark.parametrize(
    "headers",
    [
        {"upload_length": "101"},
        {"upload_length": "101", "content_type": CHUNK, "content_length": "1"},
        {"upload_defer_length": "1", "content_type": CHUNK, "content_length": "101"},
    ],
)
def test_a_creation_above_the_maximum(headers: dict[str, str]) -> None:
    """A length, or a body of an upload without one, that is above the maximum is refused at once."""
    with pytest.raises(MaxSizeExceeded):
        post(SMALL, **headers)


@pytest.mark.rule("T53", "T71")
@pytest.mark.parametrize(
    ("limits", "headers", "room"),
    [
        (SMALL, {"upload_length": "100"}, 100),
        (SMALL, {"upload_defer_length": "1"}, 100),
        (LIMITS, {"upload_defer_length": "1"}, None),
        (LIMITS, {"upload_length": "0"}, 0),
    ],
)
def test_room_of_a_creation(limits: Limits, headers: dict[str, str], room: int | None) -> None:
    """A creation may store its length, or as much as is allowed while that is unknown."""
    command = post(limits, **headers)
    assert isinstance(command, Create)
    assert rules.creation_room(command, limits) == room


@pytest.mark.rule("T62", "T90", "T130")
@pytest.mark.parametrize(
    ("extension", "headers", "error"),
    [
        ("creation-defer-length", {"upload_defer_length": "1"}, NotImplementedHere),
        (
            "creation-with-upload",
            {"upload_length": "5", "content_length": "1", "content_type": CHUNK},
            NotImplementedHere,
        ),
        ("checksum", {"upload_length": "5", "upload_checksum": "sha1 AAAA"}, UnsupportedChecksum),
        ("concatenation", {"upload_length": "5", "upload_concat": "partial"}, ConcatenationUnsupported),
        ("concatenation", {"upload_concat": FINAL}, ConcatenationUnsupported),
    ],
)
def test_an_extension_that_is_off_is_refused(extension: str, headers: dict[str, str], error: type[TusError]) -> None:
    """What is switched off is answered as unsupported, never ignored."""
    with pytest.raises(error):
        post(without(extension), **headers)


@pytest.mark.rule("T57")
def test_metadata_above_the_limit_names_the_limit() -> None:
    """Metadata that is too long is refused, and the answer says how much is taken."""
    with pytest.raises(InvalidMetadata, match="at most 10 "):
        post(replace(LIMITS, max_metadata=10), upload_length="5", upload_metadata="a dmFsdmFs,b")


@pytest.mark.rule("T4")
@pytest.mark.parametrize(
    "name", ["Tus-Resumable", "Upload-Length", "Upload-Metadata", "upload-concat", "UPLOAD-CHECKSUM"]
)
def test_a_field_that_occurs_twice(name: str) -> None:
    """A field that may occur once is refused when it occurs twice, in whatever spelling."""
    repeated = [(name, "1.0.0"), (name.swapcase(), "1.0.0")]
    with pytest.raises(DuplicateHeader, match=name.lower()):
        parse("POST", None, [("Tus-Resumable", "1.0.0"), *repeated], LIMITS)


def test_fields_that_may_occur_twice() -> None:
    """Transfer-Encoding is a list and may have several lines, and unknown fields are nobody's business."""
    headers = [
        *tus_headers(upload_length="5", content_type=CHUNK),
        *[("Transfer-Encoding", "chunked"), ("X-A", "b")] * 2,
    ]
    assert parse("POST", None, headers, LIMITS) == created(5, None)


@pytest.mark.rule("T102", "T105", "T112")
def test_a_concatenation() -> None:
    """A final POST names its parts in order, and keeps the field as it came and its own metadata."""
    command = post(upload_concat=FINAL, upload_metadata="a dmFs", content_length="0", content_type="text/plain")
    assert command == Concatenate((ID, OTHER_ID), "a dmFs", FINAL)


@pytest.mark.rule("T4", "T57", "T104", "T113")
@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"upload_concat": FINAL, "upload_length": "5"}, InvalidUploadLength),
        ({"upload_concat": FINAL, "upload_defer_length": "1"}, InvalidUploadLength),
        ({"upload_concat": FINAL, "content_length": "5", "content_type": CHUNK}, ModifyFinal),
        ({"upload_concat": FINAL, "transfer_encoding": "chunked"}, ModifyFinal),
        ({"upload_concat": FINAL, "upload_metadata": "a,,b"}, InvalidMetadata),
        ({"upload_concat": "final;"}, InvalidConcat),
        ({"upload_concat": f"final;/files/{ID} /elsewhere/{ID}"}, InvalidConcat),
        ({"upload_concat": "final;" + " ".join([f"/files/{ID}"] * 4)}, InvalidConcat),
        ({"upload_concat": f"final;/{'x' * 200}/files/{ID}"}, InvalidConcat),
    ],
)
def test_faults_of_a_concatenation(headers: dict[str, str], error: type[TusError]) -> None:
    """A final POST has no length and no body, and lists a bounded number of uploads of this server."""
    with pytest.raises(error):
        post(replace(LIMITS, max_partials=3, max_concat=200), **headers)


@pytest.mark.rule("T44")
def test_the_order_of_faults() -> None:
    """Version before media type before syntax before checksum before size."""
    wrong = {
        "tus_resumable": "2.0.0",
        "content_type": "text/plain",
        "upload_length": "x",
        "upload_checksum": "sha3 x",
        "content_length": "10",
    }
    mended = {"tus_resumable": "1.0.0", "content_type": CHUNK, "upload_length": "5", "upload_checksum": "sha1 AAAA"}
    seen = []
    for name, value in [*mended.items(), ("content_length", "5")]:
        with pytest.raises(TusError) as caught:
            post(**wrong)
        seen.append(type(caught.value))
        wrong[name] = value
    assert seen == [
        UnsupportedVersion,
        InvalidContentType,
        InvalidUploadLength,
        UnsupportedChecksum,
        UploadSizeExceeded,
    ]
    assert post(**wrong) == created(5, 5, checksum=Checksum("sha1", bytes(3)))


@pytest.mark.rule("T38")
@pytest.mark.parametrize("version", [None, "1.0.0", "0.2.1"])
def test_options_ignores_the_version(version: str | None) -> None:
    """OPTIONS on either URL asks what the server can do, whatever its Tus-Resumable."""
    headers = tus_headers(tus_resumable=version)
    assert parse("OPTIONS", None, headers, LIMITS) == parse("OPTIONS", ID, headers, LIMITS) == Describe()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE", "PUT", "post"])
def test_other_methods_on_the_creation_url(method: str) -> None:
    """The creation URL takes POST and OPTIONS, and says so."""
    with pytest.raises(MethodNotAllowed) as caught:
        parse(method, None, tus_headers(), LIMITS)
    assert caught.value.allow == "POST, OPTIONS"


@pytest.mark.rule("T12", "T13")
@pytest.mark.parametrize(
    ("method", "override", "effective"),
    [
        ("POST", "PATCH", "PATCH"),
        ("POST", "delete", "DELETE"),
        ("GET", "OPTIONS", "OPTIONS"),
        ("GET", "HEAD", "HEAD"),
        ("PATCH", None, "PATCH"),
        ("PUT", None, "PUT"),
    ],
)
def test_the_override_is_the_method(method: str, override: str | None, effective: str) -> None:
    """X-HTTP-Method-Override counts in place of the real method, in any case."""
    assert tus.effective_method(method, override) == effective


@pytest.mark.rule("T13")
@pytest.mark.parametrize("override", ["", "PUT", "PATCH, POST", "FOO"])
def test_an_unknown_override(override: str) -> None:
    """A method nobody knows is not allowed, and the answer lists those that are."""
    with pytest.raises(MethodNotAllowed) as caught:
        tus.effective_method("POST", override)
    assert "PATCH" in caught.value.allow


def test_sizes_fit_the_records() -> None:
    """The largest length that is taken is the largest that can be stored."""
    assert post(upload_length=str(fields.LARGEST)) == created(fields.LARGEST)


@pytest.mark.rule("T57")
def test_an_empty_field_is_no_metadata() -> None:
    """tuspy sends an empty Upload-Metadata where it has none."""
    command = post(upload_length="5", upload_metadata="")

    assert isinstance(command, Create)
    assert command.metadata is None
