"""The process itself: its event loop, its limits, its socket's place, and what it tells systemd."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import sys
import time
from collections.abc import Callable

from tusd_py.errors import ConfigError

log = logging.getLogger("tusd_py")


def loop_factory(wanted: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if wanted == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        if wanted == "uvloop":
            raise ConfigError("event_loop = 'uvloop': uvloop is not installed here; use 'auto'") from None
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def raise_open_file_limit() -> None:
    """Every connection and every upload at work takes descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def notify(state: str) -> None:
    """Tell systemd, if it asked to be told (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    if state == "RELOADING=1":
        state += f"\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)) as speaker:
        try:
            speaker.sendto(state.encode(), address)
        except OSError as error:
            log.warning("notify-failed", extra={"error": str(error)})


def reason_of(error: OSError) -> str:
    """The system's words; asyncio wraps them into a sentence that names the address once more."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


def how_many(wanted: int | None) -> int:
    """Processes to serve with: as wanted, or one for each core that can be used. Several need what only Linux has."""
    return 1 if sys.platform != "linux" else wanted or len(os.sched_getaffinity(0))
