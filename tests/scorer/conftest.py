"""A real server, a home, and instances that end with the test."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace_api.home import Home
from headrace_bus.client.connection import Bus
from scorer.caller import Caller, Instance, connect, launch_of
from support.nats_server import NatsServer

Serve = Callable[..., Awaitable[tuple[Instance, Caller]]]


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats")).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One home for all tests, so that the bare environment is built once."""
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture
async def bus(nats: NatsServer) -> AsyncIterator[Bus]:
    async with await connect(nats.url) as bus:
        yield bus


@pytest.fixture
async def serve(nats: NatsServer, home: Home, bus: Bus) -> AsyncIterator[Serve]:
    """`await serve(script, **launch fields)`: a ready instance and a caller of it."""
    started: list[Instance] = []

    async def start(
        script: str, *, wait: bool = True, python: str = sys.executable, **fields: Any
    ) -> tuple[Instance, Caller]:
        instance = Instance(home, launch_of(home, nats.url, script, **fields), bus, python)
        started.append(instance)
        await instance.start()
        if wait:
            await instance.ready()
        return instance, await Caller(bus, instance.address).open()

    yield start
    for instance in started:
        await instance.close()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path
