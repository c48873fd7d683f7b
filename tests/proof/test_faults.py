"""The server dies, or the disk fails, at every system call that matters of every kind of request.

Each test goes through one request's calls of one kind: the first, the second, until there is none left to reach.
"""

from __future__ import annotations

import pytest

from tests.conftest import StartServer
from tests.proof.stage import MOST_CALLS, OPTIONS, Stage, Where

pytestmark = pytest.mark.strace

RENAME, UNLINK = "/^rename", "/^unlink"

# What each request does, so that a call that is never reached is noticed.
KINDS: dict[str, tuple[str, ...]] = {
    "small": ("pwrite64", "fdatasync", "fsync"),
    "beginning": ("pwrite64", "fdatasync"),
    "ordinary": ("pwrite64", "fdatasync", "fsync"),
    "zero_copy": ("splice", "pwrite64", "fdatasync", "fsync"),
    "verified": ("pwrite64", "write", RENAME, UNLINK),
    "wrong": ("pwrite64", RENAME, "ftruncate", UNLINK),
    "join": ("copy_file_range", "pwrite64", "fdatasync", "fsync"),
    "declared": ("ftruncate", UNLINK),
    "terminate": ("pwrite64", "fdatasync", UNLINK),
}


OWN = {"splice": Where.UPLOAD, "write": Where.FLOOR}  # calls that the server makes for other purposes too
CASES = [
    *((kind, call, OWN.get(call, Where.ANY)) for kind, calls in KINDS.items() for call in calls),
    *(
        (kind, call, Where.DATABASE)
        for kind, calls in KINDS.items()
        if "fdatasync" in calls
        for call in ("pwrite64", "fdatasync")
    ),
]


@pytest.fixture
def stage(start_server: StartServer) -> Stage:
    return Stage.on(start_server(*OPTIONS))


@pytest.mark.parametrize(("kind", "call", "where"), CASES)
def test_killed(stage: Stage, kind: str, call: str, where: Where) -> None:
    """The server is killed as it enters the call; after a restart nothing acknowledged is lost and all goes on."""
    reached = 0
    while stage.reached(kind, call, where, "signal=KILL", reached + 1):
        reached += 1
        stage.comes_back()
        assert reached < MOST_CALLS
    assert reached


@pytest.mark.rule("T20", "T84")
@pytest.mark.parametrize(
    ("call", "every"), [("pwrite64", 4), ("splice", 2), ("fdatasync", 1), ("ftruncate", 1), (RENAME, 1), (UNLINK, 1)]
)
def test_killed_in_a_life(stage: Stage, call: str, every: int) -> None:
    """The same in a row of requests to one upload, at every call or, where there are many, at every so many."""
    place = 1
    while stage.reached("life", call, Where.ANY, "signal=KILL", place):
        place += every
        stage.comes_back()
        assert place < MOST_CALLS
    assert place > 1


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize(("kind", "call", "where"), CASES)
def test_failing(stage: Stage, kind: str, call: str, where: Where, error: str) -> None:
    """The call fails: an honest answer, no harm to others, and when the disk works again, all that is left goes on."""
    stage.ledger.failed_syncs_are_final = call in ("fdatasync", "fsync") and where is not Where.DATABASE
    reached = 0
    while stage.reached(kind, call, where, f"error={error}", reached + 1):
        reached += 1
        stage.bystander_goes_on()
        assert reached < MOST_CALLS
    stage.ledger.settle(strays=False)
    stage.server.restart()
    stage.ledger.settle()
    stage.all_go_on()
    assert reached
