"""A round of `bench.start` on a real platform."""

from __future__ import annotations

import pytest

from bench import start


@pytest.mark.slow
def test_a_round_ends_with_the_instances_it_asked_for() -> None:
    figures = start.one_round()

    assert figures["instances the ingress sees"] == start.WANTED
    assert min(figures.values()) > 0
