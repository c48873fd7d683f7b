"""Errors of the private port: always problem details (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from aiohttp import web
from pydantic import Field

from tusd_py.errors import BadRequest, MethodNotAllowed, NotFound, TusError, Unauthorised
from tusd_py.web.api.endpoint import Answer

MEDIA_TYPE = "application/problem+json"
UNEXPECTED = "Something went wrong here; the server's log has the details."


class Problem(Answer):
    """What went wrong; `code` is stable, the other texts are for people."""

    type: str = "about:blank"
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    code: str
    detail: str


def answer_to(error: TusError) -> web.Response:
    """The reply to a request that failed."""
    return _answer(Problem(title=_title(error.status), status=error.status, code=error.code, detail=str(error)), error)


def answer_to_framework(error: web.HTTPException) -> web.Response:
    """The reply to what aiohttp refused by itself, in the same form."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return answer_to(MethodNotAllowed(allow=",".join(sorted(error.allowed_methods))))
    if error.status == NotFound.status:
        return answer_to(NotFound("There is nothing at this path."))
    told = BadRequest()
    return _answer(Problem(title=error.reason, status=error.status, code=told.code, detail=str(told)), told)


def _answer(problem: Problem, error: TusError) -> web.Response:
    response = web.Response(status=problem.status, text=problem.model_dump_json(), content_type=MEDIA_TYPE)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = error.allow
    if isinstance(error, Unauthorised):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # 460 is of tus and in no registry
        return "Error"
