"""Names and types that strangers gave to their uploads."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.protocol.dispositions import LONGEST_NAME, disposition, file_name, media_type

VALUE = re.compile(r"attachment(; filename=\"[ !#$&-\[\]-~]+\"(; filename\*=UTF-8''[A-Za-z0-9!#$&+.^_`|~%-]+)?)?")
TYPES = frozenset({"image/*", "application/pdf"})


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\photo.jpg", "photo.jpg"),
        ("folder/", "folder"),
        ('quote"quote.txt', "quote_quote.txt"),
        ("a;b=c,d.txt", "a;b=c,d.txt"),
        ("evil\r\nSet-Cookie: a=b", "evil Set-Cookie_ a=b"),
        ("nul\x00l\x1b[31m.txt", "null[31m.txt"),
        ("annexe\u202egpj.exe", "annexegpj.exe"),
        ("a\u200b\ufeff\u2066b\u2069.txt", "ab.txt"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.txt",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.txt",
        ),
        ("z\u0301.txt", "\u017a.txt"),
        ("  two \t  words  .txt", "two words .txt"),
        (".htaccess", "htaccess"),
        ("name. . .", "name"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("console.txt", "console.txt"),
        ("50%.txt", "50%.txt"),
        ("", ""),
        ("..", ""),
        ("/", ""),
        ("\u202e\u200b", ""),
    ],
)
def test_names_that_can_be_saved(told: str, name: str) -> None:
    """No folders, control characters, marks of direction, devices or hidden files; everything else stays."""
    assert file_name(told) == name


@pytest.mark.parametrize(
    ("told", "value"),
    [
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("two words.txt", 'attachment; filename="two words.txt"'),
        ("\u017c\u00f3\u0142w.txt", "attachment; filename=\"zo_w.txt\"; filename*=UTF-8''%C5%BC%C3%B3%C5%82w.txt"),
        ("\u6587\u4ef6.pdf", "attachment; filename=\"__.pdf\"; filename*=UTF-8''%E6%96%87%E4%BB%B6.pdf"),
        ("50%41.txt", "attachment; filename=\"50_41.txt\"; filename*=UTF-8''50%2541.txt"),
        ("", "attachment"),
    ],
)
def test_the_field(told: str, value: str) -> None:
    """A name beyond plain ASCII is told twice: as well as that goes in ASCII, and as it is."""
    assert disposition({"filename": told.encode()}) == value


def test_where_the_name_stands() -> None:
    """`filename` comes before `name`; one that is empty or not there does not count, and bad UTF-8 does no harm."""
    assert disposition({"name": b"b", "filename": b"a"}) == 'attachment; filename="a"'
    assert disposition({"name": b"b", "filename": b""}) == 'attachment; filename="b"'
    assert disposition({}) == "attachment"
    assert (
        disposition({"name": b"\xff\xfe.txt"})
        == "attachment; filename=\"__.txt\"; filename*=UTF-8''%EF%BF%BD%EF%BF%BD.txt"
    )


@pytest.mark.parametrize("letter", ["x", "\u017c", "\U0001f600"])
@pytest.mark.parametrize(("ending", "kept"), [(".jpeg", ".jpeg"), ("", ""), ("." + "y" * 300, "")])
def test_long_names_are_cut(letter: str, ending: str, kept: str) -> None:
    """Between two characters, and what says which kind of file it is stays."""
    name = file_name(letter * 300 + ending)
    assert LONGEST_NAME - 4 < len(name.encode()) <= LONGEST_NAME
    assert set(name) == {letter, *kept}
    assert name.endswith(kept)


@given(st.text())
def test_nothing_breaks_out_of_the_field(told: str) -> None:
    """Whatever the name, the field obeys RFC 6266, both names are safe ones, and a safe name stays as it is."""
    value = disposition({"filename": told.encode("utf-8", "surrogatepass")})
    assert VALUE.fullmatch(value)
    name = file_name(told)
    assert file_name(name) == name
    assert not set(name) & set('/\\<>:"|?*\r\n\x00\u202e')
    if "filename*=" in value:
        assert not set(unquote(value.partition("''")[2])) & set('/\\"\r\n\x00')


@pytest.mark.parametrize(
    ("told", "type"),
    [
        ("image/png", "image/png"),
        ("IMAGE/PNG; charset=x", "image/png"),
        ("application/pdf", "application/pdf"),
        ("text/html", "application/octet-stream"),
        ("image/*", "application/octet-stream"),
        ("image/", "application/octet-stream"),
        ("image/png\r\nX: y", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_types(told: str, type: str) -> None:
    """Only a type of the list is told as it was named, without parameters."""
    assert media_type({"filetype": told.encode()}, TYPES) == type
    assert media_type({"type": told.encode()}, TYPES) == type
