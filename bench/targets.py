"""The targets of the online path, and what a run says of each."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bench.measure import Results
from bench.workloads import WORKLOADS

OURS: Final = "headrace"
BASE: Final = "aiohttp"
AZURE: Final = "azureml-inference-server-http"
RAW: Final = "nats-py request"
CLIENTS: Final = 64
FIELD: Final[Mapping[tuple[str, str], tuple[float, float]]] = {
    ("echo", BASE): (0.65, 0.9),
    ("echo", "aiohttp+uvloop0.21"): (0.65, 0.9),
    ("echo", "mosec"): (1.3, 1.7),
    ("echo", AZURE): (7, 10),
    ("echo", "mlserver"): (4, 6),
    ("echo", "mlserver+httptools"): (4, 6),
    ("echo", "bentoml"): (10, 18),
    ("echo", "ray-serve"): (2, 2.8),
    ("ridge", BASE): (1.2, 1.7),
    ("ridge", "aiohttp+uvloop0.21"): (1.2, 1.7),
}
"""Workload and server: our rate over theirs with 64 clients, must and aim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One target beside what was seen, a value a round."""

    what: str
    values: list[float]
    must: float | None = None
    aim: float | None = None
    at_most: bool = False
    """Whether less is better."""
    form: str = ".2f"

    @property
    def reached(self) -> str:
        """By the median: `aim`, `must`, `no`, or empty where nothing is asked or was seen."""
        if self.must is None or self.aim is None or not self.values:
            return ""
        sign = -1 if self.at_most else 1
        seen = sign * statistics.median(self.values)
        return "aim" if seen >= sign * self.aim else "must" if seen >= sign * self.must else "no"


def against_the_field(results: Results) -> Iterator[Line]:
    """Our rate over each server's in the same round, with 64 clients."""
    servers = [name for name in results.versions if name not in (OURS, RAW)]
    for workload in ("echo", "ridge"):
        for server in servers:
            values = results.ratios(OURS, server, workload, CLIENTS)
            must, aim = FIELD.get((workload, server), (None, None))
            if values:
                yield Line(what=f"{workload}, {server}", values=values, must=must, aim=aim)


def others(results: Results) -> Iterator[Line]:
    """All other targets of the online path; those that were not measured have no values."""
    sleep, megabyte = WORKLOADS["sleep20"], "bin"
    ideal = sleep.capacity / (sleep.service_s or 1)
    rates = [s.rate / ideal for s in results.of(OURS, sleep.name, sleep.capacity)]
    yield Line(
        what="echo, 1 client: (p50 - aiohttp's) / p50 of a nats-py request",
        values=_over_the_bus(results),
        must=1.8,
        aim=1.2,
        at_most=True,
    )
    yield Line(what="20 ms model: rate / ideal", values=rates, must=0.97, aim=0.99, form=".3f")
    for server, what in ((BASE, "aiohttp's rate"), (RAW, "rate of bare requests over NATS")):
        values = [s.rate / ideal for s in results.of(server, sleep.name, sleep.capacity)]
        yield Line(what=f"20 ms model: {what} / ideal", values=values, form=".3f")
    yield Line(
        what="heavy tail of 5 ms at 80 % load, 4 instances: p99 / simulated central queue's",
        values=over_the_queue(results, OURS),
        must=1.2,
        aim=1.1,
        at_most=True,
    )
    yield Line(
        what="the same, the queue's runs as much longer as runs were in the mean",
        values=[
            row["measured"]["p99_ms"] / row["central_queue_as_run"]["p99_ms"]
            for row in results.heavy
            if row["server"] == OURS and "central_queue_as_run" in row
        ],
    )
    yield Line(
        what=f"1 MB: p50 / {AZURE}'s",
        values=results.p50_ratios(OURS, AZURE, megabyte, 1),
        must=1.5,
        aim=0.8,
        at_most=True,
    )
    for what, figure, must, aim, form in _STARTS:
        values = results.starts.get("echo", {}).get(figure, [])
        yield Line(what=what, values=values, must=must, aim=aim, form=form, at_most=True)


def over_the_queue(results: Results, server: str) -> list[float]:
    """The server's p99 under the heavy tail over that of a simulated central queue, by run."""
    return [
        row["measured"]["p99_ms"] / row["central_queue"]["p99_ms"]
        for row in results.heavy
        if row["server"] == server
    ]


_STARTS: Final = (
    ("`headrace up` to ready, s", "up_s", 3.0, 1.5, ".2f"),
    ("deployment to first 200, no environment to build, s", "deploy_s", 2.0, 1.0, ".2f"),
    ("idle platform without models, PSS MB", "idle_pss_mb", 250.0, 150.0, ".0f"),
)


def _over_the_bus(results: Results) -> list[float]:
    """What one client waits beyond a bare handler, in bare requests over NATS, by round."""
    ours, base, raw = (
        {s.round: s.p50_ms for s in results.of(server, "echo", 1)} for server in (OURS, BASE, RAW)
    )
    return [(ours[n] - base[n]) / raw[n] for n in ours if base.get(n) and raw.get(n)]
