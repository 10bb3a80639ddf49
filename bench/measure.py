"""One alternating run: A B C, A B C, …; each sample with CPU and memory of all server processes."""

from __future__ import annotations

import json
import random
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from bench import generator, processes
from bench.fleet import runs
from bench.load import arrivals, quantile
from bench.servers import CannotServe, Server
from bench.workloads import Workload
from headrace_bus.routing.simulation import Job, central_queue

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
    starts: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Headrace's own figures at its start, by workload and name."""
    open_loop: list[dict[str, Any]] = field(default_factory=list)
    heavy: list[dict[str, Any]] = field(default_factory=list)
    generator_ceiling: float = 0.0
    background_percent: float = 0.0

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Results:
        known = {each.name: raw[each.name] for each in fields(cls) if each.name in raw}
        return cls(**known | {"samples": [Sample(**sample) for sample in raw["samples"]]})

    def of(self, server: str, workload: str, connections: int) -> list[Sample]:
        wanted = (server, workload, connections)
        return [s for s in self.samples if (s.server, s.workload, s.connections) == wanted]

    def ratios(self, server: str, base: str, workload: str, connections: int) -> list[float]:
        """Rate against the base's in the same round of the same group."""
        return self._paired("rate", server, base, workload, connections)

    def p50_ratios(self, server: str, base: str, workload: str, connections: int) -> list[float]:
        """Median latency against the base's in the same round."""
        return self._paired("p50_ms", server, base, workload, connections)

    def _paired(
        self, figure: str, server: str, base: str, workload: str, connections: int
    ) -> list[float]:
        theirs = {s.round: getattr(s, figure) for s in self.of(base, workload, connections)}
        mine = self.of(server, workload, connections)
        return [getattr(s, figure) / theirs[s.round] for s in mine if theirs.get(s.round)]

    def next_round(self) -> int:
        """A number no sample has yet."""
        return 1 + max((sample.round for sample in self.samples), default=-1)

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
            _note_start(server, workload, results)
            running.append((server, target))
        yield running


def _note_start(server: Server, workload: Workload, results: Results) -> None:
    if server.cold_start_s:
        results.cold_start_s.setdefault(server.name, []).append(server.cold_start_s)
    for name, figure in server.figures.items():
        of_workload = results.starts.setdefault(workload.name, {})
        of_workload.setdefault(name, []).append(figure)


def alternate(
    servers: Sequence[Server],
    workload: Workload,
    results: Results,
    *,
    rounds: int,
    seconds: float,
    say: Say,
) -> None:
    """Closed loops over all servers in turn, `rounds` times for each number of clients."""
    first_round = results.next_round()
    seconds = max(seconds, workload.min_seconds)
    with started(servers, workload, results, say) as running:
        for server, target in running:
            server.closed(target, max(workload.connections), WARM_UP_S)
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
    figures = server.closed(target, connections, seconds)
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
    rounds: int,
    seconds: float,
    say: Say,
) -> None:
    """Open loop at fixed rates, the servers in turn; latency counts from when a request was due."""
    with started(servers, workload, results, say) as running:
        for rate in rates:
            for number in range(rounds):
                for server, target in running:
                    outcome = generator.open_loop(target, rate, seconds, seed=number)
                    row = {"server": server.name, "workload": workload.name, "rate": rate}
                    row |= _latencies(outcome.latencies_s, outcome.errors)
                    results.open_loop.append(row)
                    say(f"  {workload.name} at {rate:,.0f}/s  {server.name:30} {row}")


def heavy_tail(
    server: Server,
    instances: int,
    workload: Workload,
    results: Results,
    *,
    rounds: int,
    seconds: float,
    say: Say,
) -> None:
    """Lognormal service times at 80 % load, beside a simulated central queue of the same draws.

    And beside one in which each run took as much more as runs did in the mean, by their own clock:
    a sleep is late to wake.
    """
    rate = HEAVY_LOAD * instances / HEAVY_MEAN_S
    with started([server], workload, results, say) as running:
        for each, target in running:
            for seed in range(rounds):
                due_s = arrivals(rate, seconds, seed)
                services_s = heavy_services(len(due_s), seed)
                bodies = tuple(json.dumps({"sleep_s": s}).encode() for s in services_s)
                before = runs([target])
                outcome = generator.open_loop(target, rate, seconds, seed=seed, bodies=bodies)
                took_s, ran = (a - b for a, b in zip(runs([target]), before, strict=True))
                more_s = (took_s - sum(services_s)) / max(1.0, ran)
                longer_s = [service_s + more_s for service_s in services_s]
                ideal, as_run = (
                    central_queue(
                        [Job(*one) for one in zip(due_s, each_s, strict=True)],
                        servers=instances,
                        latency_s=0.0,
                    ).latency_s
                    for each_s in (services_s, longer_s)
                )
                row = {
                    "server": each.name,
                    "instances": instances,
                    "rate": rate,
                    "measured": _latencies(outcome.latencies_s, outcome.errors),
                    "central_queue": _latencies(ideal, 0),
                    "central_queue_as_run": _latencies(as_run, 0),
                    "run_more_ms": round(1000 * more_s, 3),
                }
                results.heavy.append(row)
                say(f"  heavy tail: {row}")


def heavy_services(count: int, seed: int) -> list[float]:
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
