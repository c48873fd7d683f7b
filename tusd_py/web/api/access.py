"""Who may use the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hmac import compare_digest

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tusd_py.errors import ApiClosed, Unauthorised


def bearers_only(tokens: Callable[[], Sequence[str]]) -> Middleware:
    """Lets in who brings one of the tokens, which are asked for at each request, since they can be read again."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        known = tokens()
        if not known:
            raise ApiClosed
        scheme, _, brought = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not _is_among(brought.strip(), known):
            raise Unauthorised
        return await handler(request)

    return admit


def _is_among(brought: str, known: Sequence[str]) -> bool:
    """Takes as long whichever token comes near: all of them are compared, each in constant time."""
    raw = brought.encode("utf-8", "surrogateescape")
    return sum(compare_digest(raw, token.encode()) for token in known) > 0
