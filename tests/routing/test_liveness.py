"""Nobody is judged by an ingress that cannot hear; found by a cut of its connection under load."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.routing.queueing.liveness import Judge, Verdict
from headrace_bus.wire.heartbeat import HEARTBEAT_INTERVAL_S
from headrace_bus.wire.liveness_bounds import AMNESTY_S, DEAF_S, INSTANCE_LIVE_S

MOMENTS = st.floats(0.0, HEARTBEAT_INTERVAL_S)


def test_a_silent_instance_is_dead_while_the_ingress_hears_itself() -> None:
    judge = Judge()
    judge.heard_self(10.0)
    assert judge.silent(10.0 - INSTANCE_LIVE_S, 10.1) is Verdict.DEAD


@given(own=MOMENTS, instance=MOMENTS, later=st.floats(0.0, 100.0))
def test_a_cut_of_any_length_kills_no_instance(own: float, instance: float, later: float) -> None:
    """Whoever spoke last before the cut: the ingress finds itself deaf before anybody frozen."""
    judge = Judge()
    cut = 10.0
    judge.heard_self(cut - own)
    assert judge.silent(cut - instance, cut + later) is Verdict.ALIVE


def test_instances_have_a_moment_after_it_hears_again() -> None:
    judge = Judge()
    judge.heard_self(10.0)
    judge.heard_self(10.0 + DEAF_S + 3.0)
    again = 10.0 + DEAF_S + 3.0
    assert judge.silent(10.0, again + AMNESTY_S / 2) is Verdict.ALIVE
    for beat in range(1, 5):
        judge.heard_self(again + beat * HEARTBEAT_INTERVAL_S)
    assert judge.silent(10.0, again + AMNESTY_S) is Verdict.DEAD
