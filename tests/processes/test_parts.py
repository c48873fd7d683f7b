"""What the parent decides, and what its links and channels carry."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.server import ROOT
from tusd_py.doors import Door
from tusd_py.processes.guests import Guests
from tusd_py.processes.leader import Leadership
from tusd_py.processes.links import Link, Passed, take
from tusd_py.processes.messages import Channel, Closed, Failed, Ping, Stop, first
from tusd_py.processes.restarts import HOPELESS, LAST_PAUSE, Restarts

# When a worker is started again


def test_the_first_death_is_replaced_at_once_later_ones_wait() -> None:
    """Deaths that follow each other closely wait longer and longer, up to a limit; a long life forgives them."""
    restarts, pauses = Restarts(), []
    for _ in range(10):
        restarts = restarts.after(1.0)
        pauses.append(restarts.pause)
    assert pauses[0] == 0.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == LAST_PAUSE
    assert restarts.after(3600.0).pause == 0.0


def test_hopeless() -> None:
    """Only those that never served count, and only in a row."""
    restarts = Restarts()
    for _ in range(HOPELESS - 1):
        restarts = restarts.after(None)
    assert not restarts.hopeless
    assert restarts.after(None).hopeless
    assert not restarts.after(0.1).after(None).hopeless


# Who is connected


def test_guests_in_all_and_of_one_client() -> None:
    """Both limits count; who leaves makes room, once."""
    guests = Guests(3, 2)
    guests.enter(1, "a", 0)
    guests.enter(2, "a", 1)
    assert not guests.has_room("a")
    assert guests.has_room("b")
    guests.enter(3, "b", 0)
    assert not guests.has_room("c")
    guests.leave(1)
    guests.leave(1)
    assert len(guests) == 2
    assert guests.has_room("a")


def test_guests_of_a_dead_worker() -> None:
    """They are gone, but for those that went on to another."""
    guests = Guests(10, 0)
    for number in range(4):
        guests.enter(number, "a", number % 2)
    guests.enter(0, "a", 1)
    assert (guests.of(0), guests.of(1)) == (1, 3)
    guests.desert(0)
    assert len(guests) == 3
    guests.desert(1)
    assert len(guests) == 0


def test_an_unknown_address_is_not_limited() -> None:
    """On a Unix socket all clients look alike."""
    guests = Guests(10, 1)
    guests.enter(1, "", 0)
    assert guests.has_room("")


# Links


def test_a_link_passes_connections() -> None:
    """Descriptor, door and number arrive in their order; what waits survives whoever was to take it."""
    link = Link()
    for number, door in enumerate(Door, 1):
        near, far = socket.socketpair()
        assert link.put(Passed(far, door, number))
        far.close()
        near.sendall(b"%d" % number)
        near.close()
    with link.theirs.dup() as inherited:
        passed = list(take(inherited))
    assert [(one.door, one.number) for one in passed] == [(door, number) for number, door in enumerate(Door, 1)]
    for one in passed:
        assert one.connection is not None
        with one.connection as connection:
            assert connection.recv(10) == b"%d" % one.number
    link.close()


def test_a_full_link_says_so() -> None:
    """It never makes the parent wait, and has room again when something was taken."""
    link = Link()
    near, far = socket.socketpair()
    count = 0
    while link.put(Passed(far, Door.UPLOADS, count)):
        count += 1
    assert count > 50
    for one in take(link.theirs, 1):
        assert one.connection is not None
        one.connection.close()
    assert link.put(Passed(far, Door.UPLOADS, count))
    near.close()
    far.close()
    link.close()


# Channels


async def test_a_channel_carries_messages() -> None:
    """In their order, of any size, until the other end is gone."""
    ours, theirs = socket.socketpair()
    parent, worker = await Channel.over(ours), await Channel.over(theirs)
    long = Failed("no " * 200_000)
    for message in (Ping(), Closed((1, 2, 3)), long):
        parent.tell(message)
    assert [await worker.hear() for _ in range(3)] == [Ping(), Closed((1, 2, 3)), long]
    await parent.close()
    assert await worker.hear() is None
    await worker.close()


async def test_the_first_message_needs_no_loop() -> None:
    """A worker reads it before it has one; none is None."""
    ours, theirs = socket.socketpair()
    parent = await Channel.over(ours)
    parent.tell(Stop())
    await parent.close()
    assert first(theirs) == Stop()
    assert first(theirs) is None
    theirs.close()


# Who leads


async def test_one_leads_at_a_time(tmp_path: Path) -> None:
    """Whoever holds the file's lock; the next one does as soon as it is let go."""
    one, other = Leadership(tmp_path / "leader"), Leadership(tmp_path / "leader")
    await asyncio.wait_for(one.win(), 5)
    winning = asyncio.create_task(other.win())
    await asyncio.sleep(0)
    assert (one.held, other.held) == (True, False)
    one.close()
    await asyncio.wait_for(winning, 5)
    assert (one.held, other.held) == (False, True)
    other.close()


# What is loaded


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("parent", {"aiohttp", "sqlite3", "uvloop", "prometheus_client", "pydantic"}),
        ("worker", {"pydantic", "pydantic_settings", "prometheus_client"}),
    ],
)
def test_a_process_loads_what_it_needs(module: str, absent: set[str]) -> None:
    """The parent knows neither HTTP nor the database; workers need not read options. It is a matter of memory."""
    code = f"import sys, tusd_py.processes.{module}; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert absent & set(done.stdout.split()) == set()
