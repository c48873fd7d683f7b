"""When a transaction is worth a hop into a thread."""

from __future__ import annotations

from tusd_py.pace import INSTANT, LOOKED_AT, SLOW, SLOW_IN_A_ROW, VERY_SLOW, Pace


def hurried() -> Pace:
    """One that has seen a disk that answers at once."""
    pace = Pace()
    for _ in range(LOOKED_AT - 1):
        pace.took(1.0)  # somebody else had the interpreter
    pace.took(0.9 * INSTANT)
    return pace


def test_begins_in_the_thread() -> None:
    """Nothing is known of the disk at first, and nothing is concluded from a few transactions."""
    pace = Pace()
    for _ in range(LOOKED_AT - 1):
        pace.took(0.0)
        assert not pace.at_once


def test_a_quick_disk() -> None:
    """The quickest of some transactions tells how quick the disk is."""
    assert hurried().at_once


def test_a_slow_disk() -> None:
    """Where none of them was instant, the loop does not wait."""
    pace = Pace()
    for _ in range(3 * LOOKED_AT):
        pace.took(1.1 * INSTANT)
    assert not pace.at_once


def test_slow_in_a_row() -> None:
    """One slow transaction may be chance; several in a row send them back to the thread."""
    pace = hurried()
    for seconds in (1.1 * SLOW, 0.0, *[1.1 * SLOW] * (SLOW_IN_A_ROW - 1)):
        pace.took_at_once(seconds)
        assert pace.at_once
    pace.took_at_once(1.1 * SLOW)
    assert not pace.at_once


def test_very_slow() -> None:
    """A long stall is enough by itself, and the disk is looked at again."""
    pace = hurried()
    pace.took_at_once(1.1 * VERY_SLOW)
    assert not pace.at_once
    for _ in range(LOOKED_AT):
        pace.took(0.0)
    assert pace.at_once
