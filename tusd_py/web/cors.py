"""What browsers of other origins may send and read (P1-P3)."""

from __future__ import annotations

from collections.abc import Sequence

from tusd_py.errors import OriginNotAllowed

METHODS = "POST, HEAD, PATCH, OPTIONS, GET, DELETE"
ALLOWED = (
    "Authorization",
    "Content-Type",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "Origin",
    "Range",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Incomplete",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "X-CSRF-Token",
    "X-HTTP-Method-Override",
    "X-Request-ID",
    "X-Requested-With",
)
EXPOSED = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Location",
    "Retry-After",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Expires",
    "Upload-Incomplete",
    "Upload-Length",
    "Upload-Limit",
    "Upload-Metadata",
    "Upload-Offset",
    "X-Request-ID",
)


class Cors:
    """The policy, as header lines built once. `max_age` is seconds."""

    def __init__(
        self,
        *,
        enabled: bool,
        origins: Sequence[str],
        credentials: bool,
        allow: Sequence[str],
        expose: Sequence[str],
        max_age: float,
    ) -> None:
        self._enabled = enabled
        self._origins = frozenset(origins)
        self._any = "*" in self._origins
        self._vary = "Vary: Origin\r\n" if enabled else ""
        shared = self._vary + ("Access-Control-Allow-Credentials: true\r\n" if credentials else "")
        self._plain = f"{shared}Access-Control-Expose-Headers: {', '.join((*EXPOSED, *expose))}\r\n"
        self._preflight = (
            f"{shared}Access-Control-Allow-Methods: {METHODS}\r\n"
            f"Access-Control-Allow-Headers: {', '.join((*ALLOWED, *allow))}\r\n"
            f"Access-Control-Max-Age: {int(max_age)}\r\n"
        )

    def check(self, origin: str | None) -> None:
        """Raises OriginNotAllowed for a page that may not upload here."""
        if self._enabled and origin is not None and not self._allows(origin):
            raise OriginNotAllowed

    def lines(self, origin: str | None, *, preflight: bool) -> str:
        """Header lines for every response, errors included, or browsers see a CORS failure in place of the error (C47).
        Caches are told that it depends on the origin even when there is none (D19)."""
        if origin is None or not self._enabled or not self._allows(origin):
            return self._vary
        allowed = f"Access-Control-Allow-Origin: {'*' if self._any else origin}\r\n"
        return allowed + (self._preflight if preflight else self._plain)

    def _allows(self, origin: str) -> bool:
        return self._any or origin in self._origins
