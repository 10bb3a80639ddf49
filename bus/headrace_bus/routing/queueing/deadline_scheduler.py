"""Whose answer can still come in time, where callers wait for less than the deployment allows.

In an overload the head of the queue is always about to expire: to start it is to work for nobody,
while those behind it could still be served . So who has less left than a
run takes is passed over, and of the others goes first who has time enough as runs spread. Where
none has, the one with most time left goes: what a long queue begins with little margin is lost by
each run that is a little longer. Pure.
"""

from __future__ import annotations

from math import exp, sqrt
from typing import Final

from headrace_bus.routing.queueing.outliers import MIN_SAMPLES, LatencyEstimate
from headrace_bus.routing.queueing.queue_entry import QueueEntry
from headrace_bus.routing.queueing.wait_queue import WaitQueue

DEVIATIONS: Final = 2.0  # above the median, in logarithms: nearly every run is done by then
MOST_ABOVE: Final = 6.0  # times the median: beyond it the oldest would wait for ever
TURN_S: Final = 0.003  # seconds on the way there and back, with a full machine between


class DeadlineScheduler:
    """The service time of one deployment, measured once a waiting caller has little time left."""

    __slots__ = ("_latency", "_line")

    def __init__(self, line: WaitQueue) -> None:
        self._line = line
        self._latency: LatencyEstimate | None = None

    def waits(self, entry: QueueEntry) -> None:
        """The request has joined the line."""
        if self._latency is None and entry.hurried:
            self._latency = LatencyEstimate()
            self._line.know_ends()

    def measured(self, took_s: float) -> None:
        """A request came back `took_s` after it was sent."""
        if self._latency is not None:
            self._latency.add(took_s)

    def too_late(self, entry: QueueEntry, now: float, runs: int = 1) -> bool:
        """Whether its caller will more likely than not be gone after so many runs."""
        return entry.hurried and entry.deadline - now < runs * self._usual_s()

    def first(self, now: float, runs: int) -> QueueEntry | None:
        """Which of those that wait goes next, behind so many runs with its own; None: nobody."""
        line = self._line
        if self._latency is None:
            return line[0] if line else None
        safe = line.first_until(now + runs * self._enough_s())
        if safe is not None:
            return safe
        last = line.last_to_end()
        return None if last is None or self.too_late(last, now, runs) else last

    def _usual_s(self) -> float:
        """Median seconds from sending to answer; 0 while too few were seen."""
        latency = self._latency
        return 0.0 if latency is None or latency.samples < MIN_SAMPLES else latency.seconds

    def _enough_s(self) -> float:
        """By then nearly every run is done and answered."""
        latency = self._latency
        spread = 0.0 if latency is None else sqrt(latency.variance)
        return TURN_S + self._usual_s() * min(exp(DEVIATIONS * spread), MOST_ABOVE)
