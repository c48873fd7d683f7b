"""The lock that a newcomer can ask its holder for (law 5, T41)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

WhenWanted = Callable[[bool], bool]  # (looking) -> whether the holder comes to its end


class StillWriting(Exception):
    """The holder is at work and does not give way to one who only looks (law 5)."""


class Locks(Protocol):
    def hold(
        self, id: str, *, when_wanted: WhenWanted | None, patience: float, looking: bool = False
    ) -> AbstractAsyncContextManager[None]:
        """Hold `id` for the time of a request; nobody else does.

        Whoever wants it while it is held makes `when_wanted` of the holder be called, on the event loop, at once; it
        must return at once. A holder that gets the lock while others who came later wait is called as soon as it has
        it. One who is `looking` asks politely, and hears StillWriting at once if when_wanted(True) says no; to all
        others the answer is taken to be yes. Once it was yes, the holder is not called again. Without when_wanted
        it is left alone, and everybody waits. First come, first served; between processes roughly so.

        After `patience` seconds of waiting: errors.UploadLocked. Cancelled while waiting, nothing is held.
        """

    def is_held(self, id: str) -> bool:
        """Whether somebody holds `id` at this moment, in any process. In another than this one, only those who can be
        asked to end (`when_wanted`) are sure to be seen."""
