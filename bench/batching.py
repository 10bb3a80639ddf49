"""Ridge at 64 clients, batched beside unbatched, in alternation.

python -m bench.batching --rounds 3 --seconds 2
"""

from __future__ import annotations

import argparse
import statistics
import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import ClassVar, Final

from bench import generator
from bench.generator import Target
from bench.headrace_server import Headrace
from bench.workloads import WORKLOADS, Workload

CLIENTS: Final = 64
WARM_UP_S: Final = 2.0


class Batched(Headrace):
    """The same deployment with the batched script."""

    name: ClassVar[str] = "headrace, batched"

    def start(self, workload: Workload) -> Target:
        return super().start(replace(workload, script="score_batched.py"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    asked = parser.parse_args()
    ridge = WORKLOADS["ridge"]
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        targets: dict[str, Target] = {}
        for server in (Headrace(), Batched()):
            stack.callback(server.stop)
            targets[server.name] = server.start(ridge)
            generator.closed(targets[server.name], CLIENTS, WARM_UP_S)
        for _ in range(asked.rounds):
            for name, target in targets.items():
                figures = generator.closed(target, CLIENTS, asked.seconds)
                rates.setdefault(name, []).append(figures.rate)
                sys.stdout.write(
                    f"{name}: {figures.rate:.0f}/s, p50 {figures.p50_ms:.1f} ms,"
                    f" p99 {figures.p99_ms:.1f} ms, {figures.errors} errors\n"
                )
    plain, batched = (statistics.median(found) for found in rates.values())
    sys.stdout.write(f"batched over unbatched: {batched / plain:.2f}\n")


if __name__ == "__main__":
    main()
