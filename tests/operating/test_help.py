"""What the page says of the commands is what their help says."""

from __future__ import annotations

import re

import pytest

from tests.acceptance.server import ROOT
from tusd_py.cli import COMMANDS, main
from tusd_py.config import Options, flag

PAGE = (ROOT / "docs" / "commands.md").read_text()
SECTIONS = dict(re.findall(r"^## tusd-py ([a-z ]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
OF_UPLOADS = ("uploads list", "uploads show", "uploads terminate")
SETTINGS = {flag(key) for key in Options.model_fields}


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="0"):
        main([*command.split(), "--help"])
    return capsys.readouterr().out


def test_every_command_has_its_section() -> None:
    """And no section is of a command that does not exist."""
    assert set(SECTIONS) == {*COMMANDS, *OF_UPLOADS} - {"uploads"}


@pytest.mark.parametrize("command", SECTIONS)
def test_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The table of a command has its options with their values, in words of its own; settings are in the manual."""
    found = re.findall(r"^  (?:-h, )?(--[a-z-]+)(?: (\S+))?", help_of(command, capsys), re.MULTILINE)
    helped = {(name, value) for name, value in found if name != "--help"}
    if command in ("serve", "check"):
        helped = {(name, value) for name, value in helped if name not in SETTINGS and not name.startswith("--no-")}
    helped = {(name, "" if value == value.lower() else value) for name, value in helped}
    told = set(re.findall(r"^\| `(--[a-z-]+)(?: (\S+))?` \|", SECTIONS[command], re.MULTILINE))
    assert told == helped


@pytest.mark.parametrize("command", SECTIONS)
def test_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each section has an example, and every option in one is an option of that command."""
    examples = re.findall(rf"^(?:\$ )?tusd-py {command}(.*)$", SECTIONS[command], re.MULTILINE)
    assert examples
    help = help_of(command, capsys)
    assert [name for line in examples for name in re.findall(r" (--[a-z-]+)", line) if name not in help] == []


def test_uploads_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """`uploads --help` leads to each of them."""
    help = help_of("uploads", capsys)
    assert [name for name in OF_UPLOADS if name.split()[1] not in help] == []
