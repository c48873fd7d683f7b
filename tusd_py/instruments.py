"""What the hot path may count and time. A tiny protocol, so that nobody but metrics.py knows Prometheus.

Calls are plain, cheap and never fail; they come from the event loop, `received` and `synced` from other threads too.
"""

from __future__ import annotations

from typing import Protocol


class Instruments(Protocol):
    def requested(self, method: str) -> None:
        """A request with this effective method has been understood."""

    def refused(self, status: int, code: str) -> None:
        """An error with this status and stable code is being answered."""

    def received(self, amount: int) -> None:
        """So many bytes of bodies have been kept, counted as they come."""

    def synced(self, seconds: float) -> None:
        """A data sync took so long."""

    def committed(self, requests: int, seconds: float) -> None:
        """One database transaction carried the writes of so many requests and took so long."""

    def listener_failed(self) -> None:
        """A listener raised; the request went on (law 8)."""

    def background_failed(self, what: str) -> None:
        """A round of background work failed and will be tried again."""


class Silent:
    """The twin that counts nothing."""

    def requested(self, method: str) -> None: ...
    def refused(self, status: int, code: str) -> None: ...
    def received(self, amount: int) -> None: ...
    def synced(self, seconds: float) -> None: ...
    def committed(self, requests: int, seconds: float) -> None: ...
    def listener_failed(self) -> None: ...
    def background_failed(self, what: str) -> None: ...
