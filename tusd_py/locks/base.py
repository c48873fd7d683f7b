"""The lock that a newcomer can ask its holder for (law 5, T41)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Locks(Protocol):
    def hold(
        self, id: str, *, when_wanted: Callable[[], None] | None, patience: float
    ) -> AbstractAsyncContextManager[None]:
        """Hold `id` for the time of a request; nobody else does.

        Whoever wants it while it is held makes `when_wanted` of the holder be called, once, on the event loop, at
        once; it must return at once. A holder that gets the lock while others who came later wait is called as soon
        as it has it. Without when_wanted the holder is left alone. First come, first served. After `patience` seconds
        of waiting: errors.UploadLocked. Cancelled while waiting, nothing is held.
        """

    def is_held(self, id: str) -> bool:
        """Whether somebody holds `id` at this moment."""
