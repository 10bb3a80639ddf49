"""An open loop at twice the capacity: what is still served, for whom, and in how much memory.

python -m bench.overload --seconds 10

2 instances of 4 workers, 20 ms of service, so 400 a second. `limits`: as many may wait and run as
the deployment's limit says, surplus is a 429. `deadlines`: the limit is far, and each client gives
up after 300 ms (x-request-timeout-ms), so that only who is started in time is worth starting. The
peak is the best goodput of closed loops on the same platform. Work on the expired is what the model
itself wrote down, less what got a 200.

`short` is no overload: 4 instances of one slot and 2 ingresses at 70 % load, with clients that wait
for two and a half runs. What counts is the share that is served.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import psutil

from bench import generator
from bench.fleet import offer, say
from bench.headrace_server import Headrace
from bench.tails import MEAN_S, TAIL_INSTANCES, TailFleet, split, warm_up
from bench.workloads import Workload
from headrace_simulation.dispatch import lognormal_load

INSTANCES: Final = 2
WORKERS: Final = 4
SERVICE_S: Final = 0.02
CAPACITY: Final = INSTANCES * WORKERS / SERVICE_S
PATIENCE_MS: Final = 300
CLIENTS: Final = (8, 10, 12, 16)
MODES: Final = {"limits": WORKERS, "deadlines": 64}
"""max_concurrent of the deployment."""
SHORT_LOAD: Final = 0.7
SHORT_RUNS: Final = 2.5
SAMPLE_S: Final = 0.5
ROLES: Final = {"ingress": "run ingress", "scorer": "headrace_scorer", "nats": "nats-server"}


class Busy(Headrace):
    """A deployment whose runs are counted."""

    def __init__(self, max_concurrent: int) -> None:
        super().__init__(INSTANCES)
        self._max_concurrent = max_concurrent
        self._runs = self._home / "runs"
        self._environment = {
            "WORKER_COUNT": str(WORKERS),
            "BENCH_RUNS": str(self._runs),
            "BENCH_SLOWED": str(self._home / "slowed"),
        }

    def serve(self) -> generator.Target:
        self._runs.mkdir(mode=0o700, parents=True)
        (self._home / "slowed").touch()
        body = json.dumps({"sleep_s": SERVICE_S}).encode()
        return self.start(Workload(name="overload", body=body, script="score_tails.py"))

    def busy_s(self) -> float:
        """Seconds inside `run` so far, of all workers."""
        return sum(map(float, (self._runs / "log").read_text().split()))

    def memory(self) -> dict[str, int]:
        """Resident bytes by role; the largest of several processes."""
        found: dict[str, int] = {}
        for role, process in self._roles():
            found[role] = max(found.get(role, 0), process.memory_info().rss)
        return found

    def cpu_s(self) -> dict[str, float]:
        """Seconds of processor so far, by role."""
        found = dict.fromkeys(ROLES, 0.0)
        for role, process in self._roles():
            times = process.cpu_times()
            found[role] += times.user + times.system
        return found

    def _roles(self) -> Iterator[tuple[str, psutil.Process]]:
        for process in self.processes():
            words = " ".join(process.cmdline())
            for role, mark in ROLES.items():
                if mark in words:
                    yield role, process


@dataclass(slots=True)
class Memory:
    """Resident bytes by role, sampled while something runs."""

    samples: list[dict[str, int]] = field(default_factory=list)

    def growth_mb(self) -> dict[str, float]:
        """From the first sample to the largest, by role."""
        first = self.samples[0]
        return {
            role: round(max(s.get(role, 0) - first[role] for s in self.samples) / 2**20, 1)
            for role in first
        }


@contextmanager
def watched(server: Busy) -> Iterator[Memory]:
    """Sample memory in a thread of its own."""
    memory, stop = Memory([server.memory()]), threading.Event()

    def look() -> None:
        while not stop.wait(SAMPLE_S):
            memory.samples.append(server.memory())

    thread = threading.Thread(target=look, name="memory")
    thread.start()
    try:
        yield memory
    finally:
        stop.set()
        thread.join()


def measure(mode: str, seconds: float) -> dict[str, Any]:
    """Rates a second, shares, and growth in MB of one mode of MODES."""
    server = Busy(MODES[mode])
    try:
        target = server.serve()
        if mode == "deadlines":
            patience = {"x-request-timeout-ms": str(PATIENCE_MS)}
            target = replace(target, headers=target.headers | patience)
        generator.closed(target, CLIENTS[-1], 1.0)
        peak = max(generator.closed(target, clients, seconds / 4).rate for clients in CLIENTS)
        generator.open_loop(target, 2 * CAPACITY, 2.0)  # connections and queues are there
        before, cpu_before = server.busy_s(), server.cpu_s()
        with watched(server) as memory:
            seen = generator.open_loop(target, 2 * CAPACITY, seconds)
        busy_s = server.busy_s() - before
        cpu_s = server.cpu_s()
    finally:
        server.stop()
    good = len(seen.latencies_s)
    return {
        "mode": mode,
        "peak": peak,
        "goodput": good / seconds,
        "share_of_peak": good / seconds / peak,
        "refused_429": seen.refused,
        "other_errors": seen.errors - seen.refused,
        "runs_s": busy_s,
        "expired_share": max(0.0, 1 - good * SERVICE_S / busy_s),
        "cpu_us_a_request": {
            role: round((cpu_s[role] - cpu_before[role]) * 1e6 / (2 * CAPACITY * seconds))
            for role in cpu_s
        },
        "growth_mb": memory.growth_mb(),
        "rss_mb": {role: round(rss / 2**20) for role, rss in memory.samples[0].items()},
        "first_error": seen.first_error.splitlines()[0] if seen.first_error else "",
    }


def short(seconds: float) -> dict[str, Any]:
    """The share of impatient clients that two ingresses serve in time, at 70 % load."""
    fleet = TailFleet(TAIL_INSTANCES)
    count = int(SHORT_LOAD * TAIL_INSTANCES / MEAN_S * seconds)
    jobs = lognormal_load(
        0, requests=count, servers=TAIL_INSTANCES, load=SHORT_LOAD, mean_s=MEAN_S, sigma=0.3
    )
    patience = {"x-request-timeout-ms": str(int(1000 * SHORT_RUNS * MEAN_S))}
    try:
        fleet.start_all()
        warm_up(fleet, TAIL_INSTANCES)
        seen = offer(fleet.targets, jobs, split(jobs, 0), patience)
    finally:
        fleet.stop()
    in_time = sum(len(one.latencies_s) for one in seen)
    return {"mode": "short", "requests": count, "in_time_share": in_time / count}


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the platform is stopped
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of overload")
    parser.add_argument("--mode", action="append", choices=[*MODES, "short"])
    asked = parser.parse_args()
    for mode in asked.mode or [*MODES, "short"]:
        say(mode)
        seen = short(asked.seconds) if mode == "short" else measure(mode, asked.seconds)
        json.dump(seen, sys.stdout)
        sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
