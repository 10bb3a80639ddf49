"""One running platform for the tests of a module that only look at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.deploy import Workbench
from support.platform import Platform, started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    yield from started(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def houses(running: Platform, tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """An endpoint `houses` whose deployment `blue` has one instance."""
    bench = Workbench(running, tmp_path_factory.mktemp("files"))
    bench.endpoint("houses")
    bench.deploy("houses", "blue", "patient")
    return bench
