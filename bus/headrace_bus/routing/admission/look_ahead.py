"""How many requests beyond its slots an instance takes, so that a fast model never starves."""

from __future__ import annotations

from typing import Final

LEAST_S: Final = 0.001  # seconds a request may wait at an instance; about one round trip
MOST_S: Final = 0.008  # the same while workers run dry though more requests wait elsewhere
MAX_FACTOR: Final = 2  # slots never exceed this many times max_concurrent
JUDGED_EACH: Final = 64  # arrivals
STARVED: Final = 2  # of those that found a worker idle while more waited


def base_slots(workers: int, max_concurrent: int, *, is_async: bool = False) -> int:
    """Requests that can start at once: one a worker, or max_concurrent for an async `run`."""
    return max_concurrent if is_async else min(workers, max_concurrent)


def look_ahead(
    service_time_s: float | None, workers: int, max_concurrent: int, ahead_s: float = LEAST_S
) -> int:
    """Return how many more than `min(workers, max_concurrent)` requests may be at the instance.

    As many as its workers finish in `ahead_s` by the measured service time; none
    while that is unknown (None). For an async `run` pass max_concurrent as `workers`.
    """
    if service_time_s is None:
        return 0
    room = MAX_FACTOR * max_concurrent - min(workers, max_concurrent)
    if service_time_s * room <= ahead_s * workers:
        return room
    return int(ahead_s * workers / service_time_s)


class Ahead:
    """How many seconds of work may wait at an instance: `seconds`.

    The law has two halves: no slot idle while a request waits for it, and no request waiting here
    while another instance has room. A short look-ahead serves the second. It is doubled only when
    the first is seen broken, by requests that find a worker idle and say that more wait where they
    come from; then no instance has room. It is halved when none says so any more.
    """

    __slots__ = ("_more", "_seen", "_starved", "seconds")

    def __init__(self) -> None:
        self.seconds = LEAST_S
        self._seen = self._more = self._starved = 0

    def arrived(self, *, more: bool, idle: bool) -> bool:
        """Count a request; True when `seconds` changed."""
        self._seen += 1
        if more:
            self._more += 1
            self._starved += idle
        if self._seen < JUDGED_EACH:
            return False
        before = self.seconds
        if self._starved >= STARVED:
            self.seconds = min(MOST_S, 2 * before)
        elif not self._more:
            self.seconds = max(LEAST_S, before / 2)
        self._seen = self._more = self._starved = 0
        return self.seconds != before
