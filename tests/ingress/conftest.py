"""Fixtures of the ingress and router tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from headrace_api.home import Home
from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.bucket import Bucket
from headrace_bus.wire.subjects import all_ingress_heartbeats
from support.ingress_world import World
from support.nats_server import NatsServer


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[World]:
    bus = await Bus.connect(BusSettings(url=nats_server.url, name="test"))
    state = await Bucket.open(bus, "state")
    async with aiohttp.ClientSession() as http:
        one = World(nats_server, bus, state, Home(tmp_path / "home"), http)
        await bus.subscribe(all_ingress_heartbeats(), lambda message: one.hear(message.data))
        await bus.flush()
        yield one
    for stop, _ in one.stops:
        stop.set()
    await asyncio.gather(*(task for _, task in one.stops), return_exceptions=True)
    for instance in one.instances:
        await instance.stop()
    await bus.close()
