"""Where a sync takes no longer than a system call, it is done on the event loop: the same promises hold there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.proof.ledger import payload
from tests.proof.stage import MOST_CALLS, OPTIONS, Stage, Where
from tests.proof.strace import traced
from tests.proof.test_order import CALLS, Story
from tusd_py.storage.durability import INSTANT_SYNC, SLOW_SYNC

pytestmark = pytest.mark.strace

SHM = Path("/dev/shm")
ENOUGH = 40  # creations after which the server knows how fast its disk is


@pytest.fixture
def quick() -> Iterator[Server]:
    """A server with its data in memory."""
    assert shutil.disk_usage(SHM).free > 64 << 20, "these tests need 64 MiB in /dev/shm"
    folder = Path(tempfile.mkdtemp(prefix="tus-", dir=SHM))
    server = Server(*OPTIONS, folder=folder / "data")
    try:
        yield server
        assert server.trouble == []
    finally:
        server.remove()
        shutil.rmtree(folder)


def warm_up(server: Server) -> None:
    for number in range(ENOUGH):
        server.new(4096, body=payload(f"warm {number}", 4096))


def test_the_order(quick: Server) -> None:
    """Data, folder and then the record are synced in the thread that answers, each before the next and the answer."""
    assert SLOW_SYNC * (7 / 8) ** ENOUGH < INSTANT_SYNC / 4
    warm_up(quick)
    with traced(quick, "-e", CALLS) as trace:
        quick.new(4096, body=payload("small", 4096))
    story = Story(quick, trace.lines)
    story.insist_on("data written", "data synced", "folder synced", "record written", "record synced", "answer")
    threads = {word: event.thread for word, event in zip(story.words, story.events, strict=True)}
    assert len(set(threads.values())) == 1


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "fsync"])
def test_killed(quick: Server, call: str) -> None:
    """The server is killed as it enters the call; after a restart nothing acknowledged is lost and all goes on."""
    stage, reached = Stage.on(quick), 0
    warm_up(quick)
    while stage.reached("small", call, Where.ANY, "signal=KILL", reached + 1):
        reached += 1
        stage.comes_back()
        warm_up(quick)
        assert reached < MOST_CALLS
    assert reached


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_failing(quick: Server, call: str) -> None:
    """A sync that fails is final for its upload, told honestly, and harms nobody else."""
    stage, reached = Stage.on(quick), 0
    stage.ledger.failed_syncs_are_final = True
    warm_up(quick)
    while stage.reached("small", call, Where.ANY, "error=EIO", reached + 1):
        reached += 1
        stage.bystander_goes_on()
        assert reached < MOST_CALLS
    stage.ledger.settle(strays=False)
    stage.server.restart()
    stage.ledger.settle()
    stage.all_go_on()
    assert reached
