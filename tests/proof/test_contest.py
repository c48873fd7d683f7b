"""One writer an upload, whatever process it is in: many clients fight for few uploads."""

from __future__ import annotations

import pytest

from tests.acceptance.server import Server
from tests.proof.contest import Contest
from tests.proof.lockless import LocklessServer


@pytest.mark.slow
@pytest.mark.rule("T41")
@pytest.mark.parametrize(("kind", "fair"), [(Server, True), (LocklessServer, False)], ids=["locked", "control"])
def test_a_contest(kind: type[Server], fair: bool) -> None:
    """Nobody's acknowledged bytes are lost and no offset goes back; with locks that end at the process both happen,
    which shows that this test would notice."""
    server = kind("--processes", "3")
    try:
        contest = Contest(server, "contest")
        contest.run(8.0)
        assert len(contest.owned) > 100
        assert (contest.faults == []) == fair, contest.faults[:5]
        assert server.trouble == [] or not fair
    finally:
        server.remove()
