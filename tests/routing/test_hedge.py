"""Hedges stay within their budget, wait for the p95, and stop where they would cost others."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.routing.queueing.dispatch import Dispatch
from headrace_bus.routing.queueing.hedge import (
    EXTRA_SHARE,
    WINDOW_S,
    Budget,
    Declined,
    Hedge,
    RunningQuantile,
)
from headrace_bus.routing.queueing.queue_entry import Instance
from headrace_simulation.dispatch import LATENCY_S, DispatchSimulation, stalling_load
from headrace_simulation.hedging import HedgedSimulation
from routing.test_dispatch import beat, entry


@given(
    st.lists(st.tuples(st.floats(0.0, 0.5), st.integers(0, 2)), min_size=100, max_size=600),
    st.integers(1, 5),
)
def test_the_copies_of_all_ingresses_are_five_percent_at_most(
    arrivals: list[tuple[float, int]], each: int
) -> None:
    """In any span of time, of the requests of that span and of the WINDOW_S before it.

    Each of three ingresses counts its own traffic alone, however unequal that is.
    """
    budgets, now = [Budget(), Budget(), Budget()], 0.0
    requests: list[float] = []
    copies: list[float] = []
    for number, (gap, ingress) in enumerate(arrivals):
        now += gap
        budgets[ingress].executed(now)
        requests.append(now)
        if number % each == 0 and budgets[ingress].take(now):
            copies.append(now)

    for end in copies:
        for begin in copies:
            span = sum(begin <= one <= end for one in copies)
            paid = sum(begin - WINDOW_S < one <= end for one in requests)
            assert span <= EXTRA_SHARE * paid


def test_one_ingress_never_has_more_than_its_share_in_the_last_window() -> None:
    budget = Budget()
    for _ in range(100):
        budget.executed(0.0)
    assert sum(budget.take(1.0) for _ in range(100)) == 5
    assert not budget.take(WINDOW_S - 0.1)
    for _ in range(60):
        budget.executed(WINDOW_S + 0.5)
    assert not budget.take(WINDOW_S + 0.5)  # the hundred are forgotten, the five are not
    assert sum(budget.take(WINDOW_S + 1.1) for _ in range(100)) == 3


@given(seed=st.integers(0, 100), scale=st.floats(0.001, 1.0))
def test_the_running_p95_is_within_a_bucket_of_the_true_one(seed: int, scale: float) -> None:
    rng, quantile = random.Random(seed), RunningQuantile()
    times = [scale * rng.lognormvariate(0, 1) for _ in range(1000)]
    for took in times:
        quantile.add(took)
    true = sorted(times)[949]

    assert quantile.value_s is not None
    assert 0.9 * true <= quantile.value_s <= 1.12 * true


def test_old_times_fade() -> None:
    quantile = RunningQuantile()
    for took in [1.0] * 1000 + [0.01] * 60_000:
        quantile.add(took)
    assert quantile.value_s is not None
    assert quantile.value_s < 0.02


def busy_dispatch(used: int) -> Dispatch:
    """Two instances of five slots, of which `used` have a request."""
    dispatch = Dispatch(random.Random(0))
    for iid in ("one", "two"):
        dispatch.beat(beat(iid, slots=5), 0.0)
    for number in range(used):
        dispatch.submit(entry(str(number)), 0.0)
    return dispatch


def test_nothing_is_copied_where_slots_are_scarce() -> None:
    def chosen(used: int, requests: int = 1000) -> Instance | Declined:
        dispatch, hedge = busy_dispatch(used), Hedge()
        for _ in range(requests):
            hedge.budget.executed(0.0)
        return hedge.choose(dispatch, dispatch.instances["one"], 0.0)

    assert isinstance(chosen(7), Instance)
    assert chosen(7, requests=19) is Declined.BUDGET
    assert chosen(8) is Declined.LOAD
    assert chosen(10) is Declined.NO_ROOM
    assert chosen(11) is Declined.WAITING


def test_hedges_cut_the_tail_for_less_than_five_percent_more_runs() -> None:
    """Simulated: two ingresses, half load, 2 % of the runs stall for twenty times the mean."""
    for seed in range(3):
        load = stalling_load(
            seed, requests=3000, servers=16, load=0.5, mean_s=0.02, share=0.02, stall_s=0.4
        )
        world = {"ingresses": 2, "instances": 4, "slots": 4, "seed": seed}
        hedged = HedgedSimulation(**world, latency_s=LATENCY_S)
        plain = DispatchSimulation(**world, latency_s=LATENCY_S)
        with_copies, without = hedged.run(load), plain.run(load)

        assert len(with_copies.latency_s) == len(without.latency_s) == len(load)
        assert with_copies.quantile(0.99) < 0.5 * without.quantile(0.99)
        assert 0 < len(hedged.copies) <= EXTRA_SHARE * len(load)
        assert hedged.busy_s <= 1.05 * sum(job.service_s for job in load)


def test_overtaken_requests_keep_the_p95_where_it_is() -> None:
    """Counting only those that answer would let it sink, and spend copies on the usual."""
    load = stalling_load(
        1, requests=6000, servers=16, load=0.3, mean_s=0.02, share=0.04, stall_s=0.4
    )
    hedged = HedgedSimulation(ingresses=1, instances=4, slots=4, latency_s=LATENCY_S, seed=1)
    hedged.run(load)
    assert hedged.won > 0.6 * len(hedged.copies)
