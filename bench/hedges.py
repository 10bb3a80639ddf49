"""What hedging gains, and what it costs: the same loads with and without, in alternation.

python -m bench.hedges --rounds 4 --seconds 12

4 instances of 8 slots, 2 ingresses, 20 % load, lognormal service (sigma 0.3) of 20 ms in the mean,
and in 2 % of the runs a stall of 400 ms that a second run does not share. Each line is simulated
as well. Runs and the time they took are counted in the model, losers until their cancel included.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import yaml

from bench.fleet import INGRESSES, Fleet, latencies_s, metrics, offer, say
from bench.load import quantile
from bench.tails import P99, split, spread
from bench.workloads import Workload
from headrace_simulation.dispatch import LATENCY_S, DispatchSimulation, Job, stalling_load
from headrace_simulation.hedging import HedgedSimulation

INSTANCES: Final = 4
SLOTS: Final = 8
LOAD: Final = 0.2
MEAN_S: Final = 0.02
SHARE: Final = 0.02
STALL_S: Final = 0.4
PLAIN, HEDGED = "blue", "green"
WARM_UP: Final = 1_000
_COUNT: Final = re.compile(r"^headrace_hedges_total\{.*event=\"(\w+)\".*\} (\d+)", re.MULTILINE)


class HedgeFleet(Fleet):
    """Two equal deployments, one of which allows hedges."""

    def __init__(self) -> None:
        super().__init__(INSTANCES)
        self._max_concurrent = SLOTS
        self._runs = self._home / "runs"
        self._environment["BENCH_RUNS"] = str(self._runs)

    def start_all(self) -> None:
        self._runs.mkdir(mode=0o700, parents=True)
        body = b'{"id": "first", "sleep_s": 0.001, "again_s": 0.001}'
        self.start(Workload(name="runs", body=body, script="score_runs.py"))
        file = self._home / "bench" / "deployment.yml"
        spec = yaml.safe_load(file.read_text())
        spec |= {"name": HEDGED, "properties": {"headrace.hedge": "true"}}
        second = file.with_name("second.yml")
        second.write_text(yaml.safe_dump(spec))
        self._run("online-deployment", "create", "-f", str(second))

    def ask(self, jobs: Sequence[Job], seed: int, deployment: str) -> list[float]:
        """Sorted seconds of all requests of a load."""
        outcomes = offer(
            self.targets, jobs, split(jobs, seed), {"azureml-model-deployment": deployment},
            partial(_body, f"{deployment}-{seed}"),
        )  # fmt: skip
        return latencies_s(outcomes)

    def runs(self, deployment: str, seed: int) -> list[float]:
        """What each run of a load took, in seconds."""
        lines = (self._runs / "log").read_text().splitlines()
        prefix = f"{deployment}-{seed}-"
        return [float(line.split()[1]) for line in lines if line.startswith(prefix)]

    def hedges(self) -> Counter[str]:
        """What both ingresses counted, by event."""
        found: Counter[str] = Counter()
        for target in self.targets:
            for event, count in _COUNT.findall(metrics(target)):
                found[event] += int(count)
        return found


def _body(prefix: str, number: int, job: Job) -> dict[str, Any]:
    return {"id": f"{prefix}-{number}", "sleep_s": job.service_s, "again_s": job.again_s}


def load_of(seed: int, requests: int) -> list[Job]:
    return stalling_load(
        seed, requests=requests, servers=INSTANCES * SLOTS, load=LOAD, mean_s=MEAN_S,
        share=SHARE, stall_s=STALL_S,
    )  # fmt: skip


def simulated(jobs: Sequence[Job], seed: int) -> dict[str, float]:
    world = {"ingresses": INGRESSES, "instances": INSTANCES, "slots": SLOTS, "seed": seed}
    plain = DispatchSimulation(**world, latency_s=LATENCY_S).run(jobs)
    hedged = HedgedSimulation(**world, latency_s=LATENCY_S)
    return {
        "plain_sim_ms": 1000 * plain.quantile(P99),
        "hedged_sim_ms": 1000 * hedged.run(jobs).quantile(P99),
        "extra_runs_sim": len(hedged.copies) / len(jobs),
        "extra_time_sim": hedged.busy_s / sum(job.service_s for job in jobs) - 1,
    }


def measure(rounds: int, seconds: float, first_seed: int) -> list[dict[str, Any]]:
    """One row a round."""
    fleet, rows = HedgeFleet(), []
    rate = LOAD * INSTANCES * SLOTS / (MEAN_S + SHARE * STALL_S)
    try:
        fleet.start_all()
        for name in (PLAIN, HEDGED):
            fleet.ask(load_of(99, WARM_UP), 99, name)
        for seed in range(first_seed, first_seed + rounds):
            jobs = load_of(seed, int(rate * seconds))
            order = [PLAIN, HEDGED]
            random.Random(seed).shuffle(order)
            before = fleet.hedges()
            took = {name: 1000 * quantile(fleet.ask(jobs, seed, name), P99) for name in order}
            plain, hedged = fleet.runs(PLAIN, seed), fleet.runs(HEDGED, seed)
            row = {
                "requests": len(jobs),
                "plain_ms": took[PLAIN],
                "hedged_ms": took[HEDGED],
                "gain": took[HEDGED] / took[PLAIN],
                "extra_runs": len(hedged) / len(jobs) - 1,
                "extra_time": sum(hedged) / sum(plain) - 1,
                "events": dict(fleet.hedges() - before),
                **simulated(jobs, seed),
            }
            rows.append(row)
            say(json.dumps(row))
    finally:
        fleet.stop()
    return rows


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the platform is stopped
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=12.0, help="of load in each run")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    asked = parser.parse_args()
    rows = measure(asked.rounds, asked.seconds, asked.seed)
    for name in [name for name, value in rows[0].items() if isinstance(value, float)]:
        sys.stdout.write(f"{name}: {spread([row[name] for row in rows])}\n")
    json.dump(rows, sys.stdout)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
