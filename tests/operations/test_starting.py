"""Starting: what is printed, what is taken, and one sentence with exit code 2 where it cannot be."""

from __future__ import annotations

import re
import socket
import sqlite3
from pathlib import Path

import pytest

from tests.acceptance.server import Server
from tests.acceptance.wire import Wire
from tests.conftest import StartServer
from tests.operations.running import Certificate, Starter

NOBODY = 65534


def limits_of(pid: int, name: str) -> tuple[str, str]:
    """Soft and hard limit of a process, as /proc shows them."""
    line = next(line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith(name))
    soft, hard, *_ = line.removeprefix(name).split()
    return soft, hard


def test_start_up_lines(start_server: StartServer) -> None:
    """Folder, private port, and last the URL for clients, with the free ports that port 0 took."""
    server = start_server("--ops-listen", "127.0.0.1:0")
    folder, private, promise = server.log.splitlines()
    assert folder == f"Uploads are kept in: {server.folder}/uploads"
    assert re.fullmatch(r"Metrics, readiness and API: http://127\.0\.0\.1:[1-9]\d*/", private)
    assert promise == f"You can now upload files to: http://127.0.0.1:{server.port}/files/"
    host, port = private.rpartition("//")[2].rstrip("/").split(":")
    with Wire((host, int(port))) as wire:
        assert wire.get("/readyz").json["status"] == "ready"
    assert server.get("/metrics").status == 404


def test_the_private_port_can_be_off(server: Server) -> None:
    """--ops-listen off: nothing is said of it."""
    assert "Metrics" not in server.log


def test_the_folder_is_for_its_owner_only(server: Server) -> None:
    """Whoever could list the folder would know the URLs of all uploads."""
    assert server.folder.stat().st_mode & 0o777 == 0o700
    assert (server.folder / "control.sock").stat().st_mode & 0o777 == 0o600


def test_the_open_file_limit_is_raised(server: Server) -> None:
    """The soft limit becomes the hard one: every connection takes descriptors."""
    soft, hard = limits_of(server.pid, "Max open files")
    assert soft == hard


def test_one_server_a_folder(server: Server, refused: Starter) -> None:
    """Law 11: a second server on the same folder ends with 2 and says why; the first is not disturbed."""
    code, sentence = refused("--upload-dir", server.folder)
    assert code == 2
    assert sentence == (
        f"Another server already uses the upload folder {server.folder}; stop it, or choose another --upload-dir."
    )
    assert (server.folder / "control.sock").exists()


def test_a_port_in_use(tmp_path: Path, refused: Starter) -> None:
    """A start that fails late, with the database open, ends all the same."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused("--upload-dir", tmp_path / "data", "--port", str(port)) == (
            2,
            f"Cannot listen on 127.0.0.1:{port}: Address already in use.",
        )
        code, sentence = refused("--upload-dir", tmp_path / "data", "--ops-listen", f"127.0.0.1:{port}")
        assert code == 2
        assert f"127.0.0.1:{port} for metrics: Address already in use; choose another --ops-listen" in sentence


def test_a_unix_socket(start_server: StartServer, tmp_path: Path, refused: Starter) -> None:
    """It is announced, a socket that a dead server left is replaced, and at a clean stop it is removed."""
    path = tmp_path / "tus.sock"
    server = start_server("--unix-socket", str(path))
    assert server.log.endswith(f"You can now upload files to: unix:{path}:/files/\n")
    server.kill()
    assert path.is_socket()
    server = start_server("--unix-socket", str(path))
    with Wire(str(path)) as wire:
        assert wire.offset(wire.new(3, body=b"abc")) == 3
    code, sentence = refused("--upload-dir", tmp_path / "other", "--unix-socket", path)
    assert (code, "Another server listens on" in sentence) == (2, True)
    assert server.terminate() == 0
    assert not path.exists()


def test_a_file_in_the_place_of_the_unix_socket(tmp_path: Path, refused: Starter) -> None:
    """A file that is not a socket is left alone."""
    path = tmp_path / "letter"
    path.write_text("dear reader")
    code, sentence = refused("--upload-dir", tmp_path / "data", "--unix-socket", path)
    assert code == 2
    assert sentence == f"{path} exists and is not a socket; remove it, or choose another --unix-socket."
    assert path.read_text() == "dear reader"


def test_a_wrong_certificate(tmp_path: Path, refused: Starter) -> None:
    """A key that does not fit, or a file that is missing, is told with both names."""
    good, other = Certificate.issue(tmp_path, "good"), Certificate.issue(tmp_path, "other")
    for key in (other.key, tmp_path / "absent.key"):
        code, sentence = refused("--upload-dir", tmp_path / "data", "--tls-certificate", good.chain, "--tls-key", key)
        assert code == 2
        assert sentence.startswith(f"tls_certificate {good.chain} and tls_key {key} cannot be used: ")


def test_files_in_the_place_of_folders(tmp_path: Path, refused: Starter) -> None:
    """Where a folder of ours should be, a file is named."""
    (tmp_path / "letter").touch()
    code, sentence = refused("--upload-dir", tmp_path / "letter")
    assert (code, sentence) == (2, f"The upload folder {tmp_path / 'letter'} cannot be used: File exists.")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "uploads").touch()
    code, sentence = refused("--upload-dir", tmp_path / "data")
    assert (code, sentence) == (2, f"{tmp_path / 'data' / 'uploads'} cannot be used: File exists.")


@pytest.mark.parametrize("damage", ["garbage", "newer"])
def test_a_database_that_cannot_be_used(tmp_path: Path, refused: Starter, damage: str) -> None:
    """A file that is no database, or one of a newer version, is left as it is and told with what to do."""
    path = tmp_path / "tusd.db"
    garbage = b"this was a database once" * 400
    if damage == "garbage":
        path.write_bytes(garbage)
    else:
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    code, sentence = refused("--upload-dir", tmp_path)
    assert code == 2
    assert ("restore it from a backup" if damage == "garbage" else "newer version (schema 99") in sentence
    assert damage == "newer" or path.read_bytes() == garbage


def test_uploads_without_their_database(tmp_path: Path, refused: Starter) -> None:
    """A lost database is not replaced by an empty one, whose first sweep would delete every upload."""
    upload = tmp_path / "uploads" / ("A" * 22)
    upload.parent.mkdir()
    upload.write_bytes(b"a film")
    code, sentence = refused("--upload-dir", tmp_path)
    assert (code, "holds uploads but no tusd.db" in sentence) == (2, True)
    assert upload.read_bytes() == b"a film"
    assert not (tmp_path / "tusd.db").exists()


def test_a_wrong_setting_in_the_environment(tmp_path: Path, refused: Starter) -> None:
    """The variable is named, and what is allowed; nothing is made."""
    code, sentence = refused("--upload-dir", tmp_path / "data", environment={"TUSD_PY_IDLE_TIMEOUT": "soon"})
    assert code == 2
    assert sentence.startswith("idle_timeout = 'soon' (environment TUSD_PY_IDLE_TIMEOUT): ")
    assert not (tmp_path / "data").exists()


@pytest.mark.root
def test_a_folder_of_somebody_else(tmp_path: Path, refused: Starter) -> None:
    """An ordinary user who may not write the folder is told so."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    for above in folder.parents[:-2]:
        above.chmod(above.stat().st_mode | 0o111)
    code, sentence = refused("--upload-dir", folder, user=NOBODY)
    assert (code, sentence) == (2, f"The upload folder {folder} cannot be used: Permission denied.")
