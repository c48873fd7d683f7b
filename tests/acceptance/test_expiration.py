"""Unfinished uploads do not stay for ever."""

from __future__ import annotations

import os
import re
import time
from email.utils import parsedate_to_datetime

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import Answer, eventually
from tests.conftest import StartServer

DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
IMF_FIXDATE = rf"({DAYS}), \d{{2}} ({MONTHS}) \d{{4}} \d{{2}}:\d{{2}}:\d{{2}} GMT"


def expires(answer: Answer) -> float:
    """Upload-Expires in seconds since the epoch."""
    return parsedate_to_datetime(answer["Upload-Expires"]).timestamp()


def make_older(server: Server, path: str, seconds: float) -> None:
    """Make an upload look as if it had last been written to that long ago."""
    [file] = [file for file in server.folder.rglob(path.rsplit("/", 1)[1]) if file.is_file()]
    then = time.time() - seconds
    os.utime(file, (then, then))


@pytest.mark.rule("T79", "T80")
def test_everybody_is_told_when(server_with: StartServer) -> None:
    """POST, PATCH and HEAD of an unfinished upload carry the date, in English and whole seconds."""
    server = server_with("--expire-after", "24h")
    created = server.create(10, body=b"a")
    patched = server.patch(created.path, 1, b"bc")
    answers = [created, patched, server.head(created.path), server.create(10)]
    assert all(re.fullmatch(IMF_FIXDATE, answer["Upload-Expires"]) for answer in answers)
    now = parsedate_to_datetime(patched["Date"]).timestamp()
    assert all(86395 <= expires(answer) - now <= 86405 for answer in answers)


@pytest.mark.rule("T80")
def test_the_locale_does_not_matter(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dates are English wherever the server runs."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    answer = start_server("--expire-after", "24h").create(10)
    assert re.fullmatch(IMF_FIXDATE, answer["Upload-Expires"])
    assert 86395 <= expires(answer) - parsedate_to_datetime(answer["Date"]).timestamp() <= 86405


@pytest.mark.rule("T78")
def test_finished_uploads_do_not_expire(server_with: StartServer) -> None:
    """A finished upload carries no date and outlives the period."""
    server = server_with("--expire-after", "1s")
    finished = server.create(3, body=b"abc")
    other = server.new(3)
    assert "Upload-Expires" not in finished
    eventually(lambda: server.head(other).status in (404, 410), "the other expires")
    assert "Upload-Expires" not in server.head(finished.path)
    assert server.get(finished.path).body == b"abc"


@pytest.mark.rule("T78")
def test_without_the_setting_nothing_expires(server_with: StartServer) -> None:
    """A server that keeps uploads for ever neither announces the extension nor sends dates."""
    server = server_with("--expire-after", "off")
    assert "expiration" not in server.options().listed("Tus-Extension")
    assert "Upload-Expires" not in server.create(10)
    assert "Upload-Expires" not in server.patch(server.new(10), 0, b"abc")


@pytest.mark.rule("T81", "T16", "T82")
@pytest.mark.parametrize(("options", "status"), [([], 410), (["--expired-status", "404"], 404)])
def test_an_expired_upload_is_gone(server_with: StartServer, options: list[str], status: int) -> None:
    """Every request on it is answered with the status of the settings, and never with an offset."""
    server = server_with("--expire-after", "1h", *options)
    path = server.new(10, body=b"abc")
    make_older(server, path, 4000)
    for answer in (server.head(path), server.patch(path, 3, b"d"), server.get(path), server.delete(path)):
        assert answer.status == status
        assert "Upload-Offset" not in answer
        assert answer["Cache-Control"] == "no-store"


@pytest.mark.rule("T81", "T82")
def test_expiry_is_seen_at_once_after_a_restart(start_server: StartServer) -> None:
    """What expired while the server was down is gone with the first request."""
    server = start_server("--expire-after", "1h")
    path = server.new(10, body=b"abc")
    server.terminate()
    make_older(server, path, 4000)
    server.restart()
    assert server.head(path).status == 410


@pytest.mark.rule("T79")
def test_a_write_moves_the_date(server_with: StartServer) -> None:
    """Each write gives the whole period again, since the date follows from the last one."""
    server = server_with("--expire-after", "1h")
    path = server.new(10, body=b"abc")
    before = expires(server.head(path))
    make_older(server, path, 1000)
    assert expires(server.head(path)) == pytest.approx(before - 1000, abs=2)
    assert expires(server.patch(path, 3, b"d")) >= before


@pytest.mark.rule("T78")
def test_the_sweep_frees_the_bytes(start_server: StartServer) -> None:
    """Expired bytes leave the disk without anybody asking."""
    server = start_server("--expire-after", "1s", "--sweep-interval", "200ms")
    path = server.new(10, body=b"abc")
    id = path.rsplit("/", 1)[1]
    eventually(lambda: not list(server.folder.rglob(id)), "the file is swept")
    assert server.head(path).status == 410
