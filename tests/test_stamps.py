"""Words that say whether what a process remembers is out of date."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tusd_py.stamps import WORDS, Stamps
from tusd_py.upload import new_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stamps"


@pytest.fixture
def stamps(path: Path) -> Iterator[Stamps]:
    stamps = Stamps(path)
    yield stamps
    stamps.close()


def test_change(stamps: Stamps) -> None:
    """A change gives an upload a word that it never had, and one by one that goes on."""
    id = new_id()
    seen = {stamps.of(id)}
    for _ in range(1000):
        stamps.change(id)
        seen.add(stamps.of(id))
    assert len(seen) == 1001


def test_of_others(stamps: Stamps) -> None:
    """A change leaves almost all other uploads alone."""
    others = [new_id() for _ in range(1000)]
    before = [stamps.of(id) for id in others]
    stamps.change(new_id())
    assert sum(stamps.of(id) != word for id, word in zip(others, before, strict=True)) < 3


def test_spread(stamps: Stamps) -> None:
    """Uploads share the words evenly."""
    for _ in range(WORDS):
        stamps.change(new_id())
    assert sum(word != 0 for word in stamps._words) > WORDS // 2


def test_change_all(stamps: Stamps) -> None:
    """A change of all spares none."""
    ids = [new_id() for _ in range(1000)]
    for id in ids[:500]:
        stamps.change(id)
    before = [stamps.of(id) for id in ids]
    stamps.change_all()
    assert all(stamps.of(id) != word for id, word in zip(ids, before, strict=True))


def test_shared(stamps: Stamps, path: Path) -> None:
    """Another process sees a change at once, and this one sees the other's."""
    id = new_id()
    stamps.change(id)
    program = f"""
from pathlib import Path
from tusd_py.stamps import Stamps
stamps = Stamps(Path({str(path)!r}))
print(stamps.of({id!r}))
stamps.change({id!r})
print(stamps.of({id!r}))
"""
    before = stamps.of(id)
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert told == [str(before), str(stamps.of(id))]
    assert stamps.of(id) != before


def test_two_lives(stamps: Stamps, path: Path) -> None:
    """No two lives of a process give the same values."""
    id, lives = new_id(), []
    for _ in range(100):
        life = Stamps(path)
        life.change(id)
        lives.append(life.of(id))
        life.close()
    assert len(set(lives)) == 100
