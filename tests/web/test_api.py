"""The API: who may use it, what it says of uploads, and that its description is true."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.web.operating import Client, Office, opened, problem_of, served
from tusd_py.upload import Kind, State, new_id
from tusd_py.web.api.problem import Problem
from tusd_py.web.api.uploads import UploadDetails

LIST = "/api/v1/uploads"
TOKEN = "c0rrect-h0rse-battery"
UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"

Document = Mapping[str, Any]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path) as office:
        yield office


@pytest.fixture
async def client(office: Office) -> AsyncIterator[Client]:
    """The control socket's view: no token needed."""
    async with served(office.application(trusted=True)) as client:
        yield client


@pytest.fixture
async def outsider(office: Office) -> AsyncIterator[Client]:
    """The TCP port's view."""
    async with served(office.application(trusted=False)) as client:
        yield client


async def fetched(client: Client, path: str, **parameters: str) -> Any:
    async with client.get(path, params=parameters) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        return await response.json()


# Who may


PATHS = [
    ("GET", LIST),
    ("GET", f"{LIST}/{UNKNOWN}"),
    ("DELETE", f"{LIST}/{UNKNOWN}"),
    ("GET", "/api/v1/openapi.json"),
    ("POST", "/api/v1/sweep"),
]
PATHS += [("GET", "/api/v1/nothing"), ("PUT", LIST), ("GET", "/%61pi/v1/uploads"), ("GET", "/api/v1//uploads")]


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_without_a_token_configured_the_port_is_closed(outsider: Client, method: str, path: str) -> None:
    """403 that names the setting and the control socket, whatever is sent and asked for."""
    for headers in ([], [("Authorization", "Bearer ")], [("Authorization", f"Bearer {TOKEN}")]):
        told = await problem_of(outsider, method, path, headers)
        assert told["status"] in ({403, 404} if "//" in path or "%" in path else {403})
        if told["status"] == 403:
            assert told["code"] == "ERR_API_CLOSED"
            assert "api_tokens" in str(told["detail"])
            assert "control.sock" in str(told["detail"])


WRONG = [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"]
WRONG += [f"Bearer {TOKEN} {TOKEN}", "Bearer \N{SNOWMAN}", f"Bearer {TOKEN.upper()}", "Bearer null"]


@pytest.mark.parametrize("brought", WRONG)
async def test_a_wrong_token_is_turned_away(office: Office, outsider: Client, brought: str | None) -> None:
    """401 and the scheme that is wanted; nothing is done."""
    office.tokens[:] = ["another", TOKEN]
    upload, _, _ = await office.create(b"1", 2)
    headers = [] if brought is None else [("Authorization", brought)]
    told = await problem_of(outsider, "DELETE", f"{LIST}/{upload.id}", headers)
    assert (told["status"], told["code"]) == (401, "ERR_UNAUTHORISED")
    async with outsider.get(LIST, headers=dict(headers)) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert await office.records.load(upload.id) is not None


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN}"])
async def test_any_of_the_tokens_opens(office: Office, outsider: Client, header: str) -> None:
    """Every token of the settings is good, the scheme in any case, from the moment it is configured."""
    office.tokens[:] = ["another", TOKEN]
    async with outsider.get(LIST, headers={"Authorization": header}) as response:
        assert response.status == 200
    office.tokens[:] = ["another"]
    async with outsider.get(LIST, headers={"Authorization": header}) as response:
        assert response.status == 401


async def test_metrics_and_readiness_need_no_token(office: Office, outsider: Client) -> None:
    """The port is private; only the API can read and delete uploads."""
    for path in ("/metrics", "/readyz", "/healthz"):
        async with outsider.get(path) as response:
            assert response.status == 200


async def test_the_control_socket_needs_no_token(office: Office, client: Client) -> None:
    """The file's permissions have said who may, with tokens configured or without."""
    assert await fetched(client, LIST) == {"uploads": [], "next": None}
    office.tokens[:] = [TOKEN]
    assert await fetched(client, LIST) == {"uploads": [], "next": None}


# Show


async def test_show_tells_how_far_an_upload_is(office: Office, client: Client) -> None:
    """Record, offset, expiry and metadata in readable form; nothing of the storage's own."""
    name = b64encode("Übersicht.mp4".encode()).decode()
    upload, _, _ = await office.create(b"12345", 10, f"filename {name},empty")
    told = await fetched(client, f"{LIST}/{upload.id}")
    shown = UploadDetails.model_validate(told)
    assert (shown.id, shown.state, shown.kind) == (upload.id, State.RECEIVING, Kind.REGULAR)
    assert (shown.offset, shown.length) == (5, 10)
    assert shown.metadata == {"filename": "Übersicht.mp4", "empty": ""}
    assert shown.raw_metadata == f"filename {name},empty"
    assert shown.expires is not None
    assert timedelta(minutes=59) < shown.expires - datetime.now(UTC) <= timedelta(hours=1)
    assert "handle" not in told


async def test_show_a_finished_upload(office: Office, client: Client) -> None:
    """It has an end and does not expire."""
    upload, _, _ = await office.create(b"12345", 5)
    shown = UploadDetails.model_validate(await fetched(client, f"{LIST}/{upload.id}"))
    assert (shown.state, shown.offset, shown.expires, shown.metadata) == (State.FINISHED, 5, None, None)
    assert shown.ended is not None
    assert shown.ended >= shown.created


async def test_metadata_that_is_no_text_is_shown_raw(office: Office, client: Client) -> None:
    """Bytes that are not UTF-8 spoil nothing: the field is there as it was received."""
    upload, _, _ = await office.create(b"1", 5, "key //79")
    shown = UploadDetails.model_validate(await fetched(client, f"{LIST}/{upload.id}"))
    assert (shown.metadata, shown.raw_metadata) == (None, "key //79")


async def test_show_disturbs_no_writer(office: Office, client: Client) -> None:
    """A long silent writer is ended by a HEAD, but not by an operator who looks; the lock is not asked for."""
    upload, _, _ = await office.create(b"12345", 10)
    body, wanted = office.body(b"67890"), asyncio.Event()
    body.silent_since = 0.0
    async with office.locks.hold(upload.id, when_wanted=lambda _: wanted.set() is None, patience=1.0):
        office.uploads.writers.begin(upload.id, body)
        assert (await fetched(client, f"{LIST}/{upload.id}"))["offset"] == 5
        office.uploads.writers.end(upload.id)
    assert not wanted.is_set()


@pytest.mark.parametrize("state", [State.FAILED, State.EXPIRED])
async def test_tombstones_are_shown(office: Office, client: Client, state: State) -> None:
    """Where a client is told 410, an operator sees what became of it."""
    upload, _, _ = await office.create(b"12345", 10)
    await office.records.end(upload.id, state, upload.created + 60)
    shown = UploadDetails.model_validate(await fetched(client, f"{LIST}/{upload.id}"))
    assert (shown.state, shown.offset, shown.length) == (state, None, 10)
    assert shown.ended is not None


async def test_lost_bytes_are_a_clear_error(office: Office, client: Client) -> None:
    """A file that somebody deleted is 410 here too, never a 500."""
    upload, _, _ = await office.create(b"12345", 10)
    (office.storage.folder / upload.id).unlink()
    told = await problem_of(client, "GET", f"{LIST}/{upload.id}")
    assert (told["status"], told["code"]) == (410, "ERR_UPLOAD_FAILED")


@pytest.mark.parametrize("id", [UNKNOWN, "short", "%2e%2e", "a%2Fb", "x" * 500, "a" * 21 + "%00"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_unknown_ids_are_not_found(client: Client, method: str, id: str) -> None:
    """Whatever is no id of an upload here is 404 as a problem, and reaches no path."""
    told = await problem_of(client, method, f"{LIST}/{id}")
    assert told["status"] == 404
    assert told["code"] in {"ERR_UPLOAD_NOT_FOUND", "ERR_NOT_FOUND"}


# Terminate


async def test_terminate_deletes(office: Office, client: Client) -> None:
    """204, and the upload, its bytes and its URL are gone."""
    upload, _, _ = await office.create(b"12345", 10)
    async with client.delete(f"{LIST}/{upload.id}") as response:
        assert response.status == 204
        assert response.headers["Cache-Control"] == "no-store"
        assert await response.read() == b""
    assert list(office.storage.folder.iterdir()) == []
    for method in ("GET", "DELETE"):
        assert (await problem_of(client, method, f"{LIST}/{upload.id}"))["status"] == 404


async def test_terminate_stops_a_writer_first(office: Office, client: Client) -> None:
    """Whoever holds the upload is asked to let go, and the bytes go after that."""
    upload, _, _ = await office.create(b"12345", 10)
    wanted = asyncio.Event()
    async with office.locks.hold(upload.id, when_wanted=lambda _: wanted.set() is None, patience=1.0):
        deletion = asyncio.create_task(client.delete(f"{LIST}/{upload.id}"))
        await asyncio.wait_for(wanted.wait(), 5)
        assert await office.records.load(upload.id) is not None
    async with await deletion as response:
        assert response.status == 204


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_one_upload_takes_no_parameters(office: Office, client: Client, method: str) -> None:
    """An unknown parameter is refused before anything is done."""
    upload, _, _ = await office.create(b"1", 2)
    assert (await problem_of(client, method, f"{LIST}/{upload.id}?force=1"))["status"] == 400
    assert await office.records.load(upload.id) is not None


# The description


async def test_the_description_names_every_route(office: Office, client: Client) -> None:
    """The routes under /api/v1 and the operations described are the same, but for the description itself."""
    document = await fetched(client, "/api/v1/openapi.json")
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    served_here = {
        (route.method, route.resource.canonical)
        for route in client.app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/api/")
    }
    assert served_here - {("HEAD", "/api/v1/openapi.json")} == described | {("GET", "/api/v1/openapi.json")}


async def test_the_page_names_every_operation(client: Client) -> None:
    """docs/api.md tells of each operation with its parameters."""
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    document = await fetched(client, "/api/v1/openapi.json")
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert f"`{method.upper()} {path}`" in page
            assert all(f"`{parameter['name']}`" in page for parameter in operation["parameters"])


async def test_the_description_is_well_formed(client: Client) -> None:
    """OpenAPI 3.1: every reference leads somewhere, every path parameter is declared, names are unique."""
    document = await fetched(client, "/api/v1/openapi.json")
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    references = set(re.findall(r"'\$ref': '([^']+)'", str(document)))
    assert references == {f"#/components/schemas/{name}" for name in schemas}
    operations = [(path, each) for path, item in document["paths"].items() for each in item.values()]
    assert len({each["operationId"] for _, each in operations}) == len(operations)
    for path, each in operations:
        declared = {parameter["name"] for parameter in each["parameters"] if parameter["in"] == "path"}
        assert declared == set(re.findall(r"\{(\w+)\}", path))
        assert each["summary"].endswith(".")
        assert {"401", "403", "default"} <= set(each["responses"])


def fits(value: object, schema: Document, document: Document) -> bool:
    """Whether a JSON value has the shape of a schema: the part of JSON Schema that this document uses."""
    if "$ref" in schema:
        return fits(value, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if "anyOf" in schema:
        return any(fits(value, each, document) for each in schema["anyOf"])
    if "enum" in schema and value not in schema["enum"]:
        return False
    match schema["type"], value:
        case "object", dict():
            return _object_fits(value, schema, document)
        case "array", list():
            return all(fits(each, schema["items"], document) for each in value)
        case "string", str():
            return schema.get("format") != "date-time" or datetime.fromisoformat(value).utcoffset() is not None
        case "integer", int():
            return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
        case "null", None:
            return True
    return False


def _object_fits(value: Mapping[str, object], schema: Document, document: Document) -> bool:
    properties, rest = schema.get("properties", {}), schema["additionalProperties"]
    if not set(schema.get("required", ())) <= set(value):
        return False
    if rest is False and not set(value) <= set(properties):
        return False
    return all(fits(each, properties.get(name, rest), document) for name, each in value.items())


async def test_answers_are_as_described(office: Office, client: Client) -> None:
    """Every kind of answer, successes and failures, has the shape that the description gives for its status."""
    document = await fetched(client, "/api/v1/openapi.json")
    upload, _, _ = await office.create(b"1", 10, "filename bmFtZQ==")
    await office.create(b"", None)
    await office.create(b"12", 2)
    one = "/api/v1/uploads/{id}"
    asked = [
        *(("get", LIST, LIST, 200), ("get", LIST, f"{LIST}?limit=1", 200), ("get", LIST, f"{LIST}?limit=0", 400)),
        *(("get", one, f"{LIST}/{upload.id}", 200), ("get", one, f"{LIST}/{new_id()}", 404)),
        *(("get", one, f"{LIST}/{new_id()}?x=1", 400), ("delete", one, f"{LIST}/{new_id()}", 404)),
    ]
    for method, path, url, status in asked:
        async with client.request(method, url) as response:
            assert response.status == status
            described = document["paths"][path][method]["responses"][str(status)]["content"]
            assert fits(await response.json(), described[response.content_type]["schema"], document), url


def test_the_check_of_shapes_can_fail() -> None:
    """What is missing, too much or of another type does not fit."""
    schema = Problem.model_json_schema()
    good = {"type": "about:blank", "title": "Gone", "status": 410, "code": "ERR", "detail": "It is gone."}
    assert fits(good, schema, {})
    assert not fits(good | {"more": 1}, schema, {})
    assert not fits(good | {"status": "410"}, schema, {})
    assert not fits(good | {"status": 200}, schema, {})
    assert not fits({"title": "Gone"}, schema, {})
