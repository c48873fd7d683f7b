"""One line an event, whatever stands in it; and a request log that never makes anybody wait."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tusd_py.logs import FLUSH_AT, HOLD_AT_MOST, Format, RequestLog, configure

HOSTILE = 'a\r\nb\x1b[31m"\\\x7f\x9b\u2028é\ud800'
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging as it was before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(format: Format, name: str, **fields: object) -> str:
    stream = io.StringIO()
    configure(format, "info", stream)
    logging.getLogger("tusd_py.test").info(name, extra=fields)
    return stream.getvalue()


# Events


@pytest.mark.usefixtures("restored")
def test_an_event_in_text() -> None:
    """Time, level, name, then key=value, quoted only where needed."""
    text = logged("text", "upload-finished", id="abc", size=7, took=0.25, why="two words", empty="", on=True, no=None)
    assert STAMP.match(text)
    assert STAMP.sub("", text) == (
        'INFO upload-finished id=abc size=7 took=0.25 why="two words" empty="" on=true no=none\n'
    )


@pytest.mark.usefixtures("restored")
def test_an_event_in_json() -> None:
    """One object a line; types are kept, and no field can pose as time, level or name."""
    event = json.loads(logged("json", "upload-finished", id="abc", size=7, level="forged", where=Path("/x")))
    assert STAMP.match(event.pop("time") + " ")
    assert event == {"level": "info", "message": "upload-finished", "id": "abc", "size": 7, "where": "/x"}


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("format", ["text", "json"])
def test_what_a_client_sent_stays_on_its_line(format: Format) -> None:
    """No line end, no control character and no terminal escape gets through, in fields or in the name."""
    for line in (logged(format, "refused", path=HOSTILE), logged(format, HOSTILE)):
        assert line.endswith("\n")
        assert re.fullmatch(r"[ -~]+", line[:-1])


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("format", ["text", "json"])
def test_an_exception_is_one_field(format: Format) -> None:
    """The traceback is escaped into `error`."""
    stream = io.StringIO()
    configure(format, "info", stream)
    try:
        raise OSError("disk\non fire")
    except OSError:
        logging.getLogger("tusd_py.test").exception("sweep-failed")
    [line] = stream.getvalue().splitlines()
    assert "error" in line
    assert "disk\\non fire" in line


@pytest.mark.usefixtures("restored")
def test_lesser_levels_are_not_logged() -> None:
    """The level is the least that is logged."""
    stream = io.StringIO()
    configure("text", "warning", stream)
    logging.getLogger("tusd_py.test").info("quiet")
    logging.getLogger("tusd_py.test").warning("loud")
    assert [line.split()[2] for line in stream.getvalue().splitlines()] == ["loud"]


# Several processes


@pytest.mark.usefixtures("restored")
def test_an_event_names_its_process() -> None:
    """Where there are several, every event says which of them it is of; no field can pose as that."""
    for format, told in (("text", " process=2\n"), ("json", ', "process": 2}\n')):
        stream = io.StringIO()
        configure(format, "info", stream, process=2)
        logging.getLogger("tusd_py.test").info("upload-finished", extra={"id": "abc"})
        assert stream.getvalue().endswith(told)


@pytest.mark.parametrize(("format", "told"), [("text", " process=0\n"), ("json", ', "process": 0}\n')])
async def test_a_request_names_its_process(format: Format, told: str) -> None:
    """The line of a request does so too."""
    piped = Piped(format, process=0)
    piped.note()
    piped.log.flush()
    assert piped.read().endswith(told)
    piped.end()


# Logs requests and events as fast as it can.
LOGGER = """
import asyncio, logging, sys
from tusd_py import logs

async def main(process):
    logs.configure("text", "info", process=process)
    requests = logs.RequestLog(sys.stderr, "text", process=process)
    for number in range(1000):
        requests.line("PATCH", "/files/" + "x" * 150, 204, 0.1, 1, 0, "127.0.0.1", f"r{number}")
        if number % 10 == 0:
            logging.getLogger("tusd_py").info("upload-finished", extra={"id": "y" * 30})
            requests.flush()
    requests.close()

asyncio.run(main(int(sys.argv[1])))
"""
WHOLE = re.compile(
    r"\S+Z INFO (request method=PATCH path=/files/x{150} .* request_id=r\d+|upload-finished id=y{30}) process=\d"
)


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_lines_of_several_processes_do_not_mix(tmp_path: Path, kind: str) -> None:
    """They share one stderr, which need not be opened for appending: every line comes whole, and none is lost."""
    command = [sys.executable, "-c", SPAWNER, LOGGER]
    with (tmp_path / "log").open("wb") as file:
        target = file if kind == "file" else subprocess.PIPE
        done = subprocess.run(command, stderr=target, check=True, timeout=60)
    lines = (done.stderr or (tmp_path / "log").read_bytes()).decode().splitlines()
    assert [line for line in lines if not WHOLE.fullmatch(line)] == []
    assert Counter(line[-1] for line in lines) == {"0": 1100, "1": 1100, "2": 1100}


# As a parent does: children that share its stderr.
SPAWNER = """
import subprocess, sys
children = [subprocess.Popen([sys.executable, "-c", sys.argv[1], str(number)]) for number in range(3)]
sys.exit(max(child.wait() for child in children))
"""


# Requests


class Piped:
    """A request log into a pipe that is read when the test says so."""

    def __init__(self, format: Format = "text", process: int | None = None) -> None:
        self._reader, writer = os.pipe()
        self._stream = os.fdopen(writer, "w")
        self.log = RequestLog(self._stream, format, process=process)

    def note(self, path: str = "/files/a", request_id: str = "r1") -> None:
        self.log.line("PATCH", path, 204, 0.0125, 4096, 0, "127.0.0.1", request_id)

    def read(self) -> str:
        """What is in the pipe at this moment."""
        os.set_blocking(self._reader, False)
        pieces = []
        try:
            while piece := os.read(self._reader, 1 << 20):
                pieces.append(piece)
        except BlockingIOError:
            pass
        return b"".join(pieces).decode()

    def end(self) -> None:
        self.log.close()
        self._stream.close()
        os.close(self._reader)


@pytest.fixture
def piped() -> Iterator[Piped]:
    made = Piped()
    yield made
    made.end()


async def test_a_request_in_text(piped: Piped) -> None:
    """One line with all that is known of a request."""
    piped.note()
    piped.log.flush()
    assert STAMP.sub("", piped.read()) == (
        "INFO request method=PATCH path=/files/a status=204 seconds=0.012500 "
        "received=4096 sent=0 peer=127.0.0.1 request_id=r1\n"
    )


async def test_a_request_in_json() -> None:
    """The same in JSON, with numbers as numbers."""
    piped = Piped("json")
    piped.note()
    piped.note(HOSTILE)
    piped.log.flush()
    plain, hostile = map(json.loads, piped.read().splitlines())
    piped.end()
    assert STAMP.match(plain.pop("time") + " ")
    assert plain.pop("seconds") == 0.0125
    assert plain == {
        "level": "info",
        "message": "request",
        "method": "PATCH",
        "path": "/files/a",
        "status": 204,
        "received": 4096,
        "sent": 0,
        "peer": "127.0.0.1",
        "request_id": "r1",
    }
    assert hostile["path"] == HOSTILE


async def test_hostile_requests_stay_on_their_line(piped: Piped) -> None:
    """Paths and request ids are the client's: they are escaped, and clipped when they are long."""
    piped.note(HOSTILE, HOSTILE)
    piped.note("/files/" + "x" * 10_000)
    piped.log.flush()
    strange, long = piped.read().splitlines()
    assert re.fullmatch(r"[ -~]+", strange)
    assert strange.count(" ") == 10, "no field can pose as two"
    assert len(long) < 500


async def test_lines_wait_for_the_timer_and_keep_their_order(piped: Piped) -> None:
    """Nothing is written at once; the timer writes all, in the order in which it happened."""
    for number in range(100):
        piped.note(request_id=f"r{number}")
    assert piped.read() == ""
    text = ""
    async with asyncio.timeout(5):
        while text.count("\n") < 100:
            await asyncio.sleep(0.01)  # polls the other end of the pipe, with a deadline
            text += piped.read()
    assert re.findall(r"request_id=r(\d+)", text) == [str(number) for number in range(100)]


async def test_much_is_written_without_the_timer(piped: Piped) -> None:
    """At 64 KiB the lines are written at once."""
    written = ""
    for number in range(FLUSH_AT // 100):
        piped.note(request_id=f"r{number}")
        written += piped.read()
        if written:
            break
    assert written.startswith("20")


async def test_a_reader_that_is_stuck_delays_nobody(piped: Piped) -> None:
    """Lines are held up to 1 MiB, then dropped and counted; once there is room the rest comes in order."""
    total = 2 * HOLD_AT_MOST // 100
    for number in range(total):
        piped.note(request_id=f"r{number}")
    assert piped.log.dropped > 0
    text = piped.read()
    for _ in range(100):
        piped.log.flush()
        text += piped.read()
    kept = total - piped.log.dropped
    assert re.findall(r"request_id=r(\d+)", text) == [str(number) for number in range(kept)]


async def test_dropped_lines_are_told_of(piped: Piped, caplog: pytest.LogCaptureFixture) -> None:
    """Once there is room again, one event says how many lines are missing."""
    while not piped.log.dropped:
        piped.note()
    for _ in range(100):
        piped.read()
        piped.log.flush()
    [told] = [record for record in caplog.records if record.getMessage() == "request-lines-dropped"]
    assert vars(told)["lines"] == piped.log.dropped


async def test_closing_writes_the_rest(piped: Piped) -> None:
    """What is held when the server stops is written, without a timer."""
    piped.note()
    piped.log.close()
    assert piped.read().count("\n") == 1


async def test_closing_does_not_wait_for_ever(piped: Piped) -> None:
    """A reader that is stuck loses the rest, which is counted."""
    while not piped.log.dropped:
        piped.note()
    before = piped.log.dropped
    piped.log.close()
    assert piped.log.dropped > before


async def test_a_reader_that_is_gone_stops_nothing() -> None:
    """A broken pipe swallows lines; uploads go on."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        log = RequestLog(stream, "text")
        os.close(reader)
        for _ in range(FLUSH_AT // 50):
            log.line("GET", "/", 200, 0.0, 0, 0, "::1", "r")
        log.flush()
        assert log.dropped == 0
        log.close()
