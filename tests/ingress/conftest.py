"""Fixtures of the ingress and router tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.ingress_world import World, running_world
from support.nats_server import NatsServer


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(nats_server, tmp_path) as one:
        yield one
