"""Metrics are cheap to bump, exact to merge and valid as Prometheus text."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_telemetry import metrics
from headrace_telemetry.metrics import Histogram, Registry

BOUNDS = (0.1, 1.0, 10.0)


def render(registry: Registry) -> list[str]:
    return registry.render().decode().splitlines()


def test_a_counter_without_labels_is_exported_before_its_first_bump() -> None:
    registry = Registry()
    restarts = registry.counter("hr_restarts_total", "Restarts.").labels()

    assert render(registry) == [
        "# HELP hr_restarts_total Restarts.",
        "# TYPE hr_restarts_total counter",
        "hr_restarts_total 0",
    ]
    restarts.inc()
    restarts.inc(2)
    assert render(registry)[-1] == "hr_restarts_total 3"


def test_the_same_label_values_give_the_same_child() -> None:
    family = Registry().counter("hr_requests_total", "Requests.", ("endpoint", "code"))

    assert family.labels("houses", "200") is family.labels("houses", "200")
    assert family.labels("houses", "200") is not family.labels("houses", "408")


def test_label_values_and_help_are_escaped() -> None:
    registry = Registry()
    family = registry.gauge("hr_depth", "Line one\nline two \\ end.", ("name",))
    family.labels('a"b\\c\nd').set(1.5)

    assert render(registry) == [
        r"# HELP hr_depth Line one\nline two \\ end.",
        "# TYPE hr_depth gauge",
        r'hr_depth{name="a\"b\\c\nd"} 1.5',
    ]


def test_a_histogram_is_exported_with_cumulative_buckets() -> None:
    registry = Registry()
    child = registry.histogram("hr_run_seconds", "Run time.", ("dep",), BOUNDS).labels("blue")
    for value in (0.1, 0.5, 99.0):
        child.observe(value)

    assert render(registry)[2:] == [
        'hr_run_seconds_bucket{dep="blue",le="0.1"} 1',
        'hr_run_seconds_bucket{dep="blue",le="1"} 2',
        'hr_run_seconds_bucket{dep="blue",le="10"} 2',
        'hr_run_seconds_bucket{dep="blue",le="+Inf"} 3',
        'hr_run_seconds_sum{dep="blue"} 99.6',
        'hr_run_seconds_count{dep="blue"} 3',
    ]


def test_a_removed_child_is_no_longer_exported() -> None:
    registry = Registry()
    family = registry.gauge("hr_waiting", "Waiting.", ("endpoint",))
    family.labels("gone").set(1)
    family.remove("gone")
    family.remove("never-there")

    assert render(registry) == []


def test_gauges_are_refreshed_before_each_render() -> None:
    registry = Registry()
    waiting = ["one", "two"]
    depth = registry.gauge("hr_waiting", "Waiting.").labels()
    registry.before_render(lambda: depth.set(len(waiting)))

    assert render(registry)[-1] == "hr_waiting 2"
    waiting.pop()
    assert render(registry)[-1] == "hr_waiting 1"


def test_label_combinations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_CHILDREN", 2)
    registry = Registry()
    family = registry.counter("hr_requests_total", "Requests.", ("path",))
    for path in ("/a", "/b", "/c", "/d"):
        family.labels(path).inc()

    assert render(registry)[2:] == [
        'hr_requests_total{path="/a"} 1',
        'hr_requests_total{path="/b"} 1',
        'hr_requests_total{path="other"} 2',
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (0.25, "0.25"), (3.0, "3")],
)
def test_numbers_are_written_as_the_format_wants_them(value: float, text: str) -> None:
    registry = Registry()
    registry.gauge("hr_value", "Value.").labels().set(value)

    assert render(registry)[-1] == f"hr_value {text}"


def test_misuse_is_named() -> None:
    registry = Registry()
    family = registry.counter("hr_requests_total", "Requests.", ("endpoint",))

    with pytest.raises(ValueError, match="registered already"):
        registry.gauge("hr_requests_total", "Again.")
    with pytest.raises(ValueError, match="takes labels"):
        family.labels("a", "b")
    with pytest.raises(ValueError, match="metric name '9lives'"):
        registry.counter("9lives", "Starts with a digit.")
    with pytest.raises(ValueError, match="label 'le'"):
        registry.counter("hr_x", "Reserved label.", ("le",))
    with pytest.raises(ValueError, match="ascending"):
        registry.histogram("hr_y", "Unsorted.", bounds=(2.0, 1.0))


@given(st.lists(st.floats(0, 20), max_size=50), st.lists(st.floats(0, 20), max_size=50))
def test_merging_two_histograms_equals_observing_everything_in_one(
    left: list[float], right: list[float]
) -> None:
    one, two, both = Histogram(BOUNDS), Histogram(BOUNDS), Histogram(BOUNDS)
    for histogram, values in ((one, left), (two, right), (both, left + right)):
        for value in values:
            histogram.observe(value)
    one.merge(two)

    assert one.counts == both.counts
    assert one.count == len(left) + len(right)
    assert one.sum == pytest.approx(both.sum)


def test_histograms_with_other_bounds_do_not_merge() -> None:
    with pytest.raises(ValueError, match="cannot merge"):
        Histogram(BOUNDS).merge(Histogram((1.0, 2.0)))


@given(st.lists(st.floats(0, 9.9), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], q: float) -> None:
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.observe(value)
    true = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    upper = next(bound for bound in BOUNDS if true <= bound)
    lower = max((bound for bound in (0.0, *BOUNDS) if bound < true), default=0.0)

    assert lower <= histogram.quantile(q) <= upper


def test_the_latency_buckets_estimate_a_median_within_a_bucket_width() -> None:
    draw = random.Random(7)
    values = [draw.expovariate(1 / 0.004) for _ in range(5_000)]
    histogram = Histogram()
    for value in values:
        histogram.observe(value)

    assert histogram.quantile(0.5) == pytest.approx(statistics.median(values), rel=0.2)


def test_quantiles_at_the_edges_are_defined() -> None:
    histogram = Histogram(BOUNDS)
    assert math.isnan(histogram.quantile(0.5))

    histogram.observe(1_000.0)
    assert histogram.quantile(0.5) == BOUNDS[-1]
