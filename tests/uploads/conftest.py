"""A world of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.uploads.world import KINDS, UNFINISHED, TroubledRecords, TroubledStorage, World, opened


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with opened(request.param, tmp_path) as world:
        yield world


@pytest.fixture(params=KINDS)
async def unfinished(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """With concatenation-unfinished."""
    async with opened(request.param, tmp_path, UNFINISHED) as world:
        yield world


@pytest.fixture
async def troubled(tmp_path: Path) -> AsyncIterator[World]:
    """Storage and records fail on demand."""
    async with opened("memory", tmp_path, UNFINISHED) as world:
        yield world


@pytest.fixture
def storage(troubled: World) -> TroubledStorage:
    assert isinstance(troubled.storage, TroubledStorage)
    return troubled.storage


@pytest.fixture
def records(troubled: World) -> TroubledRecords:
    assert isinstance(troubled.records, TroubledRecords)
    return troubled.records
