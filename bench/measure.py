"""One alternating run: A B C, A B C, …; each sample with CPU and memory of all server processes."""

from __future__ import annotations

import json
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench import generator, processes
from bench.load import arrivals, quantile
from bench.servers import CannotServe, Server
from bench.simulate import central_queue
from bench.workloads import Workload

WARM_UP_S: Final = 1.0
HEAVY_MEAN_S: Final = 0.005
HEAVY_SIGMA: Final = 1.5
"""Of the lognormal service times: the slowest percent takes over thirty times the median."""
HEAVY_LOAD: Final = 0.8

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One server, one workload, one number of clients, one round."""

    server: str
    workload: str
    connections: int
    round: int
    rate: float
    """Right answers per second."""
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float
    """Processor time of all server processes per request, in microseconds."""
    pss_mb: float


@dataclass(slots=True, kw_only=True)
class Results:
    """All samples of a run and what was learned beside them."""

    samples: list[Sample] = field(default_factory=list)
    cold_start_s: dict[str, list[float]] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def of(self, server: str, workload: str, connections: int) -> list[Sample]:
        wanted = (server, workload, connections)
        return [s for s in self.samples if (s.server, s.workload, s.connections) == wanted]

    def ratios(self, server: str, base: str, workload: str, connections: int) -> list[float]:
        """Rate against the base's in the same round of the same group."""
        mine = self.of(server, workload, connections)
        theirs = {sample.round: sample.rate for sample in self.of(base, workload, connections)}
        return [s.rate / theirs[s.round] for s in mine if theirs.get(s.round)]

    def left_out(self, of_what: str, error: CannotServe) -> None:
        """Note it on one line, without the folders of this machine."""
        last = str(error).strip().splitlines()[-1]
        self.failures.append(f"{of_what}: {error.server}: " + re.sub(r"/\S+/", "…/", last)[:200])

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@contextmanager
def started(
    servers: Sequence[Server], workload: Workload, results: Results, say: Say
) -> Iterator[list[tuple[Server, generator.Target]]]:
    """Start all that can serve the workload; those that cannot are noted and left out."""
    with ExitStack() as stack:
        running = []
        for server in servers:
            try:
                stack.callback(server.stop)
                target = server.start(workload)
            except CannotServe as error:
                results.left_out(workload.name, error)
                say(f"  left out: {error}")
                continue
            results.cold_start_s.setdefault(server.name, []).append(server.cold_start_s)
            if server.figures:
                results.extra[f"{server.name} at its start, {workload.name}"] = server.figures
            running.append((server, target))
        yield running


def alternate(
    servers: Sequence[Server],
    workload: Workload,
    results: Results,
    *,
    rounds: int,
    seconds: float,
    first_round: int,
    say: Say,
) -> None:
    """Closed loops over all servers in turn, `rounds` times for each number of clients."""
    with started(servers, workload, results, say) as running:
        for _, target in running:
            generator.closed(target, max(workload.connections), WARM_UP_S)
        for connections in workload.connections:
            for number in range(first_round, first_round + rounds):
                for server, target in running:
                    sample = _sample(server, target, workload, connections, number, seconds)
                    results.samples.append(sample)
            for server, _ in running:
                rates = [s.rate for s in results.of(server.name, workload.name, connections)]
                rate = statistics.median(rates[-rounds:])
                say(f"  {workload.name:8} c={connections:<3} {server.name:30} {rate:9,.0f}/s")


def _sample(
    server: Server,
    target: generator.Target,
    workload: Workload,
    connections: int,
    number: int,
    seconds: float,
) -> Sample:
    alive = server.processes()
    before = processes.cpu_s(alive)
    figures = generator.closed(target, connections, seconds)
    used_s = processes.cpu_s(alive) - before
    answered = max(1, figures.requests - figures.errors)
    return Sample(
        server=server.name,
        workload=workload.name,
        connections=connections,
        round=number,
        rate=figures.rate,
        p50_ms=figures.p50_ms,
        p99_ms=figures.p99_ms,
        errors=figures.errors,
        cpu_us=1e6 * used_s / answered,
        pss_mb=processes.pss_mb(alive),
    )


def open_rates(
    servers: Sequence[Server],
    workload: Workload,
    results: Results,
    *,
    rates: Sequence[float],
    seconds: float,
    say: Say,
) -> None:
    """Open loop at fixed rates; latency counts from when a request was due."""
    rows = results.extra.setdefault("open_loop", [])
    with started(servers, workload, results, say) as running:
        for rate in rates:
            for server, target in running:
                outcome = generator.open_loop(target, rate, seconds)
                row = {"server": server.name, "workload": workload.name, "rate": rate}
                rows.append(row | _latencies(outcome.latencies_s, outcome.errors))
                tail = rows[-1]["p99_ms"]
                say(f"  {workload.name} at {rate:,.0f}/s  {server.name:30} {tail} ms p99")


def heavy_tail(
    server: Server,
    instances: int,
    workload: Workload,
    results: Results,
    *,
    seconds: float,
    say: Say,
) -> None:
    """Lognormal service times at 80 % load, beside a simulated central queue of the same draws."""
    rate = HEAVY_LOAD * instances / HEAVY_MEAN_S
    due_s = arrivals(rate, seconds, seed=1)
    services_s = heavy_services(len(due_s))
    ideal = central_queue(due_s, services_s, instances)
    with started([server], workload, results, say) as running:
        for each, target in running:
            bodies = tuple(json.dumps({"sleep_s": s}).encode() for s in services_s)
            begun = time.perf_counter()
            outcome = generator.open_loop(target, rate, seconds, bodies)
            results.extra["heavy"] = {
                "server": each.name,
                "instances": instances,
                "rate": rate,
                "seconds": time.perf_counter() - begun,
                "measured": _latencies(outcome.latencies_s, outcome.errors),
                "central_queue": _latencies(ideal, 0),
            }
            say(f"  heavy tail: {results.extra['heavy']}")


def heavy_services(count: int, seed: int = 2) -> list[float]:
    """Lognormal service times in seconds with mean HEAVY_MEAN_S, the same for the same seed."""
    draw = random.Random(seed)
    times = [draw.lognormvariate(0.0, HEAVY_SIGMA) for _ in range(count)]
    scale = HEAVY_MEAN_S * count / sum(times) if times else 0.0
    return [time_s * scale for time_s in times]


def _latencies(latencies_s: Sequence[float], errors: int) -> dict[str, float]:
    ordered = sorted(latencies_s)
    return {
        "requests": len(ordered),
        "errors": errors,
        "p50_ms": round(1000 * quantile(ordered, 0.5), 3),
        "p99_ms": round(1000 * quantile(ordered, 0.99), 3),
        "p999_ms": round(1000 * quantile(ordered, 0.999), 3),
    }
