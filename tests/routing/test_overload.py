"""Callers who give up: what is begun is for somebody who will read the answer; simulated."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import pytest

from headrace_bus.routing.queueing.deadline_scheduler import MOST_ABOVE, TURN_S, DeadlineScheduler
from headrace_bus.routing.queueing.outliers import MIN_SAMPLES
from headrace_bus.routing.queueing.queue_entry import QueueEntry
from headrace_bus.routing.queueing.wait_queue import WaitQueue
from headrace_simulation.deadlines import HurriedSimulation
from headrace_simulation.dispatch import Job, Outcome, lognormal_load
from routing.test_dispatch import entry, hurried
from routing.test_standby import dispatch_of

INSTANCES = 4
MEAN_S = 0.02


def overloaded(
    load: list[Job], *, ingresses: int, patience_s: float, seed: int = 0
) -> tuple[HurriedSimulation, Outcome]:
    """Instances of one slot and a place beside it, with what a real turn takes."""
    simulation = HurriedSimulation(
        patience_s=patience_s,
        ingresses=ingresses,
        instances=INSTANCES,
        slots=1,
        standby=1,
        latency_s=0.0004,
        beside_s=0.0007,
        begin_s=0.0001,
        seed=seed,
    )
    outcome = simulation.run(load)
    assert len(outcome.latency_s) == len(load), "each ends once"
    return simulation, outcome


@pytest.mark.parametrize("ingresses", [1, 2, 4])
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_at_twice_the_capacity_all_of_it_is_for_callers_who_wait(
    sigma: float, ingresses: int
) -> None:
    good, in_vain = 0.0, 0.0
    for seed in range(2):
        load = lognormal_load(
            seed, requests=2400, servers=INSTANCES, load=2.0, mean_s=MEAN_S, sigma=sigma
        )
        simulation, _ = overloaded(load, ingresses=ingresses, patience_s=0.3, seed=seed)
        good += simulation.in_time * MEAN_S / (INSTANCES * load[-1].arrives_s) / 2
        in_vain += simulation.busy_in_vain_s / simulation.busy_s / 2

    assert good >= 0.95
    assert in_vain <= 0.01


def test_where_times_spread_those_go_first_who_can_wait_for_a_long_run() -> None:
    """Else half of an overload goes to runs that are a little too long (0.65, and 0.33 good)."""
    load = lognormal_load(0, requests=2400, servers=INSTANCES, load=2.0, mean_s=MEAN_S, sigma=1.0)
    simulation, _ = overloaded(load, ingresses=1, patience_s=0.3)

    assert simulation.busy_in_vain_s < 0.2 * simulation.busy_s
    assert simulation.in_time > 0.45 * len(load)


@pytest.mark.parametrize("ingresses", [1, 2, 4])
def test_callers_of_short_patience_leave_no_slot_idle_while_they_wait(ingresses: int) -> None:
    """They have no use for a place behind a run, and say so, lest it be held for them."""
    load = lognormal_load(1, requests=2000, servers=INSTANCES, load=0.7, mean_s=MEAN_S, sigma=0.3)
    simulation, outcome = overloaded(load, ingresses=ingresses, patience_s=2.5 * MEAN_S)

    assert simulation.in_time > 0.9 * len(load)
    assert outcome.idle_while_waiting_s < 0.05 * INSTANCES * load[-1].arrives_s


@pytest.mark.parametrize("ingresses", [2, 4])
def test_no_slot_is_held_for_requests_that_are_all_too_late(ingresses: int) -> None:
    """Short runs and large bodies among them; 0.38 of the slots were idle while others waited."""
    load = lognormal_load(7, requests=2000, servers=INSTANCES, load=0.9, mean_s=0.005, sigma=0.3)
    mixed = [job._replace(stands_by=at % 4 > 0) for at, job in enumerate(load)]
    simulation, outcome = overloaded(mixed, ingresses=ingresses, patience_s=0.0155, seed=7)

    assert simulation.in_time > 0.75 * len(load)
    assert outcome.idle_while_waiting_s < 0.15 * INSTANCES * load[-1].arrives_s


def test_a_place_behind_a_run_is_of_no_use_when_nobody_has_time_for_two() -> None:
    dispatch = dispatch_of("a", standby=0)
    dispatch.submit(entry("runs"), 0.0)
    near = hurried("near", 0.3)
    dispatch.submit(near, 0.0)
    for _ in range(MIN_SAMPLES):
        dispatch.measured("a", 0.1)

    assert not dispatch.needs_slot(0.0)
    assert dispatch.needs_slot(0.15)
    dispatch.submit(entry("patient"), 0.15)
    assert not dispatch.needs_slot(0.15)


def hurry_of(waiting: Iterable[QueueEntry], *took_s: float) -> DeadlineScheduler:
    line = WaitQueue()
    deadlines = DeadlineScheduler(line)
    deadlines.waits(hurried("begins to measure", 0.1))
    for one in waiting:
        line.join(one)
    for took in took_s:
        deadlines.measured(took)
    return deadlines


def test_the_first_with_time_for_nearly_any_run_goes_before_older_ones_with_little() -> None:
    older, newer = hurried("older", 0.2), hurried("newer", 5.0)
    deadlines = hurry_of([older, newer], *(0.05, 0.1, 0.2) * MIN_SAMPLES)

    assert deadlines.first(0.0, 1) is newer
    assert not deadlines.too_late(older, 0.0)


def test_where_nobody_has_it_the_one_with_most_time_goes_while_a_usual_run_fits() -> None:
    less, most = hurried("less", 0.15), hurried("most", 0.2)
    deadlines = hurry_of([less, most], *(0.05, 0.1, 0.2) * MIN_SAMPLES)

    assert deadlines.first(0.0, 1) is most
    assert deadlines.first(0.15, 1) is None
    assert hurry_of([]).first(0.0, 1) is None


def test_times_that_spread_without_end_do_not_turn_the_queue_round() -> None:
    """Who has many times the usual run left waits in the order of arrival."""
    first, second = hurried("first", 9.0), hurried("second", 9.5)
    deadlines = hurry_of([first, second], *(0.001, 0.1, 10.0) * MIN_SAMPLES)

    assert deadlines.first(0.0, 1) is first
    assert MOST_ABOVE * 0.2 + TURN_S < 9.0


def test_nobody_is_passed_over_while_no_caller_is_in_a_hurry() -> None:
    line = WaitQueue()
    deadlines = DeadlineScheduler(line)
    patient = QueueEntry("p", arrived=0.0, queue_deadline=1.0, deadline=2.0, run_timeout_s=1.0)
    line.join(patient)
    deadlines.waits(patient)
    deadlines.measured(10.0)

    assert deadlines.first(0.0, 2) is patient
    assert not deadlines.too_late(patient, inf)
