"""When it pays to wait for an instance that is not there yet."""

from __future__ import annotations

import pytest

from headrace_bus.routing.queueing.cold_start import PATIENCE_S, ColdStartGrace
from headrace_bus.wire.heartbeat import InstanceState

LEAVING = (InstanceState.DRAINING, InstanceState.FAILED)
COMING = tuple(state for state in InstanceState if state not in LEAVING)


@pytest.mark.parametrize("state", COMING)
def test_an_instance_that_spoke_of_late_is_on_its_way(state: InstanceState) -> None:
    cold_start = ColdStartGrace()
    cold_start.heard(state, 5.0)

    assert cold_start.starting(5.0 + PATIENCE_S - 0.1)
    assert not cold_start.starting(5.0 + PATIENCE_S)


@pytest.mark.parametrize("state", LEAVING)
def test_one_that_leaves_is_no_sign(state: InstanceState) -> None:
    cold_start = ColdStartGrace()
    cold_start.heard(state, 5.0)

    assert not cold_start.starting(5.0)


def test_without_a_sign_the_first_that_is_missed_begins_the_wait() -> None:
    cold_start = ColdStartGrace()
    assert not cold_start.starting(3.0)
    cold_start.missed(3.0)
    cold_start.missed(3.0 + PATIENCE_S)

    assert cold_start.starting(3.0)
    assert not cold_start.starting(3.0 + PATIENCE_S)


def test_nobody_waits_for_what_control_does_not_start() -> None:
    cold_start = ColdStartGrace()
    cold_start.heard(InstanceState.LOADING, 0.0)
    cold_start.expected = False

    assert not cold_start.starting(0.0)
