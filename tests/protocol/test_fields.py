"""Header fields: text <-> values."""

from __future__ import annotations

from email.utils import formatdate
from hashlib import sha1

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.protocol.given import ID, OTHER_ID
from tusd_py.errors import InvalidChecksum, InvalidConcat, InvalidMetadata, UnsupportedChecksum
from tusd_py.protocol import fields
from tusd_py.protocol.commands import Checksum

KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1)
NOT_NUMBERS = (
    "",
    "hello",
    "0100",
    "00",
    "1.3",
    "-0",
    "+0",
    "-1",
    "+5",
    "NaN",
    "+Infinity",
    "5_0",
    " 5",
    "5 ",
    "5\n",
    "٣",
    "²",
    "0x1",
)


@pytest.mark.rule("T2")
@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_what_int_would_take_is_no_number(text: str) -> None:
    """Signs, spaces, underscores, leading zeros and other alphabets are no numbers."""
    assert fields.whole_number(text) is None


@pytest.mark.rule("T2", "T3")
@given(st.integers(0, fields.LARGEST))
@example(1 << 50)
@example(fields.LARGEST)
def test_numbers_are_exact_up_to_what_can_be_stored(number: int) -> None:
    """Every size that the records can hold is read as it is written."""
    assert fields.whole_number(str(number)) == number


@pytest.mark.rule("T3")
@pytest.mark.parametrize("text", [str(fields.LARGEST + 1), "9" * 19, "1" + "0" * 19, "9" * 20, "1" * 9999])
def test_a_number_too_large_to_store_is_a_size_problem(text: str) -> None:
    """More digits than can be stored are still a number, just above the largest."""
    assert fields.whole_number(text) == fields.LARGEST + 1


@given(st.text())
def test_reading_a_number_never_raises(text: str) -> None:
    """Any text is a number or None, and a number is plain ASCII digits."""
    number = fields.whole_number(text)
    assert (number is None) or (text.isascii() and text.isdigit())


@pytest.mark.rule("T22", "T72")
@pytest.mark.parametrize(
    ("content_type", "is_chunk"),
    [
        ("application/offset+octet-stream", True),
        ("Application/Offset+Octet-Stream", True),
        ("application/offset+octet-stream; charset=utf-8", True),
        ("application/offset+octet-stream ;charset=utf-8", True),
        ("application/octet-stream", False),
        ("application/offset+octet-streams", False),
        ("", False),
        (None, False),
    ],
)
def test_the_media_type_of_a_chunk(content_type: str | None, is_chunk: bool) -> None:
    """Type and subtype count in any case, parameters do not."""
    assert fields.labels_chunk(content_type) is is_chunk


@pytest.mark.rule("T56", "T57", "T58")
@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ("filename d29ybGQ=", {"filename": b"world"}),
        ("emptykey", {"emptykey": b""}),
        ("emptykey ,a dmFs", {"emptykey": b"", "a": b"val"}),
        ("a dmFs,emptykey", {"a": b"val", "emptykey": b""}),
        ("constructor dmFs,__proto__ dmFs", {"constructor": b"val", "__proto__": b"val"}),
        ("a dmFs, b dmFs", {"a": b"val", "b": b"val"}),
        ("binary AP/+", {"binary": b"\x00\xff\xfe"}),
        ("Key dmFs,key dmFs", {"Key": b"val", "key": b"val"}),
    ],
)
def test_valid_metadata(raw: str, values: dict[str, bytes]) -> None:
    """Keys with a value, without one and without the space are all valid, in their order."""
    fields.check_metadata(raw)
    assert list(fields.read_metadata(raw).items()) == list(values.items())


@pytest.mark.rule("T56", "T57")
@pytest.mark.parametrize(
    "raw",
    [
        "",
        " ",
        ",",
        "a,,b",
        "a dmFs,",
        "a,a",
        "a dmFs,a dmFs",
        " dmFs",
        "a  dmFs",
        "a dmFs b",
        "a dmFs, ",
        "a dmFs ,b dmFs",
        "a\tdmFs",
        "a dmFs\n",
        "schlüssel dmFs",
        "a\udce4 dmFs",
        "a ZW1vamk",
        "a not_valid_base64!!!",
        "a =",
        "a ==",
        "a ====",
        "a A===",
        "a AA=A",
        "a dm==dm==",
        "a dmF\uff53",
    ],
)
def test_invalid_metadata(raw: str) -> None:
    """Whatever cannot be echoed and read by everybody is refused, never dropped silently."""
    with pytest.raises(InvalidMetadata):
        fields.check_metadata(raw)


@pytest.mark.rule("T56", "T58")
@given(st.dictionaries(KEYS, st.binary(), min_size=1))
def test_metadata_survives_the_round_trip(values: dict[str, bytes]) -> None:
    """What a client writes is valid and reads back equal, in order."""
    raw = fields.write_metadata(values)
    fields.check_metadata(raw)
    assert list(fields.read_metadata(raw).items()) == list(values.items())


@pytest.mark.rule("T57", "T58")
@given(st.text(st.sampled_from("aB9+/=, \t\nü\udce4-")))
def test_metadata_that_passes_can_be_echoed_and_decoded(raw: str) -> None:
    """A field is refused, or it is visible ASCII that decodes to as many values as it has pairs."""
    try:
        fields.check_metadata(raw)
    except InvalidMetadata:
        return
    assert raw.isascii()
    assert raw.isprintable()
    assert len(fields.read_metadata(raw)) == raw.count(",") + 1


def test_no_metadata_is_no_values() -> None:
    """An upload without metadata reads as an empty dictionary."""
    assert fields.read_metadata(None) == {}


@pytest.mark.parametrize("key", ["", "a b", "a,b", "ä"])
def test_a_client_cannot_write_invalid_keys(key: str) -> None:
    """A key that a server would refuse is refused before it is sent."""
    with pytest.raises(InvalidMetadata):
        fields.write_metadata({key: b"value"})


@pytest.mark.rule("T85", "T86")
def test_a_checksum_is_algorithm_and_digest() -> None:
    """Algorithm, one space, Base64."""
    assert fields.read_checksum("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=") == Checksum("sha1", sha1(b"hello world").digest())


@pytest.mark.rule("T86")
def test_a_digest_of_the_wrong_length_is_for_the_verdict() -> None:
    """Decodable Base64 of the wrong length is a mismatch later (460), not a syntax error now."""
    assert fields.read_checksum("sha1 " + "A" * 28) == Checksum("sha1", bytes(21))


@pytest.mark.rule("T84", "T85", "T86")
@pytest.mark.parametrize("raw", ["sha3 AAAA", "sha3 !!!", "sha3", "SHA1 AAAA", "", " AAAA", "sha1\tAAAA"])
def test_an_unknown_algorithm_is_told_first(raw: str) -> None:
    """The algorithm is judged before whatever follows it; upper case is another name."""
    with pytest.raises(UnsupportedChecksum):
        fields.read_checksum(raw)


@pytest.mark.rule("T86")
@pytest.mark.parametrize("raw", ["sha1", "sha1 ", "sha1 !!!", "sha1 AAA", "sha1  AAAA", "sha1 AAAA AAAA", "sha1 ä"])
def test_a_malformed_digest_is_refused(raw: str) -> None:
    """A known algorithm without a space or with undecodable Base64 is a syntax error."""
    with pytest.raises(InvalidChecksum):
        fields.read_checksum(raw)


@pytest.mark.rule("T102", "T106", "T114")
@pytest.mark.parametrize(
    ("raw", "ids"),
    [
        (f"final;/files/{ID}", (ID,)),
        (f"final; /files/{ID}", (ID,)),
        (f"final;/files/{ID} https://up.example:8080/files/{OTHER_ID}", (ID, OTHER_ID)),
        (f"final;HTTP://[::1]:1080/files/{ID} //host/files/{ID}", (ID, ID)),
        (f"final;https://up.example/behind/a%20proxy/files/{ID}", (ID,)),
        (f"final;/files/files/{ID}", (ID,)),
    ],
)
def test_a_final_list(raw: str, ids: tuple[str, ...]) -> None:
    """URLs are absolute or path-only, in order, perhaps repeated and behind a prefix; one space may come first."""
    assert fields.read_final(raw, "/files/", 10) == ids


@pytest.mark.rule("T102", "T113", "T114")
@pytest.mark.parametrize(
    "raw",
    [
        "final",
        "final;",
        "final; ",
        "finally",
        f"final /files/{ID}",
        f"final;  /files/{ID}",
        f"final;/files/{ID}  /files/{OTHER_ID}",
        f"final;/files/{ID} ",
        f"final;/files/{ID},/files/{OTHER_ID}",
    ],
)
def test_a_malformed_final_list(raw: str) -> None:
    """Without a semicolon, empty, or with more than one space between URLs, the list is refused."""
    with pytest.raises(InvalidConcat):
        fields.read_final(raw, "/files/", 10)


@pytest.mark.rule("T114")
@pytest.mark.parametrize(
    "url",
    [
        ID,
        f"files/{ID}",
        f"/other/{ID}",
        f"/myfiles/{ID}",
        f"/files/{ID}x",
        f"/files/{ID[1:]}",
        f"/files/{ID}/",
        "/files/../../etc/passwd.info12",
        f"/files/../files/{ID}",
        f"/./files/{ID}",
        f"..//files/{ID}",
        "/files/..%2F..%2Fetc%2Fpasswd",
        "/files/%41" + "A" * 21,
        f"/files/{ID}?x=1",
        f"/?/files/{ID}",
        f"/#/files/{ID}",
        f"\\files\\{ID}",
        f"/a\\b/files/{ID}",
        f"/\x00/files/{ID}",
        f"/files/{ID}\x00",
        f"/files/{ID}\n",
        f"/ü/files/{ID}",
        f"/\udce4/files/{ID}",
        f"ftp://host/files/{ID}",
        f"https://host\t/files/{ID}",
        "https://host",
        "",
    ],
)
def test_nothing_but_our_own_urls_is_resolved(url: str) -> None:
    """Traversal, encodings, queries and other people's paths name no upload."""
    assert fields.upload_id(url, "/files/") is None


@pytest.mark.rule("T114")
@given(st.text(st.sampled_from("/.\\%?#:\x00 A2e\u00e4")), st.sampled_from(["", "http://host", "/files/"]))
def test_a_resolved_id_is_always_an_id(rest: str, start: str) -> None:
    """Whatever stands in a URL, what comes out of it is a valid id or nothing."""
    assert fields.upload_id(f"{start}{rest}/files/{ID}", "/files/") in (ID, None)
    assert fields.upload_id(f"/files/{ID}{rest}", "/files/") in ((ID,) if not rest else (None,))


@pytest.mark.rule("T80")
@pytest.mark.parametrize(
    ("when", "text"),
    [
        (1403712000, "Wed, 25 Jun 2014 16:00:00 GMT"),
        (1403712000.999, "Wed, 25 Jun 2014 16:00:00 GMT"),
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (951782400, "Tue, 29 Feb 2000 00:00:00 GMT"),
    ],
)
def test_dates_are_imf_fixdate(when: float, text: str) -> None:
    """Two-digit day, whole seconds, GMT."""
    assert fields.http_date(when) == text


@pytest.mark.rule("T80")
@given(st.integers(0, 253402300799))
def test_dates_are_those_of_the_standard_library(when: int) -> None:
    """Our own tables of English names give what the standard library writes, up to the year 9999."""
    assert fields.http_date(when) == formatdate(when, usegmt=True)
