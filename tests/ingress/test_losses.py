"""What callers see when an instance, the bus or the ingress itself goes."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.cutting_proxy import CuttingProxy, Switch, Way
from headrace_bus.routing.edge import gateway
from headrace_bus.routing.edge.gateway import GatewaySettings
from headrace_bus.routing.queueing.dispatch import Dispatch, Overdue
from headrace_bus.routing.queueing.queue_entry import QueueEntry
from headrace_bus.wire.envelope import RequestFlag
from headrace_bus.wire.heartbeat import InstanceHeartbeat, InstanceState
from headrace_bus.wire.subjects import InstanceAddress, heartbeat
from headrace_services.ingress.app import Listening
from headrace_simulation.journal import journaled, replay
from support.ingress_world import AUTH, BOUND_S, World, make_route, url
from support.platform import until_async

TESTS = Path(__file__).parent.parent


async def post(world: World, address: str, body: object) -> tuple[int, bytes]:
    async with world.http.post(address, json=body, headers=AUTH) as got:
        return got.status, await got.read()


@pytest.mark.parametrize("count", [1, 2])
async def test_a_request_survives_frozen_instances(world: World, count: int) -> None:
    """Of two that froze together the second must not get what the first had."""
    listening = await world.ingress()
    await world.route(make_route(request_timeout_ms=20_000))
    names = [f"doomed{number}" for number in range(count)]
    processes = [await separate(world, name) for name in names]
    try:
        await world.until(lambda: world.live["in-one"].get("houses.blue") == count)
        call = asyncio.create_task(post(world, url(listening), {"sleep_s": 5}))
        await world.until(lambda: world.in_flight["in-one"].get("houses.blue") == 1)
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        await world.until(lambda: world.live["in-one"].get("houses.blue") == 0)
        spare = await world.spare("houses", "blue", "spare")
        status, _ = await call
    finally:
        for process in processes:
            process.kill()
            await process.wait()

    assert status == 200
    assert [one.flags & RequestFlag.RETRY for one in spare.seen] == [RequestFlag.RETRY]


async def journaled_ingress(world: World, lines: list[str]) -> Listening:
    """One whose decisions are written down."""
    journal = GatewaySettings(ingress_id="in-one", make_dispatch=journaled(lines.append))
    return await world.ingress(gateway=journal)


async def separate(world: World, iid: str) -> asyncio.subprocess.Process:
    """An instance in a process of its own."""
    command = [sys.executable, "-m", "support.echo_instance", "--url", world.server.url]
    return await asyncio.create_subprocess_exec(
        *command, "--address", f"houses.blue.{iid}", env=os.environ | {"PYTHONPATH": str(TESTS)}
    )


async def test_a_deployment_that_is_not_idempotent_is_not_tried_twice(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route(idempotent=False, request_timeout_ms=20_000))
    one = await world.instance()
    call = asyncio.create_task(post(world, url(listening), {"sleep_s": 5}))
    await world.until(lambda: bool(one.seen))
    one.epoch += 1  # a new life
    one.say()

    assert (await call)[0] == 424


async def test_an_instance_speaks_for_itself_alone(world: World) -> None:
    """It may publish on its own subject only, whatever it says there."""
    await world.ingress()
    await world.route(make_route())
    one = await world.instance()
    two = InstanceAddress("houses", "blue", "two")
    forged = InstanceHeartbeat(
        iid="one",
        epoch=one.epoch + 1,
        client="inst:two",
        state=InstanceState.DRAINING,
        slots=0,
        in_flight=0,
    )
    world.bus.publish(heartbeat(two), forged.encode())
    itself = replace(forged, iid="two", state=InstanceState.READY, slots=1)
    world.bus.publish(heartbeat(two), itself.encode())

    await world.until(lambda: world.live["in-one"].get("houses.blue") == 2)


@pytest.mark.parametrize("returns", [True, False])
async def test_what_may_have_begun_goes_to_no_other_instance_after_a_restart_of_nats(
    world: World, returns: bool
) -> None:
    """Its instance is back later than the ingress and knows it, or the caller hears of a doubt."""
    lines: list[str] = []
    listening = await journaled_ingress(world, lines)
    await world.route(make_route(idempotent=False, request_timeout_ms=20_000))
    process = await separate(world, "frozen")
    try:
        await world.until(lambda: world.live["in-one"].get("houses.blue") == 1)
        call = asyncio.create_task(post(world, url(listening), {"sleep_s": 1.0}))
        await world.until(lambda: world.in_flight["in-one"].get("houses.blue") == 1)
        other = await world.instance(iid="other")
        process.send_signal(signal.SIGSTOP)
        world.server.kill()
        await asyncio.to_thread(world.server.start)
        await world.until(lambda: any('"kept"' in line for line in lines))
        if returns:
            process.send_signal(signal.SIGCONT)
        status, body = await call
    finally:
        process.kill()
        await process.wait()

    assert other.seen == []
    assert replay(lines) == []
    if returns and b"no heartbeat" not in body:  # a slow machine may be too late
        assert status == 200
    else:
        assert status == 424
        assert b"may have run" in body


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_what_was_lost_with_the_connection_of_its_instance_alone_is_sent_again(
    world: World, lost: str, idempotent: bool
) -> None:
    """As by the end of its node of a cluster; the ingress, at another, notices nothing else."""
    lines: list[str] = []
    listening = await journaled_ingress(world, lines)
    await world.route(make_route(idempotent=idempotent, request_timeout_ms=20_000))
    switch = Switch()
    async with CuttingProxy(world.server.port, switch) as proxy:
        one = await world.instance(way=f"nats://127.0.0.1:{proxy.port}")
        if lost == "request":
            switch.cut("inst:one", [Way.DOWN])
        call = asyncio.create_task(post(world, url(listening), {"sleep_s": 0.2}))
        if lost == "request":
            await world.until(lambda: world.in_flight["in-one"].get("houses.blue") == 1)
        else:
            await until_async(lambda: one.seen, "the request")
            switch.cut("inst:one", [Way.UP])
            await until_async(lambda: not one.admission.in_flight, "its answer")
        switch.end("inst:one")
        switch.heal("inst:one")
        status, _ = await call
        await one.stop()
        world.instances.remove(one)

    assert status == 200
    assert len(one.seen) == 1
    assert replay(lines) == []


class Stumbling(Dispatch):
    """Fails once where deadlines are looked after."""

    stumbled = False

    def overdue(self, now: float) -> list[tuple[QueueEntry, Overdue]]:
        if not self.stumbled:
            self.stumbled = True
            raise RuntimeError("a fault of ours")
        return super().overdue(now)


async def test_a_fault_in_one_look_at_deadlines_does_not_end_them_all(world: World) -> None:
    settings = GatewaySettings(
        ingress_id="in-one", make_dispatch=lambda _, seed: Stumbling(random.Random(seed))
    )
    listening = await world.ingress(gateway=settings)
    await world.route(make_route(request_timeout_ms=300))
    await world.instance()
    async with asyncio.timeout(BOUND_S):
        status, _ = await post(world, url(listening), {"sleep_s": BOUND_S})

    assert status == 408


async def test_requests_inside_their_deadline_survive_a_restart_of_nats(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route(request_timeout_ms=20_000, max_queue_wait_ms=300))
    one = await world.instance()
    running = asyncio.create_task(post(world, url(listening), {"sleep_s": 1.0}))
    await world.until(lambda: bool(one.seen))
    world.server.kill()
    arriving = asyncio.create_task(post(world, url(listening), [1]))
    await asyncio.sleep(0.5)  # longer than max_queue_wait: its clock stands still
    await asyncio.to_thread(world.server.start)

    assert [(await running)[0], (await arriving)[0]] == [200, 200]
    assert len(one.seen) == 2  # the one sent again was not run again


async def test_a_draining_instance_costs_nobody_an_error(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    leaving, staying = await world.instance(iid="leaving"), await world.instance(iid="staying")
    leaving.admission.drain()
    codes = [(await post(world, url(listening), [number]))[0] for number in range(20)]
    leaving.state = InstanceState.DRAINING
    leaving.say()

    assert codes == [200] * 20
    assert len(staying.seen) == 20


@pytest.mark.parametrize(("named", "turned_away"), [("gone", 0), ("one", 1)])
async def test_nobody_there_is_held_against_the_instance_it_is_said_of(
    world: World, named: str, turned_away: int
) -> None:
    """A request that is with its second instance may still hear that its first has gone."""
    lines: list[str] = []
    listening = await journaled_ingress(world, lines)
    await world.route(make_route())
    one = await world.instance()
    replies: asyncio.Queue[str] = asyncio.Queue()
    at = "inst.houses.blue."
    await world.bus.subscribe(at + "one", lambda message: replies.put_nowait(message.reply))
    await world.bus.flush()
    call = asyncio.create_task(post(world, url(listening), {"sleep_s": 1.0}))
    await say_nobody_is_there(world.server.port, await replies.get(), at + named)

    assert (await call)[0] == 200
    assert [json.loads(line)[1] for line in lines].count("turned_away") == turned_away
    assert len(one.seen) == 1


async def say_nobody_is_there(port: int, reply: str, subject: str) -> None:
    """In the server's own words for a request on `subject`."""
    header = f"NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
    writer.write(f"HPUB {reply} {len(header)} {len(header)}\r\n{header}\r\nPING\r\n".encode())
    await asyncio.wait_for(reader.readuntil(b"PONG\r\n"), BOUND_S)
    writer.close()
    await writer.wait_closed()


async def test_an_ingress_knows_its_instances_before_it_listens(world: World) -> None:
    """Else who asks a restarted one at once waits for a heartbeat, and in vain past the queue."""
    await world.ingress("in-first")
    await world.route(make_route(max_queue_wait_ms=20, desired_instances=1))
    await world.instance()

    codes = []
    for number in range(5):
        listening = await world.ingress(f"in-{number}", heard=False)
        codes.append((await post(world, url(listening), [number]))[0])

    assert codes == [200] * 5


async def test_an_ingress_says_at_once_that_it_sees_a_ready_instance(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control closes a rollout on that word; half a heartbeat on average would be lost."""
    monkeypatch.setattr(gateway, "HEARTBEAT_INTERVAL_S", 10 * BOUND_S)
    await world.ingress()
    await world.route(make_route())
    await world.spare("houses", "blue", "one")

    await world.until(lambda: world.live["in-one"].get("houses.blue") == 1)
    second = await world.spare("houses", "blue", "two")
    await world.until(lambda: world.live["in-one"].get("houses.blue") == 2)
    await second.stop()


async def test_a_heartbeat_heard_before_the_routes_leaves_no_limits_of_its_own(
    world: World,
) -> None:
    """What is known of a deployment before its route is read must not outlive the reading."""
    await world.ingress("in-first")
    await world.route(make_route(max_concurrent=8))
    one = await world.instance(slots=8)

    async def speak() -> None:
        while True:
            one.say()
            await asyncio.sleep(0.0005)

    speaking = asyncio.create_task(speak())
    listening = await world.ingress(heard=False)
    calls = [post(world, url(listening), {"sleep_s": 0.3}) for _ in range(8)]
    codes = [status for status, _ in await asyncio.gather(*calls)]
    speaking.cancel()

    assert codes == [200] * 8


async def test_a_stopping_ingress_finishes_what_is_open(world: World) -> None:
    listening = await world.ingress()
    await world.route(make_route())
    one = await world.instance()
    call = asyncio.create_task(post(world, url(listening), {"sleep_s": 0.5}))
    await world.until(lambda: bool(one.seen))
    stop, task = world.stops[0]
    stop.set()
    status, _ = await call
    await asyncio.wait_for(task, BOUND_S)

    assert status == 200


async def test_the_decisions_of_two_ingresses_are_repeated_by_the_pure_functions(
    world: World,
) -> None:
    lines: dict[str, list[str]] = {"in-one": [], "in-two": []}
    listening = [
        await world.ingress(
            name, gateway=GatewaySettings(ingress_id=name, make_dispatch=journaled(log.append))
        )
        for name, log in lines.items()
    ]
    await world.route(make_route(max_concurrent=30, max_queue_wait_ms=10_000))
    await world.instance(slots=2)
    await world.instance(iid="two", slots=1)
    calls = [
        post(world, url(listening[number % 2]), {"sleep_s": 0.003 * (number % 4)})
        for number in range(60)
    ]
    codes = [status for status, _ in await asyncio.gather(*calls)]

    assert codes == [200] * 60
    for log in lines.values():
        assert len(log) > 60
        assert replay(log) == []
    damaged = [line.replace('"one"', '"two"') for line in lines["in-one"]]
    assert replay(damaged)
