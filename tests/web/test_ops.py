"""The private port: metrics, readiness, and errors in one form."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from tests.web.operating import Client, Office, opened, problem_of, served
from tusd_py.errors import Unavailable
from tusd_py.web.api.problem import answer_to_framework
from tusd_py.web.private import PrivateRunner


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with opened(tmp_path) as office:
        yield office


@pytest.fixture
async def client(office: Office) -> AsyncIterator[Client]:
    async with served(office.application()) as client:
        yield client


async def scrape(client: Client) -> dict[str, float]:
    """Samples by name, and by name and label values joined."""
    async with client.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        families = text_string_to_metric_families(await response.text())
    return {"/".join([s.name, *s.labels.values()]): s.value for family in families for s in family.samples}


async def test_metrics_follow_an_upload(office: Office, client: Client) -> None:
    """Created, open, finished: each is seen at the next scrape."""
    before = await scrape(client)
    upload, _, _ = await office.create(b"12345", 10)
    half = await scrape(client)
    await office.append(upload.id, 5, b"67890")
    whole = await scrape(client)
    created, finished = "tusd_py_uploads_created_total/regular", "tusd_py_uploads_finished_total/regular"
    assert [told[created] for told in (before, half, whole)] == [0, 1, 1]
    assert [told[finished] for told in (before, half, whole)] == [0, 0, 1]
    assert [told["tusd_py_open_uploads"] for told in (before, half, whole)] == [0, 1, 0]
    assert whole["tusd_py_committed_requests_total"] > half["tusd_py_committed_requests_total"] > 0
    assert whole["tusd_py_sync_seconds_count"] >= 1
    assert whole["tusd_py_free_disk_bytes"] > 0


@pytest.mark.parametrize("size", [4 << 10, 2 << 20])
async def test_every_sync_is_timed(office: Office, client: Client, size: int) -> None:
    """A finished upload has been synced, in a group if it is small and alone if it is large, and that is seen."""
    await office.create(b"x" * size, size)
    told = await scrape(client)
    assert told["tusd_py_sync_seconds_count"] == 1
    assert told["tusd_py_sync_seconds_sum"] > 0


async def test_metrics_survive_the_database(office: Office, client: Client) -> None:
    """When the records do not answer, the other figures are still told."""
    await office.database.close()
    told = await scrape(client)
    assert "tusd_py_open_uploads" not in told
    assert told["tusd_py_open_connections"] == 3


async def test_ready_when_every_check_is_ok(client: Client) -> None:
    """Names and verdicts of the checks, and nothing to cache."""
    async with client.get("/readyz") as response:
        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        assert await response.json() == {"status": "ready", "checks": {"database": "ok", "folder": "ok"}}


async def test_not_ready_when_one_check_is_not(office: Office, client: Client) -> None:
    """503, with the sentence that says what is wrong."""
    office.checks["folder"] = "only 3 MiB are free"
    async with client.get("/readyz") as response:
        assert response.status == 503
        told = await response.json()
    assert told == {"status": "not ready", "checks": {"database": "ok", "folder": "only 3 MiB are free"}}


async def test_checks_that_hang_do_not_hang_the_probe(office: Office) -> None:
    """A probe is told 503 within its patience; all share one round of checks until that has ended."""
    rounds, release = 0, asyncio.Event()

    class Hanging(Office):
        async def readiness(self) -> dict[str, str]:
            nonlocal rounds
            rounds += 1
            await release.wait()
            return {"folder": "ok"}

    hanging = Hanging(**vars(office))
    async with served(hanging.application(patience=0.05)) as client:
        for _ in range(3):
            async with client.get("/readyz") as response:
                assert response.status == 503
                assert (await response.json())["checks"] == {"checks": "no result within 0.05 s"}
        assert rounds == 1
        release.set()
        async with client.get("/readyz") as response:
            assert response.status == 200
        assert rounds == 2


async def test_alive_without_any_check(office: Office, client: Client) -> None:
    """/healthz says that the process answers, whatever else is broken."""
    office.checks["database"] = "gone"
    async with client.get("/healthz") as response:
        assert response.status == 200
        assert await response.json() == {"status": "ok"}


async def test_unknown_paths_and_methods_are_problems(client: Client) -> None:
    """What the framework refuses has the same form as everything else."""
    told = await problem_of(client, "GET", "/nowhere")
    assert (told["status"], told["code"]) == (404, "ERR_NOT_FOUND")
    told = await problem_of(client, "PUT", "/metrics")
    assert (told["status"], told["code"]) == (405, "ERR_METHOD_NOT_ALLOWED")
    async with client.put("/metrics") as response:
        assert response.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize("garbage", [b"GARBAGE\r\n\r\n", b"GET /metrics HTTP/1.1\r\nBad Name: x\r\n\r\n"])
async def test_what_is_no_request(office: Office, garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What the parser refuses is a problem as well, ends the connection, and is no error in the log."""
    runner = PrivateRunner(office.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
    writer.write(garbage)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await runner.cleanup()
    lines = head.decode().split("\r\n")
    assert lines[0].startswith("HTTP/1.")
    assert " 400 " in lines[0]
    assert {"Content-Type: application/problem+json; charset=utf-8", "Cache-Control: no-store"} <= set(lines)
    assert json.loads(body)["code"] == "ERR_BAD_REQUEST"
    assert caplog.records == []


def test_other_refusals_of_the_framework_are_problems_too() -> None:
    """A status that we have no error for is kept, with a code that says whose fault it was."""
    answer = answer_to_framework(web.HTTPRequestEntityTooLarge(10, 20))
    assert (answer.status, answer.content_type) == (413, "application/problem+json")
    assert '"code":"ERR_BAD_REQUEST"' in (answer.text or "")


async def test_a_defect_is_logged_and_not_told(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception is 500 without its text, a traceback in the log and a step of the counter."""

    class Defective(Office):
        async def readiness(self) -> dict[str, str]:
            raise LookupError("secret detail")

    defective = Defective(**vars(office))
    async with served(defective.application()) as client:
        with caplog.at_level(logging.ERROR, "tusd_py.web"):
            told = await problem_of(client, "GET", "/readyz")
        counted = await scrape(client)
    assert (told["status"], told["code"]) == (500, "ERR_INTERNAL_SERVER_ERROR")
    assert "secret" not in str(told)
    assert "secret detail" in caplog.text
    assert counted["tusd_py_errors_total/ERR_INTERNAL_SERVER_ERROR/500"] == 1


async def test_a_failure_of_ours_keeps_its_status(office: Office) -> None:
    """503 with Retry-After, where waiting helps."""

    class Unwell(Office):
        async def readiness(self) -> dict[str, str]:
            raise Unavailable

    unwell = Unwell(**vars(office))
    async with served(unwell.application()) as client, client.get("/readyz") as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "5"
        assert (await response.json())["code"] == "ERR_STORAGE_UNAVAILABLE"


async def test_head_is_answered_like_get(client: Client) -> None:
    """Probes that send HEAD are served too."""
    for path in ("/metrics", "/readyz", "/healthz"):
        async with client.head(path) as response:
            assert response.status == 200
            assert await response.read() == b""
