"""A deployment with headrace.hedge: who waits long gets a copy, and one answer."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from support.ingress_world import AUTH, World, make_route, url

USUAL = 120
EVENT = re.compile(r'^headrace_hedges_total\{.*event="(\w+)".*\} (\S+)$', re.MULTILINE)


async def hedged(world: World, *, hedge: bool = True) -> str:
    listening = await world.ingress()
    route = make_route(max_concurrent=8)
    deployments = {
        name: replace(one, hedge=hedge, desired_instances=2)
        for name, one in route.deployments.items()
    }
    await world.route(replace(route, deployments=deployments))
    return url(listening)


async def test_the_copy_answers_while_the_first_is_stuck_and_the_loser_is_cancelled(
    world: World,
) -> None:
    address = await hedged(world)
    one = await world.instance(iid="one")
    two = await world.instance(iid="two")
    for _ in range(USUAL):
        async with world.http.post(address, data=b"1", headers=AUTH) as got:
            assert got.status == 200
    before = len(one.seen) + len(two.seen)
    assert before <= USUAL * 1.05 + 1

    body = b'{"sleep_s": 0.7}'

    def lost() -> set[str]:
        """Slow requests, or copies of them, that were cancelled."""
        slow = {of.request_id for each in (one, two) for of in each.seen if of.body == body}
        return slow.intersection([*one.cancelled, *two.cancelled])

    async with asyncio.timeout(60):
        # Usual requests may have used the budget up.
        while not lost():
            for _ in range(USUAL // 2):
                async with world.http.post(address, data=b"1", headers=AUTH) as got:
                    await got.read()
            async with world.http.post(address, data=body, headers=AUTH) as got:
                assert (got.status, await got.read()) == (200, body)
    async with world.http.get(address.partition("/endpoints/")[0] + "/metrics") as got:
        counted = dict(EVENT.findall(await got.text()))
    assert 1 <= float(counted["cancelled"]) <= float(counted["sent"])
    assert float(counted.get("won", 0)) <= float(counted["sent"])


async def test_without_the_property_nothing_runs_twice(world: World) -> None:
    address = await hedged(world, hedge=False)
    one = await world.instance(iid="one")
    two = await world.instance(iid="two")
    for _ in range(USUAL):
        async with world.http.post(address, data=b"1", headers=AUTH) as got:
            await got.read()
    async with world.http.post(address, data=b'{"sleep_s": 0.5}', headers=AUTH) as got:
        await got.read()
    assert len(one.seen) + len(two.seen) == USUAL + 1
