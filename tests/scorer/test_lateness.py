"""A request is late by what it was on its way beyond the quickest; clocks differ as they like."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace_scorer.one_way_delay import MOST_S, REMEMBERED, WINDOW_S, Lateness

SKEWS = st.floats(-1e6, 1e6)


@given(skew=SKEWS, took=st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_no_request_is_found_later_than_it_is(skew: float, took: list[float]) -> None:
    lateness = Lateness()
    for number, took_s in enumerate(took):
        now = number * 0.1
        assert lateness.late_s("in-one", now - took_s - skew, now) <= took_s + 1e-6


@given(skew=SKEWS, frozen_s=st.floats(1, MOST_S - 1))
def test_what_waited_for_a_frozen_instance_is_late(skew: float, frozen_s: float) -> None:
    lateness = Lateness()
    for number in range(200):
        lateness.late_s("in-one", number * 0.1 - 0.001 - skew, number * 0.1)
    sent, now = 20.0, 20.0 + frozen_s
    for _ in range(3):
        assert abs(lateness.late_s("in-one", sent - skew, now) - frozen_s) < 0.01


def test_a_clock_that_stood_still_is_forgiven() -> None:
    """At once past what a message can be late, else after two windows."""
    for stood_s in (10.0, 1000.0):
        lateness = Lateness()
        found = [
            lateness.late_s("in-one", now - (stood_s if now > 10 else 0.0), float(now))
            for now in range(11 + 2 * int(WINDOW_S) + 2)
        ]
        assert (found[9], found[-1]) == (0.0, 0.0)
        assert max(found) == (stood_s if stood_s < MOST_S else 0.0)


def test_ingresses_have_clocks_of_their_own_and_few_are_remembered() -> None:
    lateness = Lateness()
    for number in range(3 * REMEMBERED):
        assert lateness.late_s(f"in-{number}", 1000.0 * number, 0.0) == 0.0
    assert len(lateness._windows) == REMEMBERED


def test_clocks_that_drifted_apart_since_the_last_request_make_none_late() -> None:
    lateness = Lateness()
    lateness.late_s("in-one", 0.0, 0.0)
    day_s, drift_s = 86_400.0, 4.0
    for now in (day_s, day_s + 1):
        assert lateness.late_s("in-one", now - drift_s, now) == 0.0
