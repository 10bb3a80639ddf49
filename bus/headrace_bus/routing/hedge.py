"""When a request gets a second copy: after the running p95, within a budget, pure (design 3.1)."""

from __future__ import annotations

from collections import deque
from math import exp, log
from typing import Final

QUANTILE: Final = 0.95
MIN_SAMPLES: Final = 50  # answers before anything is hedged
WINDOW_S: Final = 10.0
EXTRA_SHARE: Final = 0.05  # copies of all executions in any WINDOW_S
MAX_UTILISATION: Final = 0.7  # of slots; above it a copy costs others their turn
SAMPLES: Final = 2000  # answers after which the older half of the times counts half
SHORTEST_S: Final = 1e-5
_STEP: Final = log(1.05)  # a bucket is 5 % wide
_BUCKETS: Final = 400


class RunningQuantile:
    """The p95 of answer times, within 5 %, where old times fade."""

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
    """At most EXTRA_SHARE of the executions in any WINDOW_S are copies."""

    def __init__(self) -> None:
        self._started: deque[float] = deque()
        self._extra: deque[float] = deque()

    def executed(self, now: float) -> None:
        """A request was sent, or a copy."""
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

    def copies(self, *, now: float, used: int, slots: int) -> bool:
        """Whether a request that has run past the p95 gets a copy now."""
        if slots == 0 or used > MAX_UTILISATION * slots:
            return False
        return self.budget.take(now)
