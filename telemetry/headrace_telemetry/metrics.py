"""Counters, gauges and mergeable histograms, bumped in place, rendered as Prometheus text.

    registry = Registry()
    requests = registry.counter("hr_requests_total", "Requests answered.", ("endpoint", "code"))
    ok = requests.labels("houses", "200")     # once, when the endpoint appears
    ok.inc()                                  # per request: one integer addition

One event loop owns a registry; nothing here takes a lock.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Generic, Protocol, TypeVar

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Of `Registry.render`; Prometheus exposition format, text."""

LATENCY_BUCKETS_S: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 300.0),
)
"""Upper bounds in seconds, from an echo to the longest request_timeout_ms."""

MAX_CHILDREN: Final = 10_000
"""Label combinations a family keeps; further ones share one child labelled `other`."""

OVERFLOW: Final = "other"
_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


class Counter:
    """A count that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, n: float = 1) -> None:
        """Add `n`, which must not be negative (unchecked: this is the hot path)."""
        self.value += n

    def samples(self, name: str, labels: str) -> Iterator[str]:
        yield _sample(name, labels, self.value)


class Gauge:
    """A value that goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def set(self, value: float) -> None:
        self.value = value

    def inc(self, n: float = 1) -> None:
        self.value += n

    def dec(self, n: float = 1) -> None:
        self.value -= n

    def samples(self, name: str, labels: str) -> Iterator[str]:
        yield _sample(name, labels, self.value)


class Histogram:
    """Counts of observations by fixed upper bounds; two with the same bounds can be added.

    `counts[i]` holds what is <= `bounds[i]` and above the bound before it; the last entry holds
    what is above every bound.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = LATENCY_BUCKETS_S) -> None:
        if not bounds or list(bounds) != sorted(set(bounds)) or not math.isfinite(bounds[-1]):
            raise ValueError(f"histogram bounds {bounds!r} must be finite, unique and ascending")
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation, in the unit of the bounds (seconds for latencies)."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """Observations so far."""
        return sum(self.counts)

    def merge(self, other: Histogram) -> None:
        """Add the observations of `other`. ValueError when the bounds differ."""
        if other.bounds != self.bounds:
            raise ValueError(f"cannot merge bounds {other.bounds!r} into {self.bounds!r}")
        self.counts = [
            mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)
        ]
        self.sum += other.sum

    def quantile(self, q: float) -> float:
        """Estimate of the q-quantile (0..1), linear inside a bucket; NaN without observations.

        Above the last bound nothing is known, so the answer is that bound.
        """
        total = self.count
        if not total:
            return math.nan
        rank, below, lower = q * total, 0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and below + count >= rank:
                return lower + (bound - lower) * max(0.0, rank - below) / count
            below, lower = below + count, bound
        return self.bounds[-1]

    def samples(self, name: str, labels: str) -> Iterator[str]:
        seen = 0
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            seen += count
            yield _sample(f"{name}_bucket", _join(labels, f'le="{_number(bound)}"'), seen)
        yield _sample(f"{name}_sum", labels, self.sum)
        yield _sample(f"{name}_count", labels, seen)


class Child(Protocol):
    """What a family keeps per label combination."""

    def samples(self, name: str, labels: str) -> Iterator[str]: ...


ChildT = TypeVar("ChildT", bound=Child)


class Family(Generic[ChildT]):
    """One metric name and its children by label values. Made by a `Registry`."""

    def __init__(
        self, name: str, help: str, kind: str, labels: Sequence[str], make: Callable[[], ChildT]
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"metric name {name!r} must match {_NAME.pattern}")
        for label in labels:
            if not _LABEL.fullmatch(label) or label == "le":
                raise ValueError(f"label {label!r} of metric {name!r} must match {_LABEL.pattern}")
        self.name, self.help, self.kind = name, help, kind
        self.label_names = tuple(labels)
        self._make = make
        self._children: dict[tuple[str, ...], ChildT] = {}
        if not labels:
            self.labels()  # a metric without labels is exported from its first moment

    def labels(self, *values: str) -> ChildT:
        """The child for these label values, in the order of the names; keep it, bump it."""
        child = self._children.get(values)
        return child if child is not None else self._add(values)

    def remove(self, *values: str) -> None:
        """Forget a child whose endpoint or deployment is gone; unknown values are no error."""
        self._children.pop(values, None)

    def children(self) -> Iterator[tuple[tuple[str, ...], ChildT]]:
        """Label values and child, in order of first use."""
        yield from list(self._children.items())

    def render(self) -> Iterator[str]:
        if not self._children:
            return
        yield f"# HELP {self.name} {_escape_help(self.help)}"
        yield f"# TYPE {self.name} {self.kind}"
        for values, child in self.children():
            pairs = zip(self.label_names, values, strict=True)
            labels = ",".join(f'{name}="{_escape(value)}"' for name, value in pairs)
            yield from child.samples(self.name, labels)

    def _add(self, values: tuple[str, ...]) -> ChildT:
        if len(values) != len(self.label_names):
            raise ValueError(f"{self.name} takes labels {self.label_names!r}, not {values!r}")
        if len(self._children) >= MAX_CHILDREN:
            values = (OVERFLOW,) * len(values)
        return self._children.setdefault(values, self._make())


class Registry:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._families: dict[str, Family[Counter] | Family[Gauge] | Family[Histogram]] = {}
        self._refreshers: list[Callable[[], None]] = []

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Family[Counter]:
        """A new family of counters; ValueError when the name is taken."""
        return self._register(Family(name, help, "counter", labels, Counter))

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Family[Gauge]:
        """A new family of gauges; ValueError when the name is taken."""
        return self._register(Family(name, help, "gauge", labels, Gauge))

    def histogram(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        bounds: Sequence[float] = LATENCY_BUCKETS_S,
    ) -> Family[Histogram]:
        """A new family of histograms with these upper bounds; ValueError when the name is taken."""
        make = Histogram(bounds)  # checks the bounds now, not at the first request
        return self._register(
            Family(name, help, "histogram", labels, lambda: Histogram(make.bounds))
        )

    def before_render(self, refresh: Callable[[], None]) -> None:
        """Call `refresh` ahead of each `render`, to set gauges from what the process holds."""
        self._refreshers.append(refresh)

    def render(self) -> bytes:
        """All families as Prometheus text; serve it with `CONTENT_TYPE`."""
        for refresh in self._refreshers:
            refresh()
        lines = [line for family in self._families.values() for line in family.render()]
        return ("\n".join(lines) + "\n").encode() if lines else b""

    def _register(self, family: FamilyT) -> FamilyT:
        if family.name in self._families:
            raise ValueError(f"metric {family.name!r} is registered already")
        self._families[family.name] = family
        return family


FamilyT = TypeVar("FamilyT", Family[Counter], Family[Gauge], Family[Histogram])


def _sample(name: str, labels: str, value: float) -> str:
    return f"{name}{{{labels}}} {_number(value)}" if labels else f"{name} {_number(value)}"


def _join(labels: str, more: str) -> str:
    return f"{labels},{more}" if labels else more


def _number(value: float) -> str:
    if value == math.inf:
        return "+Inf"
    if value == -math.inf:
        return "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
