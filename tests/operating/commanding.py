"""Runs commands in this process, as the command line does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.acceptance.server import Server
from tusd_py.cli import main


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What --json printed, a line each."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def ids(self) -> list[str]:
        return [one["id"] for one in self.objects]


class Commands:
    """`commands("uploads", "list")` on one data folder."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._printed = capfd

    def __call__(self, *arguments: str | Path) -> Ended:
        code = main([*map(str, arguments), "--upload-dir", str(self.folder)])
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("tusd")] == []
        return Ended(code, *self._printed.readouterr())


OnFolder = Callable[[Path], Commands]


def id_of(target: str) -> str:
    return target.rpartition("/")[2]


def described(name: str) -> dict[str, str]:
    from base64 import b64encode

    return {"Upload-Metadata": f"filename {b64encode(name.encode()).decode()}"}


def finished(server: Server, name: str, data: bytes = b"hello") -> str:
    """The id of a finished upload of that name."""
    return id_of(server.new(len(data), described(name), data))
