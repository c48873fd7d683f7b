"""Unfinished uploads do not stay for ever."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

import pytest

from tests.acceptance.test_options import BARE
from tests.acceptance.wire import Answer, eventually
from tests.conftest import StartServer

DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
UNSWEPT = ("--expire-after", "1s", "--sweep-interval", "1h")
IMF_FIXDATE = rf"({DAYS}), \d{{2}} ({MONTHS}) \d{{4}} \d{{2}}:\d{{2}}:\d{{2}} GMT"


def expires(answer: Answer) -> float:
    """Upload-Expires in seconds since the epoch."""
    return parsedate_to_datetime(answer["Upload-Expires"]).timestamp()


def pass_by(seconds: float) -> None:
    """Wait until the clock, on which expiry hangs, has moved on."""
    end = time.time() + seconds
    eventually(lambda: time.time() > end, "time passes")


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


@pytest.mark.slow
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
    server = server_with(*UNSWEPT)
    finished = server.create(3, body=b"abc")
    other = server.new(3)
    assert "Upload-Expires" not in finished
    eventually(lambda: server.head(other).status in (404, 410), "the other expires")
    assert "Upload-Expires" not in server.head(finished.path)
    assert server.get(finished.path).body == b"abc"


@pytest.mark.rule("T78")
def test_without_the_setting_nothing_expires(server_with: StartServer) -> None:
    """A server that keeps uploads for ever neither announces the extension nor sends dates."""
    server = server_with(*BARE)
    assert "expiration" not in server.options().listed("Tus-Extension")
    assert "Upload-Expires" not in server.create(10)
    assert "Upload-Expires" not in server.patch(server.new(10), 0, b"abc")


@pytest.mark.rule("T81", "T16", "T82")
@pytest.mark.parametrize(("options", "status"), [([], 410), (["--expired-status", "404"], 404)])
def test_an_expired_upload_is_gone(server_with: StartServer, options: list[str], status: int) -> None:
    """Every request on it is answered with the status of the settings, and never with an offset."""
    server = server_with(*UNSWEPT, *options)
    path = server.new(10, body=b"abc")
    eventually(lambda: server.head(path).status != 200, "the upload expires")
    for answer in (server.head(path), server.patch(path, 3, b"d"), server.get(path), server.delete(path)):
        assert answer.status == status
        assert "Upload-Offset" not in answer
        assert answer["Cache-Control"] == "no-store"


@pytest.mark.rule("T82")
def test_expiry_is_seen_with_the_first_request(server_with: StartServer) -> None:
    """No sweep has to come by: bytes for an upload that has just expired are refused."""
    server = server_with(*UNSWEPT)
    path = server.new(10, body=b"abc")
    pass_by(1.1)
    assert server.patch(path, 3, b"d").status == 410


@pytest.mark.slow
@pytest.mark.rule("T81", "T82")
def test_expiry_is_seen_after_a_restart(start_server: StartServer) -> None:
    """What expired while the server was down is gone with the first request."""
    server = start_server("--expire-after", "1s")
    path = server.new(10, body=b"abc")
    server.terminate()
    pass_by(1.1)
    server.restart()
    assert server.head(path).status == 410


@pytest.mark.slow
@pytest.mark.rule("T79", "T78")
def test_a_write_gives_the_whole_period_again(server_with: StartServer) -> None:
    """The date moves with every write, so that an upload that lives does not expire."""
    server = server_with("--expire-after", "2s", "--sweep-interval", "100ms")
    created = server.create(4, body=b"a")
    dates = [expires(created)]
    for offset in (1, 2):
        pass_by(1.2)
        dates.append(expires(server.patch(created.path, offset, b"b")))
    assert dates[0] < dates[1] < dates[2]
    assert server.head(created.path).status == 200


@pytest.mark.rule("T78")
def test_the_sweep_frees_the_bytes(start_server: StartServer) -> None:
    """Expired bytes leave the disk without anybody asking."""
    server = start_server("--expire-after", "1s", "--sweep-interval", "200ms")
    path = server.new(10, body=b"abc")
    id = path.rsplit("/", 1)[1]
    eventually(lambda: not list(server.folder.rglob(id)), "the file is swept")
    assert server.head(path).status == 410
