"""Fixtures of the tests of operations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.operations.running import Starter


@pytest.fixture(scope="session")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """`refused(*arguments)`: how a start ends that cannot succeed."""
    starter = Starter(tmp_path_factory.mktemp("starts"))
    yield starter
    starter.close()
