"""Two ingresses before one real instance: neither keeps the other, or itself, from its slots."""

from __future__ import annotations

import asyncio

import pytest

from headrace_bus.routing.bodies.shared_file import HANDED_BYTES
from scorer.caller import Instance, launch_of
from support.ingress_world import AUTH, BOUND_S, World, make_route, url

pytestmark = pytest.mark.slow
SCRIPT = (
    "import time\ndef init(): pass\ndef run(raw):\n    time.sleep(0.005)\n    return len(raw)\n"
)
LARGE = 20


async def test_large_bodies_at_one_are_not_starved_by_small_ones_at_the_other(
    world: World,
) -> None:
    """A model so quick that the small ones stand by, which large ones may not."""
    listening = {name: await world.ingress(name) for name in ("in-one", "in-two")}
    await world.route(make_route(max_queue_wait_ms=60_000, max_concurrent=8))
    launch = launch_of(world.home, world.server.url, SCRIPT, endpoint="houses", max_concurrent=8)
    async with asyncio.timeout(BOUND_S):
        instance = await Instance(world.home, launch, world.bus).start()
    try:
        await instance.ready()
        await world.until(lambda: all(one.get("houses.blue") for one in world.live.values()))

        done, small = asyncio.Event(), 0

        async def post(name: str, size: int) -> int:
            target = url(listening[name])
            async with world.http.post(target, data=b"1" * size, headers=AUTH) as got:
                return got.status

        async def small_ones() -> None:
            nonlocal small
            while not done.is_set():
                assert await post("in-one", 8) == 200
                small += 1

        loops = [asyncio.create_task(small_ones()) for _ in range(4)]
        async with asyncio.timeout(BOUND_S):
            statuses = [await post("in-two", HANDED_BYTES) for _ in range(LARGE)]
        done.set()
        await asyncio.gather(*loops)
        assert statuses == [200] * LARGE
        assert small < 20 * LARGE, "each waits for about as many as waited before it"
    finally:
        await instance.close()
