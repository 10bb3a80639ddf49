"""scripts/bench: echo and ridge beside a bare handler and Azure's server; `peers`: the field."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import psutil

from bench import generator, measure, report
from bench.headrace_server import Headrace
from bench.measure import Results
from bench.peers import DEFAULT, OTHERS, AzureServer, Null, PlainAiohttp
from bench.raw_nats import RawNats
from bench.servers import CannotServe, Server
from bench.workloads import WORKLOADS

CEILING_CLIENTS = 64
HEAVY_INSTANCES = 4
HEAVY_STRETCH = 5
"""The heavy tail is measured for so many times `--seconds`: its p99 needs many requests."""
OPEN_RATES = (500.0, 1_500.0, 5_000.0)
YARDSTICKS = frozenset({PlainAiohttp.name, Headrace.name, RawNats.name})
BACKGROUND_S = 2.0
"""For how long the box is watched before anything of ours runs."""


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["default", "peers"], default="default")
    parser.add_argument("--rounds", type=int, default=3, help="alternations (3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement (2)")
    parser.add_argument("--workload", action="append", choices=sorted(WORKLOADS), dest="workloads")
    parser.add_argument("--server", action="append", dest="servers", help="only these, by name")
    parser.add_argument("--open", action="store_true", help="open-loop rates on echo as well")
    parser.add_argument("--add", action="store_true", help="keep what was measured, add the rest")
    return parser.parse_args(words)


def groups(arguments: argparse.Namespace) -> list[list[type[Server]]]:
    """Servers that alternate with one another: each beside the yardstick and Headrace."""
    listed: list[list[type[Server]]] = [[*DEFAULT, Headrace, RawNats]]
    if arguments.what == "peers":
        listed += [[PlainAiohttp, peer, Headrace] for peer in OTHERS]
    if arguments.servers:
        wanted = {*arguments.servers, PlainAiohttp.name}
        listed = [[server for server in group if server.name in wanted] for group in listed]
        listed = [group for group in listed if len(group) > 1] or [[PlainAiohttp]]
    return listed


def pending(group: Sequence[type[Server]], workload: str, results: Results) -> list[type[Server]]:
    """Those of the group that serve the workload; none when its peer does not or was measured."""
    serving = [server for server in group if workload in server.workloads]
    peers = {server.name for server in group} - YARDSTICKS
    measured = {s.server for s in results.samples if s.workload == workload}
    left = {server.name for server in serving} & peers - measured
    first = not measured & YARDSTICKS
    return serving if left or first else []


def prepared(group: Sequence[type[Server]], results: Results) -> list[type[Server]]:
    """Those of the group that are installed now."""
    ready = []
    for kind in group:
        server = kind()
        try:
            server.prepare()
            results.versions[server.name] = server.versions()
        except CannotServe as error:
            results.left_out("all", error)
            say(f"left out: {error}")
            continue
        ready.append(kind)
    return ready


def ceiling(seconds: float) -> float:
    """Requests per second the generator reaches when the server does nothing."""
    server = Null()
    server.prepare()
    try:
        target = server.start(WORKLOADS["sleep20"])
        return generator.closed(target, CEILING_CLIENTS, seconds).rate
    finally:
        server.stop()


def run(arguments: argparse.Namespace, results: Results) -> None:
    """Everything asked for that `results` does not hold yet; written down after each part."""
    results.background_percent = max(results.background_percent, psutil.cpu_percent(BACKGROUND_S))
    options: dict[str, Any] = {"rounds": arguments.rounds, "seconds": arguments.seconds, "say": say}
    workloads = arguments.workloads or ["echo", "ridge"]
    for group in groups(arguments):
        ready = prepared(group, results)
        if not results.generator_ceiling and PlainAiohttp in ready:
            results.generator_ceiling = ceiling(arguments.seconds)
        for name in workloads:
            if WORKLOADS[name].connections and (kinds := pending(ready, name, results)):
                say(f"{name}: {', '.join(kind.name for kind in kinds)}")
                servers = [kind() for kind in kinds]
                measure.alternate(servers, WORKLOADS[name], results, **options)
                report.write(results)
    if arguments.open:
        servers = [PlainAiohttp(), AzureServer(), Headrace()]
        measure.open_rates(servers, WORKLOADS["echo"], results, rates=OPEN_RATES, **options)
    if "heavy" in workloads:
        server = Headrace(instances=HEAVY_INSTANCES)
        options["seconds"] = HEAVY_STRETCH * arguments.seconds
        measure.heavy_tail(server, HEAVY_INSTANCES, WORKLOADS["heavy"], results, **options)
    report.write(results)


def main() -> int:
    begun = time.perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every server is stopped
    arguments = parse()
    results = report.read() if arguments.add else Results()
    run(arguments, results)
    say(f"wrote bench/RESULTS.md and bench/results.json, {time.perf_counter() - begun:.0f} s")
    return 0 if results.samples or results.heavy else 1


if __name__ == "__main__":
    sys.exit(main())
