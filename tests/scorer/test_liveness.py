"""The liveness probe keeps to its initial delay, period and thresholds."""

from __future__ import annotations

from headrace_bus.wire.launch import Probe
from headrace_scorer.liveness import Watch

PROBE = Probe(initial_delay_s=5, period_s=2, timeout_s=1, success_threshold=2, failure_threshold=3)


def pings(watch: Watch, probe: Probe, pongs: dict[int, bool], until: int) -> list[int]:
    """Seconds at which a ping was due; the n-th is answered at once where `pongs` says so."""
    at, pong_at = [], 0.0
    for now in range(until):
        if watch.due(probe, pong_at=pong_at, now=now):
            at.append(now)
            pong_at = now if pongs.get(len(at), False) else pong_at
    return at


def test_the_first_ping_waits_for_the_initial_delay_and_the_next_for_the_period() -> None:
    assert pings(Watch(0.0), PROBE, {}, 12) == [5, 7, 9, 11]


def test_failure_threshold_misses_in_a_row_end_it_and_one_less_does_not() -> None:
    watch = Watch(0.0)
    pings(watch, PROBE, {}, 11)  # 5, 7, 9: two judged
    assert not watch.failed(PROBE)
    watch = Watch(0.0)
    pings(watch, PROBE, {}, 12)
    assert watch.failed(PROBE)


def test_misses_are_forgotten_after_success_threshold_answers_in_a_row() -> None:
    once, twice = Watch(0.0), Watch(0.0)
    pings(once, PROBE, {3: True}, 14)  # miss, miss, met, then one miss more
    pings(twice, PROBE, {3: True, 4: True}, 16)
    assert once.failed(PROBE)
    assert not twice.failed(PROBE)
