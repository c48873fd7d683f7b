"""The command line: what it prints and with which exit code it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tusd_py import __version__
from tusd_py.cli import main, probes
from tusd_py.cli.probes import Verdict
from tusd_py.config import Options, flag, manual

TOKEN = "correct-horse-battery-staple"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_help_lists_every_flag_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    """`serve --help` knows each option of the manual."""
    with pytest.raises(SystemExit, match="0"):
        main(["serve", "--help"])
    help = capsys.readouterr().out
    assert [key for key in Options.model_fields if flag(key) not in help] == []
    assert "--no-cors" in help


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """Every example in the help is a command that exists."""
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "tusd-py serve --upload-dir" in capsys.readouterr().out


def test_the_module_is_the_command() -> None:
    """`python -m tusd_py --version` says the version and ends with 0."""
    done = subprocess.run([sys.executable, "-m", "tusd_py", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"tusd-py {__version__}\n", "")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["serve", "--max-siz", "5"], "unknown flag --max-siz; the nearest known one is --max-size"),
        (["serve", "--no-corse"], "unknown flag --no-corse; the nearest known one is --no-cors"),
        (["serve", "--max-size", "many"], "max_size = 'many' (flag --max-size): allowed is a size such as"),
        (["serve", "--port"], "argument --port: expected one argument"),
        (["serv"], "unknown command serv; the nearest known one is serve"),
        ([], "required: COMMAND"),
        (["check", "--config", "/nonexistent/tusd.toml"], "cannot read the configuration file"),
    ],
)
def test_wrong_usage_is_one_sentence(argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line on stderr, nothing on stdout."""
    assert main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("tusd-py: ")
    assert printed.err.count("\n") == 1
    assert sentence in printed.err


def test_manual_prints_a_configuration_file(capsys: pytest.CaptureFixture[str]) -> None:
    """What `manual` prints is config/tusd.toml."""
    assert main(["manual"]) == 0
    assert capsys.readouterr().out == manual()


def test_check_shows_values_origins_and_findings(tmp_path: Path) -> None:
    """Each value with its origin, secrets masked, then what was tried; 0 when all of it works."""
    (tmp_path / "tusd.toml").write_text(f'api_tokens = ["{TOKEN}"]\nops_listen = "off"\n')
    folder = tmp_path / "data"
    done = subprocess.run(
        [sys.executable, "-m", "tusd_py", "check", "--config", tmp_path / "tusd.toml", "--port", "0", "--no-cors"],
        env={**os.environ, "TUSD_PY_UPLOAD_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = {tuple(line.split()) for line in done.stdout.splitlines()}
    assert ("port", "=", "0", "flag", "--port") in rows
    assert ("host", "=", "127.0.0.1", "default") in rows
    assert ("api_tokens", "=", "**********", "file", str(tmp_path / "tusd.toml")) in rows
    assert f"upload_dir = {folder}" in done.stdout
    assert "environment TUSD_PY_UPLOAD_DIR" in done.stdout
    assert f"ok       {folder} can be created" in done.stdout
    assert TOKEN not in done.stdout
    assert not folder.exists(), "a check leaves nothing behind"


def test_check_fails_when_something_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is taken ends it with 1 and says so."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["check", "--upload-dir", str(tmp_path), "--ops-listen", "off", "--port", str(port)]) == 1
    assert f"FAILED   port: cannot listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().out


# Probes


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """A file where the data folder should be cannot be written."""
    file = tmp_path / "data"
    file.write_text("")
    assert probes.writable(file, file).verdict is Verdict.FAILED


def test_free_space_beside_the_reserve(tmp_path: Path) -> None:
    """Less free space than the reserve is a failure."""
    assert probes.free_space(tmp_path, 0).verdict is Verdict.FINE
    assert probes.free_space(tmp_path, 1 << 60).verdict is Verdict.FAILED


def test_splice_into_the_folder(tmp_path: Path) -> None:
    """Where there is splice, it is tried for real."""
    expected = Verdict.FINE if sys.platform == "linux" else Verdict.NOTE
    assert probes.splice(tmp_path).verdict is expected
    assert list(tmp_path.iterdir()) == []


def test_free_port() -> None:
    """A port that nobody has can be bound."""
    assert probes.bindable("port", "127.0.0.1", free_port()).verdict is Verdict.FINE


def test_how_many_processes() -> None:
    """What `processes` comes to on this machine."""
    assert probes.processes(3, 3) == (Verdict.FINE, "a parent and 3 workers serve")
    assert probes.processes(None, 1) == (Verdict.FINE, "one process serves")
    assert probes.processes(3, 1).verdict is Verdict.NOTE


def test_open_files() -> None:
    """A limit that is too low is a note that says for how many connections it is enough."""
    assert probes.open_files(1, 1).verdict is Verdict.FINE
    assert probes.open_files(10**12, 2).verdict in {Verdict.NOTE, Verdict.FINE}


def certificate(folder: Path, name: str, **days: float) -> tuple[Path, Path]:
    """Chain and key of a certificate that is valid until so many `days` from now."""
    ends = datetime.now(UTC) + timedelta(**days)
    made = trustme.CA().issue_cert("localhost", not_after=ends, not_before=ends - timedelta(days=400))
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    made.private_key_pem.write_to_path(key)
    return chain, key


def test_certificates(tmp_path: Path) -> None:
    """The dates are read, the key is tried, and what is missing or foreign is told."""
    chain, key = certificate(tmp_path, "good", days=90, minutes=5)
    _, foreign = certificate(tmp_path, "other", days=90)
    assert probes.certificate(chain, key) == (Verdict.FINE, f"{chain} is valid for 90 more days")
    assert "do not work together" in probes.certificate(chain, foreign).sentence
    assert "cannot be read" in probes.certificate(tmp_path / "absent.pem", key).sentence


def test_certificates_that_end(tmp_path: Path) -> None:
    """Less than two weeks are a note; one that has expired, or is not valid yet, is a failure."""
    assert probes.certificate(*certificate(tmp_path, "soon", days=5)).verdict is Verdict.NOTE
    assert "has expired" in probes.certificate(*certificate(tmp_path, "late", days=-1)).sentence
    assert "is not valid yet" in probes.certificate(*certificate(tmp_path, "early", days=500)).sentence
