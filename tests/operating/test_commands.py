"""Looking at uploads and deleting them, beside a running server and without one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.server import ROOT, Server
from tests.conftest import StartServer
from tests.operating.commanding import Commands, OnFolder, described, finished, id_of

UNKNOWN = "A" * 22
LOOKING = (
    ("uploads", "list"),
    ("uploads", "list", "--json"),
    ("uploads", "list", "--json", "--state", "receiving", "--larger-than", "1KiB"),
    ("uploads", "list", "--json", "--metadata", "filename=*.txt"),
    ("uploads", "list", "--json", "--newer-than", "1h", "--smaller-than", "6"),
    ("uploads", "list", "--older-than", "1h"),
    ("uploads", "show", UNKNOWN),
    ("sweep", "--dry-run"),
    ("sweep", "--dry-run", "--json"),
)


@pytest.fixture(params=["beside", "without"])
def filled(
    request: pytest.FixtureRequest, start_server: StartServer, commands_on: OnFolder
) -> tuple[Server, Commands, list[str]]:
    """A server, commands on its folder and three uploads: a letter, a film that is on its way, and one more letter."""
    server = start_server()
    letter = finished(server, "letter.txt")
    film = id_of(server.new(1 << 20, described("film.mp4"), b"12345"))
    other = finished(server, "other.txt", b"hello world")
    if request.param == "without":
        assert server.terminate() == 0
    return server, commands_on(server.folder), [letter, film, other]


def test_uploads_are_listed_shown_and_deleted(filled: tuple[Server, Commands, list[str]]) -> None:
    """The same commands do the same whether the server runs or not."""
    server, commands, [letter, film, other] = filled
    listed = commands("uploads", "list")
    assert (listed.code, listed.err) == (0, "")
    rows = [line.split() for line in listed.out.splitlines()]
    assert rows[0] == ["ID", "STATE", "SIZE", "DONE", "AGE", "NAME"]
    assert [(row[0], row[1], row[-1]) for row in rows[1:]] == [
        (other, "finished", "other.txt"),
        (film, "receiving", "film.mp4"),
        (letter, "finished", "letter.txt"),
    ]
    assert commands("uploads", "list", "--json", "--state", "finished").ids == [other, letter]
    assert commands("uploads", "list", "--json", "--larger-than", "5").ids == [other, film]
    assert commands("uploads", "list", "--json", "--larger-than", "5", "--smaller-than", "1MiB").ids == [other]
    assert commands("uploads", "list", "--json", "--metadata", "filename=letter*").ids == [letter]
    assert commands("uploads", "list", "--json", "--older-than", "1h").ids == []
    assert commands("uploads", "list", "--json", "--newer-than", "1h", "--kind", "regular").ids == [other, film, letter]
    shown = commands("uploads", "show", f"http://127.0.0.1/files/{film}", letter)
    assert (shown.code, shown.err) == (0, "")
    assert "kept               5 bytes" in shown.out
    assert "letter.txt" in shown.out
    [details] = commands("uploads", "show", film, "--json").objects
    assert (details["offset"], details["length"]) == (5, 1 << 20)
    deleted = commands("uploads", "terminate", film, UNKNOWN, "--yes")
    assert (deleted.code, deleted.out) == (1, f"deleted {film}\n")
    assert deleted.err == f"tusd-py: {UNKNOWN}: There is no such upload; create a new one.\n"
    chosen = commands("uploads", "terminate", "--metadata", "filename=*.txt", "--yes", "--json")
    assert (chosen.code, chosen.objects) == (
        0,
        [{"id": other, "deleted": True}, {"id": letter, "deleted": True}],
    )
    assert list((server.folder / "uploads").iterdir()) == []
    assert commands("uploads", "terminate", "--state", "finished").err == "tusd-py: no upload matches\n"


def test_several_are_not_deleted_unasked(
    server: Server, commands_on: OnFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can be asked, --yes is needed; one that is named by itself is meant."""
    commands, letters = commands_on(server.folder), [finished(server, "letter.txt") for _ in range(2)]
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        for asked in (letters, ("--state", "finished")):
            refused = commands("uploads", "terminate", *asked)
            assert (refused.code, refused.out) == (2, "")
            assert "--yes" in refused.err
        assert [server.head(f"{server.files}{letter}").status for letter in letters] == [200, 200]
        assert commands("uploads", "terminate", letters[0]).code == 0
    assert [server.head(f"{server.files}{letter}").status for letter in letters] == [404, 200]


@pytest.mark.parametrize(("said", "deleted"), [("y", True), ("Yes", True), ("", False), ("n", False)])
def test_whoever_sits_there_is_asked(
    server: Server, commands_on: OnFolder, monkeypatch: pytest.MonkeyPatch, said: str, deleted: bool
) -> None:
    """Only a yes deletes; anything else leaves all there is and ends with 1."""
    letters = [finished(server, "letter.txt") for _ in range(2)]
    near, far = pty.openpty()
    with os.fdopen(near, "wb", buffering=0) as hand, os.fdopen(far) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        hand.write(f"{said}\n".encode())
        ended = commands_on(server.folder)("uploads", "terminate", *letters)
    assert ended.code == (0 if deleted else 1)
    assert "Delete 2 uploads? [y/N]" in ended.err
    assert server.head(f"{server.files}{letters[0]}").status == (404 if deleted else 200)


def test_a_sweep_without_a_server(start_server: StartServer, commands_on: OnFolder) -> None:
    """What a dry run tells goes with the next sweep: here bytes that no record names."""
    server = start_server()
    letter = finished(server, "letter.txt")
    commands = commands_on(server.folder)
    assert commands("sweep").out.startswith("removed:\n")
    server.terminate()
    left_over = server.folder / "uploads" / UNKNOWN
    left_over.write_bytes(b"left over")
    foretold = commands("sweep", "--dry-run")
    assert f"1  left over: bytes of an earlier run that no record names\n          {UNKNOWN}\n" in foretold.out
    assert left_over.exists()
    [done] = commands("sweep", "--json").objects
    assert done["left_over"] == {"count": 1, "ids": [UNKNOWN]}
    assert [path.name for path in (server.folder / "uploads").iterdir()] == [letter]


@pytest.mark.parametrize("arguments", LOOKING, ids=" ".join)
def test_nothing_is_made_where_there_is_no_server(tmp_path: Path, commands_on: OnFolder, arguments: tuple[str]) -> None:
    """A folder whose name was mistyped is told, with exit code 2, and not made."""
    ended = commands_on(tmp_path / "mistyped")(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "There is no tusd.db in" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("list", "--older-than", "long"), "allowed is a period such as"),
        (("list", "--larger-than", "1XB"), "allowed is a size such as"),
        (("list", "--state", "lost"), "invalid choice: 'lost'"),
        (("list", "--states", "lost"), "the nearest known one is --state"),
        (("terminate",), "but not both"),
        (("terminate", UNKNOWN, "--state", "finished"), "but not both"),
        (("terminate", "--state", "expired", "--yes"), "can be deleted"),
        (("show",), "required: ID"),
        (("list", "more"), "more is too much"),
    ],
)
def test_wrong_usage(server: Server, commands_on: OnFolder, arguments: tuple[str], sentence: str) -> None:
    """One sentence on stderr and exit code 2."""
    ended = commands_on(server.folder)("uploads", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert sentence in ended.err
    assert ended.err.count("\n") == 1


def test_ids_may_begin_with_a_hyphen(server: Server, commands_on: OnFolder) -> None:
    """One in 64 does, and is not taken for a flag."""
    ended = commands_on(server.folder)("uploads", "show", "-" + "A" * 21)
    assert (ended.code, ended.err) == (1, f"tusd-py: -{'A' * 21}: There is no such upload; create a new one.\n")


def test_three_processes(start_server: StartServer, commands_on: OnFolder, tmp_path: Path) -> None:
    """Commands work beside a server of several processes, which one of their own finds by its configuration."""
    server = start_server("--processes", "3")
    commands = commands_on(server.folder)
    letter, other = finished(server, "letter.txt"), finished(server, "other.txt")
    configuration = tmp_path / "tusd.toml"
    configuration.write_text(f'upload_dir = "{server.folder}"\n')
    command = [sys.executable, "-m", "tusd_py", "uploads", "terminate", letter, "--config", str(configuration)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"deleted {letter}\n", "")
    assert commands("uploads", "list", "--json").ids == [other]
    assert commands("sweep").out.startswith("removed:")
    assert commands("backup", tmp_path / "copy.db").code == 0
    assert commands("restore", tmp_path / "copy.db").code == 2
    assert [server.head(f"{server.files}{letter}").status for _ in range(6)] == [404] * 6
