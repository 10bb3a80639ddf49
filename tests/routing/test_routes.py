"""The routes of a gateway, read from a bucket of a real server."""

from __future__ import annotations

import random

from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.routing.edge.routes import BucketRoutes, RouteTable
from headrace_bus.store.bucket import Bucket
from headrace_bus.wire.route_record import route_key
from support.ingress_world import make_route
from support.nats_server import NatsServer


async def test_a_route_that_cannot_be_read_leaves_the_last_one_in_force(
    nats_server: NatsServer,
) -> None:
    bus = await Bus.connect(BusSettings(url=nats_server.url, name="test"))
    bucket = await Bucket.open(bus, "state")
    key = route_key("houses")
    written = await bucket.create(key, make_route().encode())
    table = RouteTable(BucketRoutes(bucket), random.randrange(2**32))
    assert await table.refresh()

    damaged = await bucket.update(key, b'{"seq": 1}', written)
    for change in (None, "houses"):
        table.changed(change)
        await table.refresh()
        assert table.applied == {"houses": written}

    await bucket.delete(key, damaged)
    table.changed(None)
    assert await table.refresh()
    assert table.routers == {}
    await bus.close()
