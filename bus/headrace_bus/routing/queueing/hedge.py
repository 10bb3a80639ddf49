"""When a request gets a second copy: after the running p95, within a budget, pure.

Each ingress has a budget of its own. Each copy of one is paid for by twenty of its requests in the
WINDOW_S before it, so over all ingresses together the copies of any time are at most EXTRA_SHARE
of the requests of that time and of the WINDOW_S before it: sums of what holds for each.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from math import exp, log
from typing import Final

from headrace_bus.routing.queueing.dispatch import Dispatch
from headrace_bus.routing.queueing.queue_entry import Instance

QUANTILE: Final = 0.95
MIN_SAMPLES: Final = 50  # answers before anything is hedged
WINDOW_S: Final = 10.0
EXTRA_SHARE: Final = 0.05  # copies to a request, over the WINDOW_S before each copy
MAX_UTILISATION: Final = 0.7  # of slots; above it a copy costs others their turn
SAMPLES: Final = 2000  # answers after which the older half of the times counts half
SHORTEST_S: Final = 1e-5
_STEP: Final = log(1.05)  # a bucket is 5 % wide
_BUCKETS: Final = 400


class Declined(StrEnum):
    """Why a request that takes long gets no copy."""

    WAITING = "waiting"  # others have no slot at all
    NO_ROOM = "no_room"  # no other instance has a free one
    LOAD = "load"  # slots in use above MAX_UTILISATION
    BUDGET = "budget"


class RunningQuantile:
    """The p95 of the times of requests, within 5 %, where old times fade.

    A request that was overtaken by its copy counts with the time it had then: that is past the p95,
    and how far past makes no difference to it. Without those the p95 would sink with each hedge.
    """

    def __init__(self) -> None:
        self._counts = [0.0] * _BUCKETS
        self.samples = 0
        self._weight = 0.0
        self._value_s: float | None = None

    def add(self, took_s: float) -> None:
        bucket = int(log(max(took_s, SHORTEST_S) / SHORTEST_S) / _STEP)
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self.samples += 1
        self._weight += 1
        if self._weight >= SAMPLES:
            self._counts = [count / 2 for count in self._counts]
            self._weight /= 2
        if self.samples % MIN_SAMPLES == 0:
            self._value_s = self._find()

    @property
    def value_s(self) -> float | None:
        """Seconds, the upper end of its bucket; None before MIN_SAMPLES."""
        return self._value_s

    def _find(self) -> float:
        left = (1 - QUANTILE) * self._weight
        for bucket in range(_BUCKETS - 1, -1, -1):
            left -= self._counts[bucket]
            if left < 0:
                return SHORTEST_S * exp((bucket + 1) * _STEP)
        return SHORTEST_S


class Budget:
    """At each copy, the copies of the last WINDOW_S are at most EXTRA_SHARE of its requests."""

    def __init__(self) -> None:
        self._started: deque[float] = deque()
        self._extra: deque[float] = deque()

    def executed(self, now: float) -> None:
        """A request was sent; a copy of one is none."""
        self._started.append(now)
        self._forget(now)

    def take(self, now: float) -> bool:
        """Take the right to one copy, if there is one."""
        self._forget(now)
        if len(self._extra) + 1 > EXTRA_SHARE * len(self._started):
            return False
        self._extra.append(now)
        return True

    def _forget(self, now: float) -> None:
        for times in (self._started, self._extra):
            while times and times[0] <= now - WINDOW_S:
                times.popleft()


class Hedge:
    """What one deployment's requests have taken, and what copies it may have."""

    def __init__(self) -> None:
        self.times = RunningQuantile()
        self.budget = Budget()

    def choose(self, dispatch: Dispatch, than: Instance, now: float) -> Instance | Declined:
        """Where a request that has run past the p95 at `than` gets a copy now."""
        if dispatch.queue:
            return Declined.WAITING
        other = dispatch.another(than)
        if other is None:
            return Declined.NO_ROOM
        usable = [one for one in dispatch.instances.values() if one.usable]
        used = sum(len(one.open) + one.others for one in usable)
        if used > MAX_UTILISATION * sum(one.slots for one in usable):
            return Declined.LOAD
        return other if self.budget.take(now) else Declined.BUDGET
