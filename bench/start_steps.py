"""Where the time of a first deployment goes: each step's moment, off the platform's own logs.

    python -m bench.start_steps --rounds 5

Seconds since the command that creates the deployment was started; the median of the rounds and
what each step added to the one before.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.start import Started, platform
from bench.workloads import WORKLOADS

_CONSOLE_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ")
_STEPS: Final = (
    ("the command has read the file and uploaded the code; the spec is written", "create", "/blue"),
    ("control has started the scorer's process", "instance started", ""),
    ("the scorer is imported and connected, and fetches", "storage-initializer.log", "fetching"),
    ("the environment is there", "storage-initializer.log", "environment ready"),
    ("the worker is imported and calls init()", "inference-server.log", "Invoking"),
    ("the instance is ready", "instance ready", ""),
    ("an ingress sees it; the operation is closed", "deployment is ready", ""),
    ("the command has noticed; the traffic is written", "update", "/bench"),
    ("a second command has asked for the key", "listKeys", "/bench"),
)
"""What a step is, then the event, action or file that tells it, and the end of what it is about."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = [one_round() for _ in range(parser.parse_args().rounds)]
    before = 0.0
    for name in rounds[0]:
        at = statistics.median(each[name] for each in rounds)
        sys.stdout.write(f"{at:6.3f}  +{at - before:5.3f}  {name}\n")
        before = at


def one_round() -> dict[str, float]:
    """Seconds of each step since the command began, in order."""
    with platform() as server:
        server.start(WORKLOADS["echo"])
        told = dict(moments(server))
        found = {step: told[what, about] for step, what, about in _STEPS}
        return found | {"a right answer": server.figures["deploy_s"]}


def moments(server: Started) -> Iterator[tuple[tuple[str, str], float]]:
    """Each known step that a log tells of, and when."""
    logs = [server.home / "run" / "control.log", *server.home.glob("instances/*/scorer.log")]
    for line in (line for log in logs for line in log.read_text().splitlines()):
        fields = json.loads(line)
        at = datetime.fromisoformat(fields["timestamp"]).timestamp() - server.deployed_unix_s
        for _, what, about in _STEPS:
            named = str(fields.get("resource", "")).endswith(about)
            if what in (fields["event"], fields.get("action")) and named and at >= 0:
                yield (what, about), at
    for _, name, words in _STEPS:
        for log in server.home.glob(f"instances/*/{name}") if name.endswith(".log") else ():
            yield (name, words), _first(log, words) - server.deployed_unix_s


def _first(log: Path, words: str) -> float:
    """When a console line with these words was written, in seconds since 1970."""
    line = next(line for line in log.read_text().splitlines() if words in line)
    found = _CONSOLE_TIME.match(line)
    assert found is not None, line
    whole = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return whole.timestamp() + int(found[2]) / 1e3


if __name__ == "__main__":
    main()
