"""Latency of the control API with many endpoints stored: PUT, GET and the list of all.

    python -m bench.control --endpoints 1000

Starts a platform of its own in a temporary home and speaks HTTPS to its control process, one
request at a time, as a client does that waits for each answer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

HEADRACE: Final = Path(sys.executable).with_name("headrace")
WORKSPACE: Final = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/local"
    "/providers/Microsoft.MachineLearningServices/workspaces/default"
)
BODY: Final = {"location": "local", "properties": {"authMode": "Key"}}
LISTS: Final = 20
SAMPLES: Final = 500
COMMAND_BOUND_S: Final = 180


class Control:
    """One kept connection to the control process, with the admin's token."""

    def __init__(self, status: dict[str, Any]) -> None:
        parts = urlsplit(status["control_url"])
        context = ssl.create_default_context(cafile=status["ca_path"])
        self._connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=60, context=context
        )
        token = (Path(status["home"]) / "token").read_text().strip()
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def close(self) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The JSON of a success. Raises RuntimeError on any other answer."""
        data = None if body is None else json.dumps(body)
        self._connection.request(method, WORKSPACE + path.rstrip("/"), data, self._headers)
        reply = self._connection.getresponse()
        text = reply.read()
        if reply.status not in (200, 201):
            raise RuntimeError(f"{method} {path} answered {reply.status}: {text[:300]!r}")
        return dict(json.loads(text))


def quantile_ms(times_s: Sequence[float], share: float) -> float:
    """Of times in seconds, in milliseconds; `share` is 0.5 for the median."""
    return sorted(times_s)[min(int(len(times_s) * share), len(times_s) - 1)] * 1000


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measured(control: Control, count: int) -> dict[str, Any]:
    """Times in milliseconds: `create` while they become many, the rest with all of them stored."""
    names = [f"bench-{number:05d}" for number in range(count)]
    path = "/onlineEndpoints/"
    some = names[:: max(count // SAMPLES, 1)]
    changed = BODY | {"tags": {"round": "2"}}

    def times_s(method: str, names: Sequence[str], body: object = None) -> list[float]:
        return [timed(partial(control.ask, method, path + name, body)) for name in names]

    create = times_s("PUT", names, BODY)
    settled_s = timed(partial(settle, control, count))
    times = {
        "create": create,
        "get": times_s("GET", some),
        "put_same": times_s("PUT", some, BODY),
        "put_change": times_s("PUT", some, changed),
        "list": times_s("GET", [""] * LISTS),
    }
    found: dict[str, Any] = {
        name: {"p50_ms": quantile_ms(one, 0.5), "p95_ms": quantile_ms(one, 0.95), "of": len(one)}
        for name, one in times.items()
    }
    return found | {"endpoints": count, "settled_s": settled_s, "load": os.getloadavg()[0]}


def settle(control: Control, count: int) -> None:
    """Wait until the reconciler has finished all creations. Raises RuntimeError past a bound."""
    end = time.monotonic() + COMMAND_BOUND_S
    while time.monotonic() < end:
        listed = control.ask("GET", "/onlineEndpoints")["value"]
        states = [one["properties"]["provisioningState"] for one in listed]
        if len(states) == count and set(states) == {"Succeeded"}:
            return
        time.sleep(0.5)
    raise RuntimeError(f"not all of {count} endpoints were ready within {COMMAND_BOUND_S} s")


@contextmanager
def platform(home: Path) -> Iterator[dict[str, Any]]:
    """The status of a platform that is up; purged afterwards."""

    def run(*words: str) -> str:
        done = subprocess.run(
            [str(HEADRACE), *words],
            env=os.environ | {"HEADRACE_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=COMMAND_BOUND_S,
            stdin=subprocess.DEVNULL,
            check=True,
        )
        return done.stdout

    ports = ("--control-port", "--ingress-port", "--http-port", "--console-port", "--nats-port")
    run("up", "--detach", *(word for port in ports for word in (port, "0")))
    try:
        yield json.loads(run("status", "-o", "json"))
    finally:
        run("down")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, default=1_000)
    count = parser.parse_args().endpoints
    with (
        tempfile.TemporaryDirectory() as folder,
        platform(Path(folder) / "home") as status,
        closing(Control(status)) as control,
    ):
        json.dump(measured(control, count), sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
