"""One platform for the tests of a module; each test brings its own endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.deploy import Workbench
from support.platform import Platform, started


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    yield from started(tmp_path_factory.mktemp("home"))


@pytest.fixture
def bench(platform: Platform, tmp_path: Path) -> Iterator[Workbench]:
    workbench = Workbench(platform, tmp_path)
    yield workbench
    workbench.clean()
