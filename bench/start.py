"""How long starts take: `headrace up`, a deployment to its first answer, one instance to four.

    python -m bench.start --rounds 5

Each round is a platform of its own. The echo's environment is the bare one of the running Python,
so nothing is downloaded. Counted to what a user can see: the command returned, a right answer came,
`/metrics` of the ingress says four instances are ready.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from bench.headrace_server import ENDPOINT, Headrace
from bench.servers import wait_until_right
from bench.workloads import WORKLOADS

WANTED: Final = 4
BOUND_S: Final = 60.0
_READY: Final = re.compile(r"^headrace_visible_instances\{[^}]*\} (\d+)", re.MULTILINE)


class Started(Headrace):
    """A platform whose deployment can be made larger."""

    def scale(self, count: int) -> None:
        """Ask for so many instances and return when the operation has succeeded."""
        self._run(
            "online-deployment", "update", "-n", "blue", "-e", ENDPOINT,
            "--set", f"instance_count={count}",
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = [one_round() for _ in range(parser.parse_args().rounds)]
    for name in rounds[0]:
        values = sorted(each[name] for each in rounds)
        spread = f"{values[0]:.2f} to {values[-1]:.2f}"
        sys.stdout.write(f"{name:28} median {statistics.median(values):7.2f}   {spread}\n")


def one_round() -> dict[str, float]:
    """Figures by name, of a platform of its own."""
    with platform() as server:
        target = server.start(WORKLOADS["echo"])
        begun = time.perf_counter()
        server.scale(WANTED)
        wait_until_right(server.name, target, WORKLOADS["echo"])
        return server.figures | {
            f"1 -> {WANTED} instances, s": time.perf_counter() - begun,
            "instances the ingress sees": seen(target.url),
        }


def seen(url: str) -> float:
    """Ready instances by the ingress' own metrics."""
    address = f"http://{urlsplit(url).netloc}/metrics"
    with urllib.request.urlopen(address, timeout=BOUND_S) as reply:
        return float(sum(int(n) for n in _READY.findall(reply.read().decode())))


@contextmanager
def platform() -> Iterator[Started]:
    server = Started()
    server.prepare()
    try:
        yield server
    finally:
        server.stop()


if __name__ == "__main__":
    main()
