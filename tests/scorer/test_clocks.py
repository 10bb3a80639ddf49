"""Ingress and instance on machines whose clocks disagree: nobody's request expires by that."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from chaos.wrong_clock import FAKETIME, MISSING, WrongClock
from headrace_bus.client.connection import Bus
from headrace_bus.routing.exchange.call import Incoming, Result
from headrace_bus.routing.exchange.channel import Channel
from headrace_bus.routing.exchange.metrics import ChannelMetrics, GatewayMetrics
from headrace_bus.routing.exchange.request_id import new_request_id
from headrace_bus.routing.queueing.dispatch import Dispatch
from headrace_bus.wire.envelope import Answer, AnswerKind
from headrace_bus.wire.head import request_head
from headrace_bus.wire.route_record import DeploymentRoute
from headrace_telemetry.clock import monotonic, unix_ms
from headrace_telemetry.metrics import Registry
from scorer.caller import BOUND_S, Instance
from scorer.conftest import Serve

ECHO = "def init(): pass\ndef run(raw): return 1\n"
DAY_MS = 86_400_000


@pytest.mark.skipif(not FAKETIME.exists(), reason=MISSING)
@pytest.mark.parametrize("ahead_s", [-20, 20])
async def test_wall_clocks_that_differ_expire_no_request(
    serve: Serve, tmp_path: Path, ahead_s: int
) -> None:
    """A real lane, and a scorer whose process is told another time."""
    clock = WrongClock(tmp_path)
    clock.make()
    clock.shift(ahead_s)
    instance, caller = await serve(ECHO, python=str(clock.python))
    assert clock.reaches(instance.pid)
    results: asyncio.Queue[Result] = asyncio.Queue()
    lane = lane_to(instance, caller.bus)
    for _ in range(3):
        head = request_head("POST", "/score", "", [("content-type", "application/json")])
        lane.start(Incoming(new_request_id(), head, b"{}"), lambda _, got: results.put_nowait(got))
        got = await asyncio.wait_for(results.get(), BOUND_S)
        assert isinstance(got, Answer), got
        assert got.status == 200


def lane_to(instance: Instance, bus: Bus) -> Channel:
    """What an ingress makes of the instance's last heartbeat."""
    assert instance.last is not None
    address = (instance.address.endpoint, instance.address.deployment)
    route = DeploymentRoute(name=address[1], max_queue_wait_ms=10_000)
    metrics = ChannelMetrics(GatewayMetrics(Registry()), *address)
    lane = Channel(
        bus, "in-one", route, address, dispatch=Dispatch(random.Random(0)), metrics=metrics
    )
    lane.beat(instance.last, monotonic())
    return lane


@pytest.mark.parametrize("skew_ms", [-DAY_MS, -10_000, 0, 10_000, DAY_MS])
async def test_a_request_is_late_by_what_the_ones_before_it_took(
    serve: Serve, skew_ms: int
) -> None:
    _, caller = await serve(ECHO)

    async def ask(late_ms: int) -> int:
        """A request with 5 s left when it was sent."""
        deadline_ms = unix_ms() + skew_ms + 5_000 - late_ms
        return (await caller.ask({}, deadline_ms=deadline_ms, remaining_ms=5_000)).kind

    assert await ask(late_ms=0) == AnswerKind.DONE
    assert await ask(late_ms=7_000) == AnswerKind.EXPIRED
    assert await ask(late_ms=0) == AnswerKind.DONE
