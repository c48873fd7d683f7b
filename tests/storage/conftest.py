"""A storage of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.storage.desk import KINDS, Desk, opened
from tusd_py.storage.local import Durability


@pytest.fixture(params=KINDS)
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(request.param, tmp_path) as desk:
        yield desk


@pytest.fixture(params=[durability.value for durability in Durability])
def kind(request: pytest.FixtureRequest) -> str:
    """A durability of files."""
    value: str = request.param
    return value
