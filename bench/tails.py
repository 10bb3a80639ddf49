"""The slowest percent on real platforms, beside a simulation of the very same load.

python -m bench.tails tail --rounds 4 --seconds 25
python -m bench.tails slow --rounds 5 --seconds 12

`tail`: 4 instances of one slot, 2 ingresses, Pareto(1.5) service of 20 ms in the mean, 80 % load.
`slow`: 8 instances of one slot, lognormal service (sigma 1), half load; in every other run one
worker takes ten times as long.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from bench.fleet import INGRESSES, Fleet, latencies_s, offer, runs, say
from bench.load import quantile
from bench.workloads import Workload
from headrace_simulation.dispatch import (
    Job,
    central_queue,
    lognormal_load,
    pareto_load,
    random_queues,
    simulate_dispatch,
    two_choices,
)

MEAN_S: Final = 0.02
TAIL_INSTANCES: Final = 4
TAIL_LOAD: Final = 0.8
SLOW_INSTANCES: Final = 8
SLOW_LOAD: Final = 0.5
SLOWED: Final = 10.0
P99: Final = 0.99
RECOVERY_S: Final = 4.0
"""Between a slowed round and a healthy one: load under which the slowed worker is found well."""


class TailFleet(Fleet):
    """One slot an instance: a `run` that blocks, in one worker."""

    def __init__(self, instances: int) -> None:
        super().__init__(instances)
        self._environment["BENCH_SLOWED"] = str(self._home / "slowed")

    def start_all(self) -> None:
        (self._home).mkdir(mode=0o700)
        self.slow(None)
        self.start(Workload(name="tails", body=b'{"sleep_s": 0.001}', script="score_tails.py"))

    def slow(self, pid: int | None) -> None:
        """Slow this worker ten times, or none."""
        (self._home / "slowed").write_text("" if pid is None else str(pid))


def spread(values: Sequence[float], form: str = ".3f") -> str:
    half = (max(values) - min(values)) / 2
    return f"{statistics.median(values):{form}} ± {half:{form}}"


def split(jobs: Sequence[Job], seed: int) -> list[int]:
    """The ingress of each job, at random."""
    rng = random.Random(seed)
    return [rng.randrange(INGRESSES) for _ in jobs]


def tail(rounds: int, seconds: float, first_seed: int) -> dict[str, list[float]]:
    """Milliseconds at the 99th percentile by rule, one a round; each rule gets the same loads."""
    fleet = TailFleet(TAIL_INSTANCES)
    found: dict[str, list[float]] = {}
    count = int(TAIL_LOAD * TAIL_INSTANCES / MEAN_S * seconds)
    try:
        fleet.start_all()
        warm_up(fleet, TAIL_INSTANCES)
        for seed in range(first_seed, first_seed + rounds):
            jobs = pareto_load(
                seed, requests=count, servers=TAIL_INSTANCES, load=TAIL_LOAD, mean_s=MEAN_S
            )
            before = runs(fleet.targets)
            real = latencies_s(offer(fleet.targets, jobs, split(jobs, seed)))
            row = {"headrace": quantile(real, P99), **simulated(jobs, seed)}
            took_s, ran = (
                now - then for now, then in zip(runs(fleet.targets), before, strict=True)
            )
            row["central queue, runs as long as they were"] = as_run(jobs, took_s / ran)
            for name, value in row.items():
                found.setdefault(name, []).append(1000 * value)
            say(f"seed {seed}: " + ", ".join(f"{k} {1000 * v:.0f}" for k, v in row.items()))
    finally:
        fleet.stop()
    return found


def as_run(jobs: Sequence[Job], mean_s: float) -> float:
    """p99 of a central queue where each run took as much more as runs did in the mean.

    A sleep is late to wake; that is the machine's and not the dispatch's.
    """
    more_s = mean_s - MEAN_S
    longer = [job._replace(service_s=job.service_s + more_s) for job in jobs]
    say(f"runs took {1e6 * more_s:.0f} us more than they were asked to")
    return central_queue(longer, servers=TAIL_INSTANCES).quantile(P99)


def simulated(jobs: Sequence[Job], seed: int) -> dict[str, float]:
    """Seconds at the 99th percentile of the same load by each rule."""
    servers = TAIL_INSTANCES
    outcomes = {
        "headrace, simulated": simulate_dispatch(
            jobs, ingresses=INGRESSES, instances=servers, seed=seed, standby=1
        ),
        "two choices, simulated": two_choices(jobs, servers=servers, seed=seed),
        "random queue groups, simulated": random_queues(jobs, servers=servers, seed=seed),
        "central queue, simulated": central_queue(jobs, servers=servers),
    }
    return {name: one.quantile(P99) for name, one in outcomes.items()}


def warm_up(fleet: TailFleet, instances: int, seconds: float = 2.0) -> None:
    """A load nobody judges, so that connections, imports and paces are there."""
    count = int(SLOW_LOAD * instances / MEAN_S * seconds)
    jobs = lognormal_load(99, requests=count, servers=instances, load=SLOW_LOAD, mean_s=MEAN_S)
    offer(fleet.targets, jobs, split(jobs, 99))


def slow(rounds: int, seconds: float, first_seed: int) -> dict[str, list[float]]:
    """Milliseconds at p99, healthy and with one instance of eight slowed, in alternation."""
    fleet = TailFleet(SLOW_INSTANCES)
    found: dict[str, list[float]] = {"healthy": [], "slowed": [], "healthy, simulated": []}
    found["slowed, simulated"] = []
    count = int(SLOW_LOAD * SLOW_INSTANCES / MEAN_S * seconds)
    try:
        fleet.start_all()
        warm_up(fleet, SLOW_INSTANCES)
        pids = fleet.pids()
        for seed in range(first_seed, first_seed + rounds):
            jobs = lognormal_load(
                seed, requests=count, servers=SLOW_INSTANCES, load=SLOW_LOAD, mean_s=MEAN_S
            )
            for name, pid, factor in (
                ("healthy", None, 1.0),
                ("slowed", pids[seed % len(pids)], SLOWED),
            ):
                fleet.slow(pid)
                real = latencies_s(offer(fleet.targets, jobs, split(jobs, seed)))
                ideal = simulate_dispatch(
                    jobs, ingresses=INGRESSES, instances=SLOW_INSTANCES, seed=seed, slowed=factor
                )
                found[name].append(1000 * quantile(real, P99))
                found[f"{name}, simulated"].append(1000 * ideal.quantile(P99))
                say(f"seed {seed} {name}: p99 {found[name][-1]:.0f} ms of {len(real)}")
            fleet.slow(None)
            warm_up(fleet, SLOW_INSTANCES, RECOVERY_S)
    finally:
        fleet.stop()
    return found


def ratios(found: dict[str, list[float]], base: str) -> dict[str, list[float]]:
    """Each round against the same round of the base."""
    return {
        name: [mine / theirs for mine, theirs in zip(values, found[base], strict=True)]
        for name, values in found.items()
    }


def table(found: dict[str, list[float]], base: str) -> str:
    """One row a rule: p99 and its ratio to the base, median and half the range over rounds."""
    lines = [f"| p99 of | ms | x {base} |", "|---|---|---|"]
    for name, over in ratios(found, base).items():
        lines.append(f"| {name} | {spread(found[name], '.0f')} | {spread(over, '.2f')} |")
    return "\n".join(lines) + "\n"


EXPERIMENTS: Final[dict[str, tuple[Callable[[int, float, int], dict[str, list[float]]], str]]] = {
    "tail": (tail, "central queue, simulated"),
    "slow": (slow, "healthy"),
}


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the platform is stopped
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=sorted(EXPERIMENTS))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=25.0, help="of load in each run")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    asked = parser.parse_args()
    measure, base = EXPERIMENTS[asked.what]
    begun = time.perf_counter()
    found = measure(asked.rounds, asked.seconds, asked.seed)
    sys.stdout.write(table(found, base))
    json.dump({"ms": found, "took_s": time.perf_counter() - begun}, sys.stdout)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
