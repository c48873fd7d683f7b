"""What browsers of other origins may send and read (P1-P3)."""

from __future__ import annotations

from collections.abc import Sequence

from tusd_py.errors import OriginNotAllowed

Headers = tuple[tuple[str, str], ...]

METHODS = "POST, HEAD, PATCH, OPTIONS, GET, DELETE"
ALLOWED = (
    "Authorization",
    "Content-Type",
    "Origin",
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
    "Content-Disposition",
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
    """The policy, as header tables built once. `max_age` is seconds."""

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
        shared: Headers = (("Access-Control-Allow-Credentials", "true"),) if credentials else ()
        self._plain: Headers = (*shared, ("Access-Control-Expose-Headers", ", ".join((*EXPOSED, *expose))))
        self._preflight: Headers = (
            *shared,
            ("Access-Control-Allow-Methods", METHODS),
            ("Access-Control-Allow-Headers", ", ".join((*ALLOWED, *allow))),
            ("Access-Control-Max-Age", str(int(max_age))),
        )
        self._vary: Headers = (("Vary", "Origin"),) if enabled else ()

    def check(self, origin: str | None) -> None:
        """Raises OriginNotAllowed for a page that may not upload here."""
        if self._enabled and origin is not None and not self._allows(origin):
            raise OriginNotAllowed

    def headers(self, origin: str | None, *, preflight: bool) -> Headers:
        """For every response, errors included, or browsers see a CORS failure in place of the error (C47). Caches are
        told that it depends on the origin even when there is none (D19)."""
        if origin is None or not self._enabled or not self._allows(origin):
            return self._vary
        allowed = ("Access-Control-Allow-Origin", "*" if self._any else origin)
        return (*self._vary, allowed, *(self._preflight if preflight else self._plain))

    def _allows(self, origin: str) -> bool:
        return self._any or origin in self._origins
