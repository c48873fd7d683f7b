"""The description of the API in OpenAPI 3.1, made from its endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from pydantic.json_schema import models_json_schema

from tusd_py import __version__
from tusd_py.errors import ApiClosed, InvalidParameter, TusError, Unauthorised
from tusd_py.upload import ID_PATTERN
from tusd_py.web.api.endpoint import AnyEndpoint
from tusd_py.web.api.problem import MEDIA_TYPE, Problem

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/{model}"
SECURITY = "token"
EVERYWHERE = (InvalidParameter, Unauthorised, ApiClosed)
SECURITY_SCHEMES = {
    SECURITY: {
        "type": "http",
        "scheme": "bearer",
        "description": "One of api_tokens; not needed on the control socket.",
    }
}
ID: Schema = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The last segment of an upload's URL.",
    "schema": {"type": "string", "pattern": f"^{ID_PATTERN.pattern}$"},
}


def describe(endpoints: Sequence[AnyEndpoint], prefix: str) -> Schema:
    """The whole document, without itself."""
    paths: dict[str, Schema] = {}
    for endpoint in endpoints:
        paths.setdefault(prefix + endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "tusd-py", "version": __version__, "description": "Uploads, for those who run the server."},
        "paths": paths,
        "components": {"schemas": _schemas(endpoints), "securitySchemes": SECURITY_SCHEMES},
        "security": [{SECURITY: []}],
    }


def _operation(endpoint: AnyEndpoint) -> Schema:
    return {
        "operationId": endpoint.name,
        "summary": _sentence(endpoint.act),
        "parameters": list(_parameters(endpoint)),
        "responses": _success(endpoint) | _failures((*endpoint.failures, *EVERYWHERE)),
    }


def _parameters(endpoint: AnyEndpoint) -> Iterator[Schema]:
    if "{id}" in endpoint.path:
        yield ID
    properties = endpoint.query.model_json_schema(ref_template=REFERENCE).get("properties", {})
    for name, schema in properties.items():
        description = schema.pop("description")
        yield {"name": name, "in": "query", "required": False, "description": description, "schema": _given(schema)}


def _given(schema: Schema) -> Schema:
    """A query parameter is left out, never null."""
    kinds = [kind for kind in schema.pop("anyOf", []) if kind != {"type": "null"}]
    told = schema | (kinds[0] if kinds else {})
    return {key: value for key, value in told.items() if key != "title" and value is not None}


def _success(endpoint: AnyEndpoint) -> Schema:
    if endpoint.answer is None:
        return {"204": {"description": "Done."}}
    schema = {"$ref": REFERENCE.format(model=endpoint.answer.__name__)}
    return {"200": {"description": _sentence(endpoint.answer), "content": {"application/json": {"schema": schema}}}}


def _sentence(told: object) -> str:
    return " ".join((told.__doc__ or "").split())


def _failures(errors: Sequence[type[TusError]]) -> Schema:
    by_status: dict[int, list[type[TusError]]] = {}
    for error in errors:
        if error not in by_status.setdefault(error.status, []):
            by_status[error.status].append(error)
    content = {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model=Problem.__name__)}}}
    told = {
        str(status): {"description": " ".join(f"{e.code}: {e.sentence()}" for e in kinds), "content": content}
        for status, kinds in sorted(by_status.items())
    }
    return told | {"default": {"description": HTTPStatus.INTERNAL_SERVER_ERROR.phrase, "content": content}}


def _schemas(endpoints: Sequence[AnyEndpoint]) -> Schema:
    answers = {endpoint.answer for endpoint in endpoints if endpoint.answer is not None} | {Problem}
    ordered = sorted(answers, key=lambda model: model.__name__)
    schemas: Schema = models_json_schema([(model, "serialization") for model in ordered], ref_template=REFERENCE)[1]
    told: Schema = schemas["$defs"]
    for endpoint in endpoints:
        told |= endpoint.query.model_json_schema(ref_template=REFERENCE).get("$defs", {})
    for schema in told.values():
        if "enum" in schema:
            del schema["description"]  # written for readers of the code
    return told
