"""A control of the test's own on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.control import ControlClient, running_control
from support.nats_server import NatsServer


@pytest.fixture
async def control(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[ControlClient]:
    async with running_control(tmp_path / "home", nats_server.url) as client:
        yield client
