"""The heavy tail: lognormal service times at 80 % load, four scorers that run one at a time."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bench import generator
from bench.fleet import runs
from bench.generator import Target
from bench.headrace_server import Headrace
from bench.load import arrivals
from bench.measure import WARM_UP_S, Results, Say, in_turn, latencies, started
from bench.servers import Server
from bench.workloads import Workload
from headrace_simulation.dispatch import Job, central_queue

MEAN_S: Final = 0.005
SIGMA: Final = 1.5
"""Of the lognormal service times: the slowest percent takes over thirty times the median."""
LOAD: Final = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """When each request is due and how long it runs: the same for every server asked."""

    seed: int
    rate: float
    seconds: float
    instances: int
    due_s: list[float]
    services_s: list[float]

    def central_queue(self, more_s: float = 0.0) -> dict[str, float]:
        """Latencies of a simulated central queue, each run `more_s` longer."""
        longer_s = [service_s + more_s for service_s in self.services_s]
        jobs = [Job(*one) for one in zip(self.due_s, longer_s, strict=True)]
        return latencies(central_queue(jobs, servers=self.instances, latency_s=0.0).latency_s, 0)

    def bodies(self, server: Server, workload: Workload) -> tuple[bytes, ...]:
        """As this server wants them."""
        plain = (json.dumps({"sleep_s": service_s}).encode() for service_s in self.services_s)
        return tuple(server.body(replace(workload, body=body)) for body in plain)


def draws(seed: int, rate: float, seconds: float, instances: int) -> Draws:
    due_s = arrivals(rate, seconds, seed)
    services_s = services(len(due_s), seed)
    return Draws(
        seed=seed,
        rate=rate,
        seconds=seconds,
        instances=instances,
        due_s=due_s,
        services_s=services_s,
    )


def services(count: int, seed: int) -> list[float]:
    """Lognormal service times in seconds with mean MEAN_S, the same for the same seed."""
    draw = random.Random(seed)
    times = [draw.lognormvariate(0.0, SIGMA) for _ in range(count)]
    scale = MEAN_S * count / sum(times) if times else 0.0
    return [time_s * scale for time_s in times]


def tail(
    servers: Sequence[Server],
    workload: Workload,
    results: Results,
    *,
    rounds: int,
    seconds: float,
    say: Say,
) -> None:
    """Open loop, the servers in turn within a seed, beside a simulated queue of the same draws."""
    rate = LOAD * workload.instances / MEAN_S
    with started(servers, workload, results, say) as running:

        def warm_up(_: Server, target: Target) -> None:
            generator.open_loop(target, rate, WARM_UP_S)

        in_turn(running, workload.name, results, say, warm_up)
        for seed in range(rounds):

            def ask(
                server: Server,
                target: Target,
                load: Draws = draws(seed, rate, seconds, workload.instances),  # noqa: B008 bound now
            ) -> None:
                row = _asked(server, target, workload, load)
                results.heavy.append(row)
                say(f"  heavy tail: {row}")

            in_turn(running, workload.name, results, say, ask)


def _asked(server: Server, target: Target, workload: Workload, load: Draws) -> dict[str, Any]:
    """One row. Headrace's own clock also says how much longer a run took than it was asked to: a
    sleep is late to wake."""
    bodies = load.bodies(server, workload)
    before = runs([target]) if isinstance(server, Headrace) else None
    outcome = generator.open_loop(target, load.rate, load.seconds, seed=load.seed, bodies=bodies)
    row: dict[str, Any] = {
        "server": server.name,
        "instances": load.instances,
        "rate": load.rate,
        "seed": load.seed,
        "measured": latencies(outcome.latencies_s, outcome.errors),
        "central_queue": load.central_queue(),
    }
    if before is not None:
        took_s, ran = (now - then for now, then in zip(runs([target]), before, strict=True))
        more_s = (took_s - sum(load.services_s)) / max(1.0, ran)
        row["central_queue_as_run"] = load.central_queue(more_s)
        row["run_more_ms"] = round(1000 * more_s, 3)
    return row
