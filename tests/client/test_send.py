"""`tusd-py send` against a real server, over a network that breaks, killed and interrupted."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.cutting_proxy import CuttingProxy
from tests.acceptance.server import ROOT, Server
from tests.acceptance.wire import MIB, eventually
from tests.conftest import StartServer
from tusd_py.cli import main
from tusd_py.cli.send import BEARER_VARIABLE

SIZE = 5 * MIB + 321
CUTS = [100_000, MIB, 3 * MIB, 5 * MIB]
GO_ON = "What has arrived is kept: run the same command again, and it goes on from there."
TOKEN = "a-secret-that-nobody-may-see"
Json = Callable[..., list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder for this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tusd-py" / "send"


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def proxy(server: Server) -> Iterator[CuttingProxy]:
    with CuttingProxy((server.host, server.port), CUTS) as proxy:
        yield proxy


@pytest.fixture
def send(capsys: pytest.CaptureFixture[str]) -> Json:
    """`send(*arguments, code=0)`: run the command with --json and return what it tells."""

    def run(*arguments: str | Path, code: int = 0) -> list[dict[str, Any]]:
        assert main(["send", "--json", *map(str, arguments)]) == code
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def there(server: Server, told: dict[str, Any]) -> str:
    """The digest of what the server has of a finished upload at the URL that was told, perhaps that of a proxy."""
    head = server.head("/" + told["url"].split("/", 3)[3])
    assert head["Upload-Offset"] == head["Upload-Length"]
    return file_digest(server.folder / "uploads" / told["url"].rpartition("/")[2])


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def started(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tusd_py", "send", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )


def bookmarked(cache: Path) -> bool:
    """Whether an upload has begun that a later run can go on with."""
    return any('"url": "http' in path.read_text() for path in cache.glob("*.json"))


def received(server: Server) -> int:
    """Bytes of all uploads."""
    return sum(path.stat().st_size for path in (server.folder / "uploads").iterdir())


@pytest.mark.rule("T28", "T41")
@pytest.mark.parametrize(
    "flags", [[], ["--parallel", "4"], ["--chunk-size", "1MiB"]], ids=["plain", "parallel", "chunks"]
)
def test_over_cuts(server: Server, proxy: CuttingProxy, film: Path, send: Json, cache: Path, flags: list[str]) -> None:
    """It comes through a network that loses its connection four times, however it sends."""
    (told,) = send(*flags, film, proxy.url(server.files))
    assert proxy.cuts_made == len(CUTS)
    assert told["state"] == "finished"
    assert told["retries"] >= len(CUTS)
    assert there(server, told) == digest(film.read_bytes())
    assert list(cache.iterdir()) == []


@pytest.mark.rule("T84")
def test_checksums_over_a_cut(server: Server, film: Path, send: Json) -> None:
    """A chunk with a checksum that is cut is sent again as a whole."""
    with CuttingProxy((server.host, server.port), [3 * MIB]) as proxy:
        (told,) = send("--checksum", "--chunk-size", "2MiB", film, proxy.url(server.files))
    assert told["retries"] == 1
    assert there(server, told) == digest(film.read_bytes())


@pytest.mark.rule("T65", "T69")
def test_standard_input(server: Server, proxy: CuttingProxy) -> None:
    """What comes from a pipe goes up without anybody knowing its length before, cuts included."""
    data = os.urandom(17 * MIB)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tusd_py",
            "send",
            "--json",
            "--metadata",
            "filename=pipe",
            "-",
            proxy.url(server.files),
        ],
        input=data,
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    told = json.loads(done.stdout)
    assert proxy.cuts_made == len(CUTS)
    assert (told["file"], told["size"]) == ("standard input", len(data))
    assert there(server, told) == digest(data)


def test_files_and_folders(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], film: Path) -> None:
    """A folder goes with all below it; each file has a line with its URL, and its name, place and type as metadata."""
    (tmp_path / "album" / "inner").mkdir(parents=True)
    files = [tmp_path / "album" / name for name in ("a.txt", "empty", "inner/b.png")]
    for path in files:
        path.write_bytes(b"" if path.name == "empty" else os.urandom(1000))
    assert main(["send", str(tmp_path / "album"), str(film), server.url, "--metadata", "owner=ann=1"]) == 0
    printed = capsys.readouterr()
    urls = {name: url for url, name in (line.split("\t") for line in printed.out.splitlines())}
    assert printed.err == ""
    assert set(urls) == {str(path) for path in [*files, film]}
    for name, url in urls.items():
        assert there(server, {"url": url}) == digest(Path(name).read_bytes())
    head = server.head("/" + urls[str(files[2])].split("/", 3)[3])
    assert head["Upload-Metadata"] == (
        "filename Yi5wbmc=,relativePath YWxidW0vaW5uZXIvYi5wbmc=,filetype aW1hZ2UvcG5n,owner YW5uPTE="
    )


def test_standard_input_that_is_closed(server: Server) -> None:
    """What cannot be read is told, and nobody waits for it."""
    process = started("--json", "-", server.url, preexec_fn=lambda: os.close(0))
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert json.loads(out)["error"] == "source-unreadable"


def test_a_terminal_has_bars(server: Server, film: Path) -> None:
    """A person sees name, share, rate and time left."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as terminal:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-m", "tusd_py", "send", str(film), server.url],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        os.close(theirs)
        out, _ = process.communicate(timeout=20)
        shown = terminal.read(100_000).decode()
    assert re.search(r"film\.mp4: +\d+%\|.*\| .*/5\.00M \[.*B/s\]", shown)
    assert out.decode().startswith(server.url)


def test_a_single_file_prints_its_url(server: Server, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`url=$(tusd-py send FILE URL)` works."""
    assert main(["send", str(film), server.url]) == 0
    assert re.fullmatch(rf"{server.url}[\w-]+\n", capsys.readouterr().out)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Large enough to be met on its way, over a network that is cut so often that pauses slow it down."""
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(MIB) * 32)
    return path


def cut_often(server: Server) -> CuttingProxy:
    return CuttingProxy((server.host, server.port), range(4 * MIB, 1000 * MIB, 4 * MIB))


@pytest.mark.parametrize(
    ("number", "flags"),
    [(signal.SIGKILL, ["--parallel", "3"]), (signal.SIGKILL, []), (signal.SIGINT, []), (signal.SIGTERM, [])],
    ids=["kill-parallel", "kill", "interrupt", "terminate"],
)
def test_the_next_run_goes_on(
    server: Server, large: Path, send: Json, cache: Path, number: signal.Signals, flags: list[str]
) -> None:
    """Killed or interrupted in mid-upload, the same command goes on; Ctrl-C says so and ends with 130."""
    before = received(server)
    with cut_often(server) as proxy:
        process = started("--quiet", *flags, large, proxy.url(server.files))
        eventually(lambda: bookmarked(cache) and received(server) > before + 2 * MIB, "the upload is on its way")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert out == ""
        assert process.returncode == (-9 if number is signal.SIGKILL else 128 + number)
        if number is not signal.SIGKILL:
            assert err == f"Interrupted. {GO_ON}\n"
        (told,) = send(*flags, large, proxy.url(server.files))
    assert 0 < told["resumed_from"] <= told["size"]
    assert there(server, told) == digest(large.read_bytes())
    assert list(cache.iterdir()) == []


def test_an_interrupted_folder_does_not_start_again(start_server: StartServer, tmp_path: Path, send: Json) -> None:
    """Files that were there are not sent twice when the same command is run again."""
    server = start_server("--max-size", "2000")
    folder = tmp_path / "album"
    folder.mkdir()
    for number in range(5):
        (folder / str(number)).write_bytes(os.urandom(1000))
    (folder / "9").write_bytes(bytes(2001))
    first = send(folder, server.url, code=1)
    assert [told["error"] for told in first if told["state"] == "failed"] == ["refused"]
    (folder / "9").write_bytes(bytes(1999))
    second = {told["file"]: told for told in send(folder, server.url)}
    assert {told["url"] for told in first if told["state"] == "finished"} < {told["url"] for told in second.values()}
    assert [told["resumed_from"] for _, told in sorted(second.items())] == [1000] * 5 + [0]
    third = send(folder, server.url)
    assert {told["resumed_from"] for told in third} == {0}


@pytest.mark.parametrize(
    "flags", [[], pytest.param(["--parallel", "2"], marks=pytest.mark.slow)], ids=["plain", "parallel"]
)
def test_the_server_is_restarted(start_server: StartServer, large: Path, flags: list[str]) -> None:
    """A server that is killed and comes back in mid-upload is waited for."""
    server = start_server()
    with cut_often(server) as proxy:
        process = started("--json", *flags, large, proxy.url(server.files))
        eventually(lambda: received(server) > 2 * MIB, "the upload is on its way")
        server.restart()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    told = json.loads(out)
    assert told["retries"] > 0
    assert there(server, told) == digest(large.read_bytes())


def test_an_upload_that_is_gone_starts_again(start_server: StartServer, large: Path, send: Json, cache: Path) -> None:
    """Terminated between two runs, the file is sent from its beginning."""
    server = start_server()
    with cut_often(server) as proxy:
        process = started(large, proxy.url(server.files))
        eventually(lambda: bookmarked(cache) and received(server) > 2 * MIB, "the upload is on its way")
        process.kill()
        process.communicate()
        (bookmark,) = cache.iterdir()
        url = json.loads(bookmark.read_text())["parts"][0]["url"]
        assert server.ask("DELETE", "/" + url.split("/", 3)[3], {"Tus-Resumable": "1.0.0"}).status == 204
        (told,) = send(large, proxy.url(server.files))
    assert told["resumed_from"] == 0
    assert told["url"] != url
    assert there(server, told) == digest(large.read_bytes())


def test_the_token(server: Server, film: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, cache: Path) -> None:
    """From flag, file or environment, it is shown nowhere, not even when something fails."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    refused = CuttingProxy(("127.0.0.1", 1))
    with refused:
        for flags in (["--bearer", TOKEN], ["--bearer-file", str(tmp_path / "token")]):
            assert main(["send", "--retries", "1", *flags, str(film), refused.url("/files/")]) == 3
        assert main(["send", "--bearer", f"{TOKEN} ", str(film), server.url]) == 2
        assert main(["send", "--bearer-file", str(tmp_path / "absent"), str(film), server.url]) == 2
    printed = capsys.readouterr()
    assert "trying again" in printed.err
    assert TOKEN not in printed.out + printed.err
    assert [path for path in cache.glob("*") if TOKEN in path.read_text()] == []


def test_failures_for_scripts(server: Server, film: Path, send: Json) -> None:
    """Exit code and line tell a refusal from what another run may mend."""
    (told,) = send(film, server.url + "nowhere/", code=1)
    assert (told["state"], told["error"], told["resumable"]) == ("failed", "refused", False)
    with CuttingProxy(("127.0.0.1", 1)) as nobody:
        (told,) = send(film, nobody.url("/files/"), "--retries", "1", code=3)
    assert (told["state"], told["error"], told["resumable"]) == ("failed", "gave-up", True)


def test_no_further_file_is_tried(film: Path, send: Json) -> None:
    """Once a server failed for too long, the other files are left for the next run."""
    with CuttingProxy(("127.0.0.1", 1)) as nobody:
        told = send("--at-once", "1", "--retries", "1", film, film, film, nobody.url("/files/"), code=3)
    assert [one["error"] for one in told] == ["gave-up"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["absent.mp4", "http://there/files/"], "there is no file absent.mp4"),
        (["README.md", "there/files/"], "the last argument is the URL of a tus server"),
        (["README.md"], "required: URL"),
        (["-", "-", "http://there/files/"], "standard input can be sent only once"),
        (["--metadata", "a", "README.md", "http://there/files/"], "allowed is KEY=VALUE"),
        (["--metadata", "a b=c", "README.md", "http://there/files/"], "keys are visible ASCII without comma"),
        (["--parallel", "0", "README.md", "http://there/files/"], "allowed is a number from 1 to 999"),
        (["--chunk-size", "0", "README.md", "http://there/files/"], "at least one byte"),
    ],
)
def test_wrong_usage(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 and one sentence, before anything is sent."""
    monkeypatch.chdir(ROOT)
    assert main(["send", *arguments]) == 2
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1


def test_the_page_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/send.md has just the flags and variables that the help has."""
    with pytest.raises(SystemExit, match="0"):
        main(["send", "--help"])
    help = capsys.readouterr().out
    page = (ROOT / "docs" / "send.md").read_text()
    flags = set(re.findall(r"--[a-z-]+", help)) - {"--help", "--flag"}
    assert set(re.findall(r"--[a-z-]+", re.sub(r"^\|[-| ]+\|$", "", page, flags=re.MULTILINE))) == flags
    assert BEARER_VARIABLE in page


@pytest.mark.slow
def test_two_hundred_files_over_cuts(start_server: StartServer, tmp_path: Path, send: Json) -> None:
    """A folder of 200 files, small and large, comes through a proxy that cuts every 50 MiB."""
    server = start_server()
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number:03}").write_bytes(os.urandom(1 + number * 20_000))
    with CuttingProxy((server.host, server.port), range(50 * MIB, 2000 * MIB, 50 * MIB)) as proxy:
        told = send(folder, proxy.url(server.files))
        assert proxy.cuts_made >= 7
    assert len(told) == 200
    for one in told:
        assert there(server, one) == digest(Path(one["file"]).read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--parallel", "4"], ["--checksum"]], ids=["plain", "parallel", "checksum"])
def test_a_large_file_over_cuts(start_server: StartServer, tmp_path: Path, send: Json, flags: list[str]) -> None:
    """A file of 1 GiB, or LARGE_FILE_MIB of the environment, comes through a proxy that cuts every 50 MiB."""
    size = int(os.environ.get("LARGE_FILE_MIB", "1024"))
    server = start_server()
    path = tmp_path / "large"
    try:
        with path.open("wb") as file:
            for _ in range(size // 8):
                file.write(os.urandom(MIB) * 8)
        with CuttingProxy((server.host, server.port), range(50 * MIB, 4 * size * MIB, 50 * MIB)) as proxy:
            (told,) = send(*flags, path, proxy.url(server.files))
            assert proxy.cuts_made >= size // 50
        assert there(server, told) == file_digest(path)
    finally:
        path.unlink()
