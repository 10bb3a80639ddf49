"""How many requests may wait and run: by what is wanted, by what is attached, over all edges."""

from __future__ import annotations

import pytest

from headrace_bus.routing.exchange.call import Incoming
from headrace_bus.routing.exchange.request_id import new_request_id
from headrace_bus.routing.queueing.limits import Peers, pending_limit, queue_wait_s
from headrace_bus.wire.head import request_head
from headrace_bus.wire.heartbeat import IngressHeartbeat
from headrace_bus.wire.route_record import DeploymentRoute
from headrace_telemetry.clock import monotonic
from routing.edges import EPOCH, Edge, edge_on
from routing.test_dispatch import beat
from support.nats_server import NatsServer


@pytest.mark.parametrize(
    ("wanted", "ready", "limit"),
    [(1, 0, 20), (1, 1, 20), (1, 3, 60), (2, 1, 40), (0, 0, 20)],
)
def test_the_limit_follows_what_is_wanted_or_more_that_is_ready(
    wanted: int, ready: int, limit: int
) -> None:
    route = DeploymentRoute(name="blue", max_concurrent=10, desired_instances=wanted)
    assert pending_limit(route, ready) == limit


def incoming() -> Incoming:
    return Incoming(new_request_id(), request_head("POST", "/score", "", ()), b"{}")


def filled(edge: Edge, count: int) -> None:
    for _ in range(count):
        edge.channel.start(incoming(), edge.deliver)


@pytest.mark.parametrize(
    ("ready", "pending", "wait_s"),
    [(1, 0, 5.0), (1, 9, 5.0), (1, 10, 0.5), (2, 19, 5.0), (2, 20, 0.5), (0, 0, 0.5)],
)
def test_what_an_instance_may_have_at_once_waits_as_long_as_its_request_may_take(
    ready: int, pending: int, wait_s: float
) -> None:
    route = DeploymentRoute(name="blue", max_concurrent=10)
    assert queue_wait_s(route, ready, pending) == wait_s


def test_a_longer_queue_wait_holds_for_all() -> None:
    route = DeploymentRoute(name="blue", max_concurrent=2, max_queue_wait_ms=60_000)
    assert {queue_wait_s(route, 1, pending) for pending in (0, 1, 2)} == {60.0}


async def test_ten_at_once_are_served_by_one_worker_though_each_takes_a_while(
    nats_server: NatsServer,
) -> None:
    """Four may be there at once and one runs: three wait as they would in the container."""
    async with edge_on(nats_server) as edge:
        filled(edge, 6)
        began = monotonic()
        edge.channel.sweep(began + 1.0)
        refused = [edge.results.get_nowait() for _ in range(edge.results.qsize())]
        assert [one.status for one in refused] == [429, 429], "those beyond the four"
        assert edge.channel.dispatch.pending == 4

        edge.channel.sweep(began + 5.5)
        late = [edge.results.get_nowait() for _ in range(edge.results.qsize())]
        assert [one.status for one in late] == [408] * 4


async def test_an_attached_instance_adds_room(nats_server: NatsServer) -> None:
    async with edge_on(nats_server) as edge:
        filled(edge, 8)
        refusal = edge.channel.overload()
        assert refusal is not None
        assert "More than 8 requests" in refusal.message

        edge.channel.beat(beat("attached", slots=1, epoch=EPOCH), monotonic())

        assert edge.channel.overload() is None
        filled(edge, 8)
        assert edge.channel.overload() is not None


async def test_copies_of_a_mirror_count_what_waits_at_other_edges(nats_server: NatsServer) -> None:
    peers = Peers("this")
    async with edge_on(nats_server, peers=peers) as edge:
        peers.heard(IngressHeartbeat(ingress_id="other", waiting={"houses.blue": 7}), monotonic())
        edge.channel.mirror(incoming())
        assert edge.channel.dispatch.pending == 1

        edge.channel.mirror(incoming())

        assert edge.channel.dispatch.pending == 1, "as many as may wait, at both together"
        assert edge.channel.overload() is not None
