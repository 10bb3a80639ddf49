"""One view of the fleet: what its readers are told, and who is taken to live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.wire.heartbeat import IngressHeartbeat, InstanceHeartbeat, InstanceState
from headrace_bus.wire.liveness_bounds import (
    DEAF_S,
    DUE_S,
    FORGOTTEN_S,
    INGRESS_LIVE_S,
    INSTANCE_LIVE_S,
)
from headrace_bus.wire.subjects import InstanceAddress, heartbeat, ingress_heartbeat
from headrace_state.fleet_view import FleetView, ObservedInstance
from support.nats_server import NatsServer

BOUND_S = 30.0  # ends failed tests only
ADDRESS = InstanceAddress("iris", "blue", "i1")
READY = InstanceHeartbeat(
    iid="i1", epoch=1, client="c", state=InstanceState.READY, slots=1, in_flight=0
)
LOADING = replace(READY, state=InstanceState.LOADING)
INGRESS = IngressHeartbeat(ingress_id="in-1", applied={"iris": 4}, live={"iris.blue": 1})


@dataclass
class Fleet:
    """A view that listens, somebody who speaks, and a clock that the test moves."""

    bus: Bus
    view: FleetView
    now_s: float = 100.0

    async def say(self, *beats: InstanceHeartbeat | IngressHeartbeat) -> None:
        """Returns when the view has heard them."""
        for beat in beats:
            if isinstance(beat, IngressHeartbeat):
                subject = ingress_heartbeat(beat.ingress_id)
            else:
                subject = heartbeat(ADDRESS._replace(iid=beat.iid))
            self.bus.publish(subject, beat.encode())
        await self.bus.flush()


@pytest.fixture
async def fleet(nats_server: NatsServer) -> AsyncIterator[Fleet]:
    bus = await Bus.connect(BusSettings(url=nats_server.url, name="control"))
    made = Fleet(bus=bus, view=FleetView())
    made.view = FleetView(now=lambda: made.now_s)
    await made.view.listen(bus)
    yield made
    await bus.close()


def test_an_edge_finds_itself_deaf_before_it_finds_an_instance_frozen() -> None:
    assert DUE_S < DEAF_S < INSTANCE_LIVE_S < INGRESS_LIVE_S < FORGOTTEN_S


async def test_change_is_told_when_a_state_or_a_phase_is_new_and_not_at_each_beat(
    fleet: Fleet,
) -> None:
    told: list[float] = []
    fleet.view.on_change(lambda: told.append(fleet.now_s))

    await fleet.say(LOADING, LOADING, replace(LOADING, in_flight=1))
    assert len(told) == 1
    await fleet.say(replace(LOADING, phases={"fetch": 0.1}))
    assert len(told) == 2
    await fleet.say(READY, READY)
    assert len(told) == 3
    await fleet.say(INGRESS, replace(INGRESS, waiting={"iris.blue": 3}))
    assert len(told) == 4
    await fleet.say(replace(INGRESS, applied={"iris": 5}))
    assert len(told) == 5


async def test_the_first_ready_of_an_instance_is_told_once_to_every_reader(fleet: Fleet) -> None:
    told: list[ObservedInstance] = []
    fleet.view.on_first_ready(told.append)
    fleet.view.on_first_ready(told.append)

    unready = replace(READY, state=InstanceState.UNREADY)
    await fleet.say(LOADING, READY, unready, READY, replace(READY, epoch=2))

    assert [one.address for one in told] == [ADDRESS, ADDRESS]
    found = fleet.view.instance("i1")
    assert found is not None
    assert (found.was_ready, found.beat.epoch) == (True, 2)


async def test_an_instance_keeps_the_time_of_its_state_over_further_beats(fleet: Fleet) -> None:
    await fleet.say(LOADING)
    fleet.now_s += 1.0
    await fleet.say(LOADING)

    found = fleet.view.instance("i1")
    assert found is not None
    assert (found.since_s, found.heard_s) == (100.0, 101.0)


async def test_who_is_silent_for_longer_than_the_bound_does_not_live(fleet: Fleet) -> None:
    await fleet.say(READY, INGRESS)
    fleet.now_s += INSTANCE_LIVE_S
    assert [one.address for one in fleet.view.live_instances()] == [ADDRESS]
    assert fleet.view.attached("iris", "blue", own=()) == 1
    assert fleet.view.attached("iris", "blue", own={"i1"}) == 0

    fleet.now_s += 0.1
    assert list(fleet.view.live_instances()) == []
    assert fleet.view.attached("iris", "blue", own=()) == 0
    assert list(fleet.view.live_ingresses()) == ["in-1"]

    fleet.now_s += INGRESS_LIVE_S
    assert fleet.view.live_ingresses() == {}


async def test_every_live_ingress_has_to_have_applied_a_route_and_see_the_instances(
    fleet: Fleet,
) -> None:
    behind = IngressHeartbeat(ingress_id="in-2", applied={"iris": 3})
    await fleet.say(INGRESS)
    assert fleet.view.applied_everywhere("iris", 4)

    await fleet.say(behind)
    assert not fleet.view.applied_everywhere("iris", 4)

    fleet.now_s += INGRESS_LIVE_S + 0.1  # nobody waits for one that is gone
    await fleet.say(INGRESS)
    assert fleet.view.applied_everywhere("iris", 4)


async def test_the_silent_are_forgotten_after_a_while_but_never_our_own(fleet: Fleet) -> None:
    fleet.view.keep({"i1"})
    await fleet.say(READY, replace(READY, iid="a1"), INGRESS)
    fleet.now_s += FORGOTTEN_S + 0.1
    await fleet.say(replace(READY, iid="a2"))

    assert fleet.view.instance("i1") is not None
    assert fleet.view.instance("a1") is None
    fleet.view.forget("i1")
    assert fleet.view.instance("i1") is None


async def test_what_nobody_could_hear_is_no_silence(fleet: Fleet, nats_server: NatsServer) -> None:
    """The server restarts; the clock of silence begins again with the connection."""
    await fleet.say(READY)
    fleet.now_s += 50.0
    assert fleet.view.silent_s("i1", known_s=0.0) == 50.0
    assert not fleet.view.is_new

    back = asyncio.Event()
    fleet.bus.on_reconnect(back.set)
    nats_server.restart()
    await asyncio.wait_for(back.wait(), BOUND_S)

    assert fleet.view.silent_s("i1", known_s=0.0) == 0.0
    assert fleet.view.is_new


async def test_malformed_and_misaddressed_heartbeats_are_left_out(fleet: Fleet) -> None:
    fleet.bus.publish(heartbeat(ADDRESS), b"no heartbeat")
    fleet.bus.publish(ingress_heartbeat("in-1"), b"no heartbeat")
    fleet.bus.publish(heartbeat(ADDRESS._replace(iid="i2")), READY.encode())
    await fleet.bus.flush()

    assert list(fleet.view.live_instances()) == []
    assert fleet.view.live_ingresses() == {}
