"""A control of the test's own that may call issuers on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.control import ControlClient, running_control
from support.nats_server import NatsServer


@pytest.fixture
async def control(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[ControlClient]:
    home = tmp_path / "home"
    async with running_control(home, nats_server.url, allow_private_urls=True) as client:
        yield client
