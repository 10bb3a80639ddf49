"""Copies stay within their budget, wait for the p95, and stop where they would cost others."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.routing.hedge import EXTRA_SHARE, WINDOW_S, Budget, Hedge, RunningQuantile


@given(st.lists(st.floats(0.0, 0.2), min_size=100, max_size=600), st.integers(1, 5))
def test_no_window_holds_more_than_five_percent_of_copies(gaps: list[float], each: int) -> None:
    budget, now = Budget(), 0.0
    executed: list[float] = []
    copies: list[float] = []
    for number, gap in enumerate(gaps):
        now += gap
        budget.executed(now)
        executed.append(now)
        if number % each == 0 and budget.take(now):
            copies.append(now)
            budget.executed(now)
            executed.append(now)

    for end in copies:  # a window is fullest where a copy ends it
        within = [one for one in copies if end - WINDOW_S < one <= end]
        all_within = [one for one in executed if end - WINDOW_S < one <= end]
        assert len(within) <= EXTRA_SHARE * len(all_within) + 1e-9


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


def test_nothing_is_copied_where_slots_are_scarce() -> None:
    hedge = Hedge()
    for _ in range(1000):
        hedge.budget.executed(0.0)
    assert not hedge.copies(now=0.0, used=8, slots=10)
    assert not hedge.copies(now=0.0, used=0, slots=0)
    assert hedge.copies(now=0.0, used=7, slots=10)
