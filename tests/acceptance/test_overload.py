"""Open loop at twice the capacity: the surplus is refused, the rest is served as ever."""

from __future__ import annotations

import sys

import pytest

from bench import overload

# Judges rates, so it wants a machine of its own.
pytestmark = [pytest.mark.timeout(240), pytest.mark.slow, pytest.mark.full]

SECONDS = 8.0


@pytest.mark.parametrize("mode", sorted(overload.MODES))
def test_goodput_holds_at_twice_the_capacity(mode: str) -> None:
    """Beside the best closed loop of the same run: also where each client gives up by itself."""
    seen = overload.measure(mode, SECONDS)
    sys.stdout.write(f"{seen}")

    assert seen["refused_429"] + seen["other_errors"] > 0, "it was no overload"
    assert seen["share_of_peak"] >= 0.9
    assert seen["expired_share"] <= 0.01
    for role, grown_mb in seen["growth_mb"].items():
        assert grown_mb <= 0.2 * seen["rss_mb"][role], role


def test_callers_of_two_and_a_half_runs_are_served_behind_two_ingresses() -> None:
    """No overload: half of them were not, as places were held that are of no use to them."""
    seen = overload.short(SECONDS)
    sys.stdout.write(f"{seen}")

    assert seen["in_time_share"] >= 0.75
