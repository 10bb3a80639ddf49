"""Headrace with several instances behind two ingresses, and an open loop over both."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar, Final

from bench import generator
from bench.generator import Target
from bench.headrace_server import COMMAND, ENDPOINT, Headrace
from bench.load import Outcome
from bench.servers import ask, free_port, wait_until_right
from bench.workloads import Workload
from headrace_simulation.dispatch import Job

INGRESSES: Final = 2
LEAD_S: Final = 1.5
"""From the start of the generators to time zero of a load, so that both are connected by then."""


_RUNS: Final = re.compile(r"^headrace_request_run_seconds_(sum|count)\{.*\} (\S+)", re.MULTILINE)


class Fleet(Headrace):
    """A deployment of `instances` with a second ingress beside the platform's own."""

    name: ClassVar[str] = "headrace, two ingresses"

    def __init__(self, instances: int) -> None:
        super().__init__(instances)
        self._second: subprocess.Popen[bytes] | None = None
        self.targets: list[Target] = []

    def start(self, workload: Workload) -> Target:
        first = super().start(workload)
        port = free_port()
        words = ("run", "ingress", "--home", str(self._home), "--port", "0", "--http-port", port)
        self._second = subprocess.Popen(
            [str(COMMAND), *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HEADRACE_HOME": str(self._home)},
        )
        url = f"http://127.0.0.1:{port}/endpoints/{ENDPOINT}/score"
        self.targets = [first, replace(first, url=url)]
        wait_until_right(self.name, self.targets[1], workload)
        return first

    def stop(self) -> None:
        if self._second is not None:
            self._second.terminate()
            self._second.wait(30)
        super().stop()

    def pids(self) -> list[int]:
        """Of all workers that answer, found by asking; the answer names its worker."""
        found: set[int] = set()
        quiet = 0
        while quiet < 50:
            answer = ask(self.targets[0])
            pid = int(json.loads(answer)["pid"])
            quiet = 0 if pid not in found else quiet + 1
            found.add(pid)
        return sorted(found)


def metrics(target: Target) -> str:
    """What an ingress exports now."""
    url = target.url.partition("/endpoints/")[0] + "/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def runs(targets: Sequence[Target]) -> tuple[float, float]:
    """Seconds inside `run` and how often it ran, as both ingresses counted."""
    text = "".join(metrics(target) for target in targets)
    found = {"sum": 0.0, "count": 0.0}
    for what, value in _RUNS.findall(text):
        found[what] += float(value)
    return found["sum"], found["count"]


def offer(
    targets: Sequence[Target],
    jobs: Sequence[Job],
    ingress_of: Sequence[int],
    headers: Mapping[str, str] | None = None,
    body_of: Callable[[int, Job], dict[str, Any]] = lambda _, job: {"sleep_s": job.service_s},
) -> list[Outcome]:
    """Send each job to its ingress when it is due; one outcome an ingress."""
    begins_at = time.time() + LEAD_S

    def one(number: int) -> Outcome:
        mine = [(n, jobs[n]) for n, where in enumerate(ingress_of) if where == number]
        target = targets[number]
        target = replace(target, headers=target.headers | dict(headers or {}))
        bodies = tuple(json.dumps(body_of(n, job)) for n, job in mine)
        due_s = tuple(job.arrives_s for _, job in mine)
        return generator.own(
            target, seconds=jobs[-1].arrives_s, due_s=due_s, bodies=bodies, begins_at=begins_at
        )

    with ThreadPoolExecutor(len(targets)) as pool:
        return list(pool.map(one, range(len(targets))))


def latencies_s(outcomes: Sequence[Outcome]) -> list[float]:
    """Of all right answers, sorted. Raises RuntimeError when any request failed."""
    for one in outcomes:
        if one.errors:
            raise RuntimeError(f"{one.errors} requests failed: {one.first_error}")
    return sorted(time_s for one in outcomes for time_s in one.latencies_s)


def say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
