"""What an ingress is without its HTTP: no deployment succeeds that none sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.routing.edge.gateway import Gateway, GatewaySettings
from headrace_bus.routing.edge.routes import BucketRoutes
from headrace_bus.store.bucket import Bucket
from headrace_telemetry.metrics import Registry


async def start_edge(bus: Bus) -> Gateway:
    """On a connection of the caller's, who stops it."""
    edge = Gateway(
        bus, BucketRoutes(Bucket(bus, "state")), Registry(), GatewaySettings(ingress_id="in-test")
    )
    await edge.start()
    return edge


@asynccontextmanager
async def running_edge(url: str) -> AsyncIterator[None]:
    """On a server that takes anybody."""
    bus = await Bus.connect(BusSettings(url=url, name="ingress:in-test"))
    try:
        edge = await start_edge(bus)
        yield
        await edge.stop()
    finally:
        await bus.close()
