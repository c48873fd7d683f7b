"""Who is writing now: what HEAD and a takeover look at (law 5)."""

from __future__ import annotations

import time

from tusd_py.storage.base import Body, Ending

SILENT = 0.5  # seconds of silence after which a HEAD ends a writer


class Writers:
    """The bodies that are being received, by upload id; one each, since the lock admits one writer."""

    def __init__(self) -> None:
        self._bodies: dict[str, Body] = {}

    def __len__(self) -> int:
        return len(self._bodies)

    def begin(self, id: str, body: Body) -> None:
        self._bodies[id] = body

    def end(self, id: str) -> None:
        del self._bodies[id]

    def let_go(self, why: Ending) -> None:
        """End all of them."""
        for body in list(self._bodies.values()):
            body.let_go(why)


def give_way(body: Body, looking: bool) -> bool:
    """Somebody wants the upload that this body goes into: it ends, and what came is kept. But for one who only looks
    only if it has been silent so long that its client is probably gone. Returns whether it comes to its end."""
    if looking and (body.silent_since is None or time.monotonic() - body.silent_since < SILENT):
        return False
    body.let_go(Ending.REPLACED)
    return True


def leave_alone(looking: bool) -> bool:
    """Nobody knows of this upload yet: who looks is told what is there, all others wait."""
    return not looking
