"""Who is writing now: what HEAD and a takeover look at (law 5)."""

from __future__ import annotations

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

    def has_gone_silent(self, id: str, now: float) -> bool:
        """Whether somebody writes but has been silent so long that its client is probably gone; `now` is monotonic."""
        body = self._bodies.get(id)
        return body is not None and body.silent_since is not None and now - body.silent_since >= SILENT

    def let_go(self, why: Ending) -> None:
        """End all of them."""
        for body in list(self._bodies.values()):
            body.let_go(why)
