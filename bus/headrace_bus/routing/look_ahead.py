"""How many requests beyond its slots an instance takes, so that a fast model never starves."""

from __future__ import annotations

from typing import Final

LOOK_AHEAD_S: Final = 0.001  # seconds a request may wait at an instance; about one round trip
MAX_FACTOR: Final = 2  # slots never exceed this many times max_concurrent


def base_slots(workers: int, max_concurrent: int, *, is_async: bool = False) -> int:
    """Requests that can start at once: one a worker, or max_concurrent for an async `run`."""
    return max_concurrent if is_async else min(workers, max_concurrent)


def look_ahead(service_time_s: float | None, workers: int, max_concurrent: int) -> int:
    """Return how many more than `min(workers, max_concurrent)` requests may be at the instance.

    As many as its workers finish in LOOK_AHEAD_S by the measured service time (design 3.1); none
    while that is unknown (None). For an async `run` pass max_concurrent as `workers`.
    """
    if service_time_s is None:
        return 0
    room = MAX_FACTOR * max_concurrent - min(workers, max_concurrent)
    if service_time_s * room <= LOOK_AHEAD_S * workers:
        return room
    return int(LOOK_AHEAD_S * workers / service_time_s)
