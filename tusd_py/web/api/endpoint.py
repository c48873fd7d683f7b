"""One operation of the API: the one source of its route, its checks and its description."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_origin

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from tusd_py.errors import InvalidParameter, TusError


class Query(BaseModel):
    """The query parameters of an operation, of which there are none but those of a subclass. One that is a tuple may be
    given more than once."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """A JSON object that an operation answers with."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Q = TypeVar("Q", bound=Query)


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[Q]):
    """`path` is below the API's prefix, `{id}` in it the id of an upload. `act`, whose docstring is what users read, is
    given the request and its checked query; without an `answer` it returns None, which is 204. `failures` are those
    that are told beside what every operation can answer."""

    method: str
    path: str
    name: str
    query: type[Q]
    answer: type[Answer] | None
    act: Callable[[web.Request, Q], Awaitable[Answer | None]]
    failures: tuple[type[TusError], ...] = ()

    async def handle(self, request: web.Request) -> web.Response:
        answer = await self.act(request, understood(self.query, request))
        if answer is None:
            return web.Response(status=204)
        return web.json_response(text=answer.model_dump_json())


AnyEndpoint = Endpoint[Any]


def understood(model: type[Q], request: web.Request) -> Q:
    """The query of a request, checked; errors.InvalidParameter says what is allowed, and never quotes what came."""
    given = request.query
    _insist_on_known(list(given), list(model.model_fields))
    values: dict[str, str | list[str]] = {}
    for name in given:
        several = given.getall(name)
        if get_origin(model.model_fields[name].annotation) is tuple:
            values[name] = several
        elif len(several) == 1:
            values[name] = several[0]
        else:
            raise InvalidParameter(f"The parameter {name} is given more than once.")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        raise InvalidParameter(f"{wrong['loc'][0]}: {wrong['msg']}.") from error


def _insist_on_known(given: list[str], known: list[str]) -> None:
    if not set(given) <= set(known):
        allowed = f"those known are {', '.join(known)}" if known else "there are none here"
        raise InvalidParameter(f"There is an unknown query parameter; {allowed}.")
