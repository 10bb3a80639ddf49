"""Sends a workload to a server: wrk for closed loops where it is installed, else our own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.load import Outcome, Plan, quantile

OWN: Final = "bench.load"
_SPARE_S: Final = 60.0
_LATE_S: Final = 10
"""A later answer is an error; wrk's own 2 s are too few for 64 clients of 1 MB."""
_LUA: Final = """
wrk.method = "POST"
wrk.body = io.open(os.getenv("BENCH_BODY"), "rb"):read("*a")
%s
function done(summary, latency, requests)
  local e = summary.errors
  local names = '{"requests": %%d, "duration_us": %%d, "errors": %%d, "p50": %%f, "p99": %%f}'
  local lost = e.connect + e.read + e.write -- no requests to wrk; wrong and late answers are
  local errors = lost + e.status + e.timeout
  io.stderr:write(string.format(names, summary.requests + lost, summary.duration, errors,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where and how to send."""

    url: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the clients saw."""

    requests: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float
    first_error: str = ""

    @property
    def rate(self) -> float:
        """Right answers per second."""
        return (self.requests - self.errors) / self.seconds if self.seconds else 0.0


def name() -> str:
    """The generator of closed loops on this box."""
    return "wrk" if shutil.which("wrk") else OWN


def closed(target: Target, connections: int, seconds: float) -> Figures:
    """Closed loop with this many clients."""
    if shutil.which("wrk"):
        return _wrk(target, connections, seconds)
    return _figures(own(target, connections=connections, seconds=seconds))


def open_loop(
    target: Target, rate: float, seconds: float, *, seed: int = 0, bodies: tuple[bytes, ...] = ()
) -> Outcome:
    """Arrives as `load.arrivals` says; latencies count from when a request was due."""
    texts = tuple(body.decode("latin-1") for body in bodies)
    return own(target, rate=rate, seconds=seconds, seed=seed, bodies=texts)


def own(
    target: Target,
    *,
    connections: int = 1,
    seconds: float,
    rate: float = 0.0,
    seed: int = 0,
    bodies: tuple[str, ...] = (),
    due_s: tuple[float, ...] = (),
    begins_at: float = 0.0,
) -> Outcome:
    """Run bench.load in its own process."""
    parts = urlsplit(target.url)
    plan = Plan(
        host=parts.hostname or "",
        port=parts.port or 80,
        path=parts.path or "/",
        body=target.body.decode("latin-1"),
        headers=target.headers,
        connections=connections,
        seconds=seconds,
        rate=rate,
        seed=seed,
        bodies=bodies,
        due_s=due_s,
        begins_at=begins_at,
    )
    done = subprocess.run(
        [sys.executable, "-m", OWN],
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        timeout=seconds + _SPARE_S,
        check=True,
    )
    return Outcome(**json.loads(done.stdout))


def _figures(outcome: Outcome) -> Figures:
    ordered = sorted(outcome.latencies_s)
    return Figures(
        requests=len(ordered) + outcome.errors,
        seconds=outcome.seconds,
        errors=outcome.errors,
        p50_ms=1000 * quantile(ordered, 0.5),
        p99_ms=1000 * quantile(ordered, 0.99),
        first_error=outcome.first_error,
    )


def _wrk(target: Target, connections: int, seconds: float) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder, "body"), Path(folder, "post.lua")
        body.write_bytes(target.body)
        headers = "\n".join(
            f"wrk.headers[{json.dumps(key)}] = {json.dumps(value)}"
            for key, value in target.headers.items()
        )
        script.write_text(_LUA % headers)
        script.chmod(0o600)  # holds the endpoint's key
        duration = f"{max(1, round(seconds))}s"
        words = ["wrk", "-t1", f"-c{connections}", f"-d{duration}", f"--timeout={_LATE_S}s"]
        words += ["-s", str(script), target.url]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=seconds + _SPARE_S,
            env={"BENCH_BODY": str(body)},
            check=True,
        )
    seen = json.loads(done.stderr[done.stderr.index("{") :])
    return Figures(
        requests=seen["requests"],
        seconds=seen["duration_us"] / 1e6,
        errors=seen["errors"],
        p50_ms=seen["p50"] / 1000,
        p99_ms=seen["p99"] / 1000,
    )
