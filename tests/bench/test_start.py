"""A round of `bench.start` on a real platform."""

from __future__ import annotations

import pytest

from bench import start, start_steps


@pytest.mark.slow
def test_a_round_ends_with_the_instances_it_asked_for() -> None:
    figures = start.one_round()

    assert figures["instances the ingress sees"] == start.WANTED
    assert min(figures.values()) > 0


@pytest.mark.slow
def test_each_step_of_a_first_deployment_is_found_in_the_logs() -> None:
    steps = start_steps.one_round()

    assert min(steps.values()) > 0
    assert steps["a right answer"] == max(steps.values())
