"""A server with several workers, and what /proc tells of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.acceptance.server import Server
from tests.acceptance.wire import Wire, eventually

ESTABLISHED = "01"  # in /proc/net/tcp


def workers(server: Server) -> list[int]:
    """Their pids, while none of them is being replaced."""
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(entry.path)
        except FileNotFoundError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def accepted(server: Server) -> dict[int, str]:
    """The server's ends of all connections to the upload port: the client's port and the inode."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_, inode = line.split()[:10]
        if state == ESTABLISHED and int(local.rpartition(":")[2], 16) == server.port:
            found[int(remote.rpartition(":")[2], 16)] = inode
    return found


def holders(server: Server, wires: list[Wire]) -> list[int | None]:
    """Which worker has each of these connections; None where none has it yet."""
    inodes = accepted(server)
    held = {pid: sockets(pid) for pid in workers(server)}
    wanted = [inodes.get(wire.port) for wire in wires]
    return [next((pid for pid, theirs in held.items() if inode in theirs), None) for inode in wanted]


def one_each(server: Server) -> dict[int, Wire]:
    """An idle connection in each worker."""
    found: dict[int, Wire] = {}

    def all_have_one() -> bool:
        wire = server.connect()
        assert wire.options().status == 200
        [pid] = holders(server, [wire])
        if pid is not None:
            found.setdefault(pid, wire)
        return sorted(found) == sorted(workers(server))

    eventually(all_have_one, "each worker has a connection")
    return found


def leader(server: Server) -> int | None:
    """The worker that does the work of the whole server, as the kernel tells who holds the lock."""
    file = (server.folder / "processes" / "leader").stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{file}"):
            return int(fields[4])
    return None


def kill(server: Server, pid: int) -> None:
    """kill -9, and wait until another has taken its place and serves."""
    before, number = set(workers(server)), server.log.count("worker-serves")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: server.log.count("worker-serves") > number, "a worker takes its place", within=20)
    assert pid not in workers(server)
    assert before - {pid} <= set(workers(server))
