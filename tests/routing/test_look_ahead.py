"""How far ahead an instance takes requests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.routing.admission.look_ahead import (
    JUDGED_EACH,
    LEAST_S,
    MOST_S,
    Ahead,
    base_slots,
    look_ahead,
)


@given(
    service_s=st.floats(1e-7, 10),
    workers=st.integers(1, 64),
    max_concurrent=st.integers(1, 256),
)
def test_look_ahead_is_what_finishes_in_a_millisecond(
    service_s: float, workers: int, max_concurrent: int
) -> None:
    extra = look_ahead(service_s, workers, max_concurrent)

    assert extra * service_s <= 0.001 * workers * (1 + 1e-9)
    assert base_slots(workers, max_concurrent) + extra <= 2 * max_concurrent
    assert look_ahead(0.02, 1, 8) == 0


def judged(ahead: Ahead, *, more: bool, idle: bool, rounds: int = 1) -> float:
    for _ in range(rounds * JUDGED_EACH):
        ahead.arrived(more=more, idle=idle)
    return ahead.seconds


def test_workers_that_run_dry_while_more_wait_get_more_ahead_up_to_a_bound() -> None:
    ahead = Ahead()

    assert judged(ahead, more=True, idle=True) == 2 * LEAST_S
    assert judged(ahead, more=True, idle=True, rounds=9) == MOST_S


def test_an_idle_worker_where_nobody_waits_changes_nothing() -> None:
    ahead = Ahead()

    assert judged(ahead, more=False, idle=True, rounds=3) == LEAST_S


def test_what_was_won_stays_while_requests_wait_and_goes_when_none_does() -> None:
    ahead = Ahead()
    judged(ahead, more=True, idle=True, rounds=9)

    assert judged(ahead, more=True, idle=False, rounds=3) == MOST_S
    assert judged(ahead, more=False, idle=True) == MOST_S / 2
    assert judged(ahead, more=False, idle=False, rounds=9) == LEAST_S


def test_one_stray_idle_worker_is_not_starvation() -> None:
    ahead = Ahead()
    ahead.arrived(more=True, idle=True)
    for _ in range(JUDGED_EACH - 1):
        ahead.arrived(more=True, idle=False)

    assert ahead.seconds == LEAST_S
