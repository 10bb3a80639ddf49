"""The server a home of its own starts, with the identities that home may mint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace_api.home import Home
from headrace_bus.client.identity import Identities
from headrace_bus.client.server import EmbeddedServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(Home(tmp_path / "home"))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def identities(tmp_path: Path, server: EmbeddedServer) -> Identities:
    return Identities(Home(tmp_path / "home"))
