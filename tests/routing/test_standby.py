"""One request a slot stands by at its instance while no slot is free; it moves where one is."""

from __future__ import annotations

import random
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.routing.queueing.dispatch import Dispatch
from headrace_bus.routing.queueing.outliers import MIN_SAMPLES
from headrace_bus.routing.queueing.queue_entry import QueueEntry
from headrace_bus.routing.queueing.standby import QUICK_S, STANDBY_S, standby_places
from headrace_bus.wire.heartbeat import InstanceHeartbeat, InstanceState
from headrace_simulation.dispatch import (
    Job,
    Outcome,
    central_queue,
    lognormal_load,
    pareto_load,
    simulate_dispatch,
)
from routing.test_dispatch import entry, hurried


def dispatch_of(*iids: str, standby: int = 1) -> Dispatch:
    dispatch = Dispatch(random.Random(1))
    for iid in iids:
        heartbeat = InstanceHeartbeat(
            iid=iid,
            epoch=1,
            client=iid,
            state=InstanceState.READY,
            slots=1,
            standby=standby,
            in_flight=0,
        )
        dispatch.beat(heartbeat, 0.0)
    return dispatch


def submitted(dispatch: Dispatch, *names: str) -> list[QueueEntry]:
    entries = [entry(name) for name in names]
    for one in entries:
        dispatch.submit(one, 0.0)
    return entries


def test_who_stands_by_does_so_only_where_every_slot_is_taken() -> None:
    dispatch = dispatch_of("a", "b")
    entries = submitted(dispatch, "1", "2", "3", "4", "5")

    assert [one.standby for one in entries] == [False, False, True, True, False]
    assert {one.instance and one.instance.iid for one in entries[2:4]} == {"a", "b"}
    assert list(dispatch.queue) == entries[4:]
    assert entries[2].run_deadline == entries[0].run_deadline + STANDBY_S


def test_who_has_no_time_for_the_run_before_its_own_stands_by_nowhere() -> None:
    """It would be begun all the same, for a caller who is gone at its end."""
    dispatch = dispatch_of("a")
    running, standing = submitted(dispatch, "1", "2")
    near, far, late = hurried("near", 0.34), hurried("far", 0.5), hurried("late", 0.34)
    dispatch.submit(near, 0.0)
    dispatch.submit(far, 0.0)
    for _ in range(MIN_SAMPLES):
        dispatch.measured("a", 0.1)
    dispatch.answered(running, free=1)

    assert dispatch.next(0.15) is far
    assert far.standby
    dispatch.answered(standing, free=1)
    assert dispatch.submit(late, 0.15) is None
    assert dispatch.next(0.15) is None
    assert dispatch.overdue(0.15) == [], "a slot may still come"
    dispatch.answered(far, free=2)
    assert dispatch.next(0.15) is near
    assert not near.standby


def test_it_is_called_back_when_a_slot_stands_empty_and_begins_there() -> None:
    dispatch = dispatch_of("a", "b")
    first, second, waiting = submitted(dispatch, "1", "2", "3")
    other = first if waiting.instance is second.instance else second
    assert other.instance is not None
    idle = other.instance.iid

    assert dispatch.recalls() == []
    dispatch.answered(other, free=2)
    assert dispatch.recalls() == [waiting]
    assert dispatch.recalls() == [], "it is called once"

    assert dispatch.refused(waiting, free=1)
    assert dispatch.next(0.0) is waiting
    assert waiting.instance is not None
    assert (waiting.instance.iid, waiting.standby) == (idle, False)
    assert dispatch.recalls() == []


def test_who_was_refused_a_slot_does_not_ask_for_the_same_one_again() -> None:
    """The places it is told of are to stand by, which the ingress may not have heard of yet."""
    dispatch = dispatch_of("a", standby=0)
    (first,) = submitted(dispatch, "1")

    assert dispatch.refused(first, free=1)
    assert dispatch.next(0.0) is None
    assert [change.backlog.n for change in dispatch.wants(0.0)] == [1]


def test_what_has_begun_by_all_that_is_known_is_not_called_back() -> None:
    dispatch = dispatch_of("a", "b")
    first, second, waiting = submitted(dispatch, "1", "2", "3")
    before, other = (first, second) if waiting.instance is first.instance else (second, first)

    dispatch.answered(before, free=1)
    dispatch.answered(other, free=2)
    assert dispatch.recalls() == []


def test_one_that_was_lost_once_waits_at_the_ingress() -> None:
    dispatch = dispatch_of("a", "b")
    first, _ = submitted(dispatch, "1", "2")
    assert first.instance is not None
    for lost in dispatch.remove(first.instance.iid):
        dispatch.retry(lost)

    assert dispatch.next(0.0) is None
    assert list(dispatch.queue) == [first]


@given(
    mean_s=st.one_of(st.none(), st.floats(0.0001, 10.0)),
    slots=st.integers(1, 64),
    limit=st.integers(1, 64),
)
def test_an_instance_never_takes_more_than_twice_its_limit(
    mean_s: float | None, slots: int, limit: int
) -> None:
    places = standby_places(mean_s, min(slots, limit), limit)

    assert 0 <= places <= slots
    assert min(slots, limit) + places <= 2 * limit
    assert (places == 0) == (mean_s is None or mean_s > QUICK_S)


RUN_MORE_S = 0.0004
"""What a run takes beyond what was asked, in the real runs of docs/performance.md."""


def simulated(load: list[Job], seed: int, standby: int, ingresses: int = 2) -> Outcome:
    """With what a real run adds: one way over the bus, and at the instance beside `run`."""
    outcome = simulate_dispatch(
        load,
        ingresses=ingresses,
        instances=4,
        seed=seed,
        standby=standby,
        latency_s=0.0004,
        beside_s=0.0007,
        begin_s=0.0001,
    )
    assert len(outcome.latency_s) == len(load)
    return outcome


def longer(load: list[Job]) -> list[Job]:
    return [job._replace(service_s=job.service_s + RUN_MORE_S) for job in load]


def test_the_turn_of_a_slot_costs_a_heavy_tail_next_to_nothing() -> None:
    """Two ingresses, 80 % load, against a central queue that holds a slot for its run alone."""
    pareto, lognormal = [], []
    for seed in range(6):
        load = longer(pareto_load(seed, requests=3200, servers=4, load=0.8, mean_s=0.02))
        ideal = central_queue(load, servers=4, latency_s=0.0).quantile(0.99)
        pareto.append(simulated(load, seed, 1).quantile(0.99) / ideal)
        load = longer(
            lognormal_load(seed, requests=3200, servers=4, load=0.8, mean_s=0.005, sigma=1.5)
        )
        ideal = central_queue(load, servers=4, latency_s=0.0).quantile(0.99)
        lognormal.append(simulated(load, seed, 1).quantile(0.99) / ideal)
        assert simulated(load, seed, 0).quantile(0.99) > 1.5 * lognormal[-1] * ideal

    assert sum(pareto) / len(pareto) <= 1.15
    assert sum(lognormal) / len(lognormal) <= 1.3


@pytest.mark.parametrize("ingresses", [2, 4])
def test_large_bodies_that_may_not_stand_by_leave_no_slot_idle(ingresses: int) -> None:
    """A quarter of the requests, at 80 % load: an ingress is told of slots it can use."""
    waited, without, idle = 0.0, 0.0, 0.0
    for seed in range(3):
        load = lognormal_load(seed, requests=2000, servers=4, load=0.8, mean_s=0.02, sigma=0.5)
        mixed = [job._replace(stands_by=at % 4 > 0) for at, job in enumerate(load)]
        outcome = simulated(mixed, seed, 1, ingresses)
        waited += sum(outcome.latency_s)
        without += sum(simulated(mixed, seed, 0, ingresses).latency_s)
        idle = max(idle, outcome.idle_while_waiting_s / (4 * load[-1].arrives_s))

    assert idle < 0.03  # of all slot time was free while a request waited
    assert waited < without, "it is better than if nobody could stand by"


@given(
    seed=st.integers(0, 10_000),
    ingresses=st.integers(1, 3),
    slots=st.integers(1, 3),
    standby=st.integers(1, 3),
)
def test_every_request_of_any_run_is_answered_once(
    seed: int, ingresses: int, slots: int, standby: int
) -> None:
    load = pareto_load(seed, requests=60, servers=2 * slots, load=1.2, mean_s=0.01)
    outcome = simulate_dispatch(
        load, ingresses=ingresses, instances=2, slots=slots, seed=seed, standby=standby
    )

    assert len(outcome.latency_s) == len(load)
    assert min(outcome.latency_s) < inf
