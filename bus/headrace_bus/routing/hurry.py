"""Whose answer can still come in time, where callers wait for less than the deployment allows.

In an overload the head of the queue is always about to expire: to start it is to work for nobody,
while those behind it could still be served (serving_semantics.md 4.6). So who has less left than a
run takes is passed over, and of the others goes first who has time enough as runs spread. Where
none has, the one with most time left goes: what a long queue begins with little margin is lost by
each run that is a little longer. Pure.
"""

from __future__ import annotations

from math import exp, sqrt
from typing import Final

from headrace_bus.routing.line import Line
from headrace_bus.routing.slow import MIN_SAMPLES, Pace
from headrace_bus.routing.ticket import Ticket

DEVIATIONS: Final = 2.0  # above the median, in logarithms: nearly every run is done by then
MOST_ABOVE: Final = 6.0  # times the median: beyond it the oldest would wait for ever
TURN_S: Final = 0.003  # seconds on the way there and back, with a full machine between


class Hurry:
    """The pace of one deployment, measured once a request waits whose caller is in a hurry."""

    __slots__ = ("_line", "_pace")

    def __init__(self, line: Line) -> None:
        self._line = line
        self._pace: Pace | None = None

    def waits(self, ticket: Ticket) -> None:
        """The request has joined the line."""
        if self._pace is None and ticket.hurried:
            self._pace = Pace()
            self._line.know_ends()

    def measured(self, took_s: float) -> None:
        """A request came back `took_s` after it was sent."""
        if self._pace is not None:
            self._pace.add(took_s)

    def too_late(self, ticket: Ticket, now: float, runs: int = 1) -> bool:
        """Whether its caller will more likely than not be gone after so many runs."""
        return ticket.hurried and ticket.deadline - now < runs * self._usual_s()

    def first(self, now: float, runs: int) -> Ticket | None:
        """Which of those that wait goes next, behind so many runs with its own; None: nobody."""
        line = self._line
        if self._pace is None:
            return line[0] if line else None
        safe = line.first_until(now + runs * self._enough_s())
        if safe is not None:
            return safe
        last = line.last_to_end()
        return None if last is None or self.too_late(last, now, runs) else last

    def _usual_s(self) -> float:
        """Median seconds from sending to answer; 0 while too few were seen."""
        pace = self._pace
        return 0.0 if pace is None or pace.samples < MIN_SAMPLES else pace.seconds

    def _enough_s(self) -> float:
        """By then nearly every run is done and answered."""
        pace = self._pace
        spread = 0.0 if pace is None else sqrt(pace.variance)
        return TURN_S + self._usual_s() * min(exp(DEVIATIONS * spread), MOST_ABOVE)
