"""Fixtures of the tests of commands."""

from __future__ import annotations

import pytest

from tests.operating.commanding import Commands, OnFolder


@pytest.fixture
def commands_on(capfd: pytest.CaptureFixture[str]) -> OnFolder:
    """`commands_on(folder)("uploads", "list")` runs a command on a data folder."""
    return lambda folder: Commands(folder, capfd)
