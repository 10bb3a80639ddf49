"""Which instance is slow beside the others of its deployment, and when it still gets a request.

Times are compared as logarithms: service times spread by factors, and a factor is what makes an
instance slow. A slow one is left idle while the others would be done sooner, and probed, so that
it is found again when it has recovered.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, log, sqrt
from statistics import median_low
from typing import Final

WEIGHT: Final = 0.15  # of the newest sample in an instance's mean
PROBE_WEIGHT: Final = 0.5  # the same while it is slow: few samples come, and they are news
MIN_SAMPLES: Final = 8  # before an instance is judged, or others by it
JUDGE_EACH: Final = 4  # samples of an instance to one look at the others
SLOW_FACTOR: Final = 3.0  # times slower than the median of the others
WELL_FACTOR: Final = 2.0  # at most so much slower, and it counts as the others again
SLOW_BY_S: Final = 0.005  # a smaller difference is not worth an idle instance
DEVIATIONS: Final = 4.0  # of a mean's own error, so that a heavy tail is no verdict
MOST_ABOVE: Final = 2.5  # of one sample over the mean (12 times as long): one long run is no trend
PROBE_EACH: Final = 400  # requests of the deployment to one probe
SHORTEST_S: Final = 1e-6
_ERROR: Final = sqrt(WEIGHT / (2 - WEIGHT))  # of a mean with this weight, in deviations of samples


class LatencyEstimate:
    """How fast one instance has been, as one ingress saw it."""

    __slots__ = ("mean", "probe_at", "samples", "slow", "variance")

    def __init__(self) -> None:
        self.mean = 0.0
        """Of the logarithm of seconds."""
        self.variance = 0.0
        self.samples = 0
        self.slow = False
        self.probe_at = 0
        """Number of the request from which on it may get one while slow."""

    @property
    def seconds(self) -> float:
        return exp(self.mean)

    def add(self, took_s: float) -> None:
        """Take one request's time, from its sending to its answer."""
        value = log(max(took_s, SHORTEST_S))
        self.samples += 1
        weight = PROBE_WEIGHT if self.slow else max(WEIGHT, 1 / self.samples)
        off = value - self.mean
        if self.samples > 1:
            off = min(off, MOST_ABOVE)
        self.mean += weight * off
        self.variance += min(weight, WEIGHT) * (off * off - self.variance)


def is_slow(one: LatencyEstimate, others: Iterable[LatencyEstimate]) -> bool:
    """Whether the instance is slow now: by the median of the others that were seen enough.

    Times spread as those of the others do: its own deviation grows as it becomes slow, and would
    put the verdict off.
    """
    seen = [other for other in others if other.samples >= MIN_SAMPLES]
    if one.samples < MIN_SAMPLES or not seen:
        return False
    usual = median_low([other.mean for other in seen])
    factor = WELL_FACTOR if one.slow else SLOW_FACTOR
    margin = log(factor)
    if not one.slow:
        spread = sqrt(median_low([other.variance for other in seen]))
        margin = max(margin, DEVIATIONS * _ERROR * spread)
    return one.mean - usual > margin and exp(one.mean) - exp(usual) > SLOW_BY_S


def takes(one: LatencyEstimate, *, number: int, waiting: int, slots: int, usual_s: float) -> bool:
    """Whether a slow instance gets the request: as a probe, or since it would be done there sooner.

    `number` counts the requests bound so far; `slots` and `usual_s` are of the others, which are
    all taken when `waiting` requests wait for them.
    """
    if slots == 0 or number >= one.probe_at:
        return True
    return (waiting + 1) * usual_s / slots > one.seconds
