"""A platform for each of the client's tests; the client lies in an environment of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.platform import Platform, started


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    yield from started(tmp_path / "home")
