"""What an ingress says became of the requests it accepted."""

from __future__ import annotations

import asyncio

from headrace_bus.wire.conservation import Terms
from headrace_bus.wire.heartbeat import IngressHeartbeat
from headrace_bus.wire.subjects import all_ingress_heartbeats
from support.ingress_world import AUTH, World, make_route, url

BOUND_S = 30.0


async def test_every_answered_request_is_in_the_books_once(world: World) -> None:
    said: asyncio.Queue[Terms] = asyncio.Queue()
    await world.bus.subscribe(
        all_ingress_heartbeats(),
        lambda message: said.put_nowait(Terms.decode(IngressHeartbeat.decode(message.data).online)),
    )
    listening = await world.ingress()
    await world.route(make_route())
    await world.instance()
    for _ in range(5):
        async with world.http.post(url(listening), data=b"{}", headers=AUTH) as response:
            assert response.status == 200

    async with asyncio.timeout(BOUND_S):
        while (terms := await said.get()).completed < 5:
            assert terms.balanced, terms
    assert terms == Terms(accepted=5, completed=5)


async def test_a_caller_that_went_and_one_that_waited_in_vain_are_counted(world: World) -> None:
    """No instance is there: one request runs out of time, the other's caller hangs up."""
    said: asyncio.Queue[Terms] = asyncio.Queue()
    await world.bus.subscribe(
        all_ingress_heartbeats(),
        lambda message: said.put_nowait(Terms.decode(IngressHeartbeat.decode(message.data).online)),
    )
    listening = await world.ingress()
    await world.route(make_route(max_queue_wait_ms=500, desired_instances=1))
    async with world.http.post(url(listening), data=b"{}", headers=AUTH) as response:
        assert response.status == 424
    # The other waits for as long as it takes to be heard of.
    await world.route(make_route(max_queue_wait_ms=60_000, desired_instances=1))
    gone = asyncio.create_task(
        world.http.post(url(listening), data=b"{}", headers=AUTH).__aenter__()
    )
    async with asyncio.timeout(BOUND_S):
        while (await said.get()).accepted < 2:
            pass
    gone.cancel()

    async with asyncio.timeout(BOUND_S):
        while (terms := await said.get()).in_flight:
            assert terms.balanced, terms
    assert terms == Terms(accepted=2, expired=1, cancelled=1)


def test_a_request_in_no_term_or_in_two_does_not_balance() -> None:
    assert Terms(accepted=3, completed=1, failed=1, in_flight=1).balanced
    assert not Terms(accepted=3, completed=1, failed=1).balanced
    assert not Terms(accepted=1, completed=1, cancelled=1).balanced
    assert Terms(accepted=2, completed=1, in_flight=1).with_its_ingress_gone() == Terms(
        accepted=2, completed=1, lost_with_ingress=1
    )
