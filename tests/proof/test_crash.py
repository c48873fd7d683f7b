"""kill -9 under six concurrent writers: what was acknowledged is there when the server is back."""

from __future__ import annotations

import pytest

from tests.proof.crash import crash


@pytest.mark.slow
@pytest.mark.rule("T28", "T84")
def test_a_crash() -> None:
    """The server dies once at a random moment, and nothing acknowledged is lost."""
    assert crash(1, "smoke").acts > 0


@pytest.mark.slow
@pytest.mark.rule("T28", "T84")
@pytest.mark.parametrize(("durability", "rounds"), [("finish", 20), ("always", 5), ("os", 5)])
def test_twenty_crashes(durability: str, rounds: int) -> None:
    """It dies again and again on the same folder; uploads go on over several of its lives."""
    assert crash(rounds, f"slow-{durability}", "--durability", durability).compared > rounds


@pytest.mark.slow
@pytest.mark.rule("T28", "T84")
def test_workers_and_parent() -> None:
    """Of three workers some die while the others go on, and last the parent: nothing is lost, no offset goes back."""
    done = crash(8, "workers", processes=3)
    assert done.killed > 8
    assert done.compared > 8
