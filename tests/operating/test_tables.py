"""How uploads look at a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.operating.tables import Table, block, human_age, human_size, printable, shortened

NOW = 1_800_000_000.0
UPLOAD = {
    "id": "A" * 22,
    "state": "receiving",
    "kind": "regular",
    "owner": "",
    "length": 3 << 30,
    "offset": 1 << 30,
    "created": "2027-01-12T08:00:00Z",
    "ended": None,
    "expires": None,
    "metadata": {"filename": "Übersicht über alles.mp4"},
    "raw_metadata": "…",
    "partials": [],
}


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (100 << 10, "100 KiB"),
        (1 << 30, "1.0 GiB"),
        (1023 << 20, "1.0 GiB"),
        (5 << 50, "5.0 PiB"),
    ],
)
def test_sizes(size: int, told: str) -> None:
    """In the unit in which they have one to three digits."""
    assert human_size(size) == told


@given(st.integers(0, 1 << 59))
def test_sizes_fit_their_column(size: int) -> None:
    """Whatever the size."""
    assert len(human_size(size)) <= 8


@pytest.mark.parametrize(
    ("seconds", "told"), [(-5, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (86400, "24h"), (86400 * 400, "400d")]
)
def test_ages(seconds: float, told: str) -> None:
    """In the largest unit that there are two of; a clock that went back is no age."""
    assert human_age(seconds) == told


def test_a_wide_table() -> None:
    """All there is to see, one upload a line."""
    table = Table(None)
    assert table.heading() == "ID                      STATE           SIZE  DONE   AGE  NAME"
    assert (
        table.row(UPLOAD, NOW) == "AAAAAAAAAAAAAAAAAAAAAA  receiving    3.0 GiB   33%    3d  Übersicht über alles.mp4"
    )


@given(st.integers(22, 200), st.text())
def test_no_line_is_wider_than_the_terminal(width: int, name: str) -> None:
    """The name is cut, and columns go, but never the id."""
    table = Table(width)
    for line in (table.heading(), table.row({**UPLOAD, "metadata": {"filename": name}}, NOW)):
        assert shortened(line, width) == line
        assert "\n" not in line
    assert table.row(UPLOAD, NOW).startswith("A" * 22)


def test_a_narrow_table_keeps_what_matters_most() -> None:
    """Id and size, then state."""
    assert Table(34).heading() == "ID                           SIZE"
    assert Table(50).heading() == "ID                      STATE           SIZE  DONE"


def test_unknown_lengths() -> None:
    """What has come so far, with a plus; nothing is known of one that is gone."""
    assert "1.0 GiB+     -" in Table(None).row({**UPLOAD, "length": None}, NOW)
    assert "        ?     -" in Table(None).row({**UPLOAD, "length": None, "offset": None}, NOW)
    assert "    0 B  100%" in Table(None).row({**UPLOAD, "length": 0, "offset": 0}, NOW)


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "a\rb", "\x9b31m", "\u202egpj.exe", "\x00"])
def test_names_cannot_play_with_the_terminal(text: str) -> None:
    """Control characters, and those that turn the line round, are replaced."""
    assert printable(text).isprintable() or "\N{REPLACEMENT CHARACTER}" in printable(text)
    assert not {"\x1b", "\n", "\r", "\x9b", "\u202e", "\x00"} & set(printable(text))
    assert "\x1b" not in block({**UPLOAD, "metadata": {"filename": text, text: text}, "owner": text})


def test_wide_characters_take_two_columns() -> None:
    """A name in Japanese is cut where the terminal ends."""
    assert shortened("日本語日本語", 12) == "日本語日本語"
    assert shortened("日本語日本語", 8) == "日本語…"


def test_a_block_tells_everything() -> None:
    """A line for each thing that is known, none for what is not."""
    told = block({**UPLOAD, "partials": ["B" * 22], "ended": "2027-01-12T08:00:00Z"})
    assert "length             3.0 GiB (3221225472 bytes)" in told
    assert f"partials           {'B' * 22}" in told
    assert "metadata filename" in told
    assert "expires" not in told
