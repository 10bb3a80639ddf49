"""scripts/bench: echo and ridge beside a bare handler and Azure's server; `peers`: the field."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence

import psutil

from bench import generator, measure, report
from bench.headrace_server import Headrace
from bench.measure import Results
from bench.peers import DEFAULT, OTHERS, Null, PlainAiohttp
from bench.servers import CannotServe, Server
from bench.workloads import WORKLOADS

CEILING_CLIENTS = 64
HEAVY_INSTANCES = 4
OPEN_RATES = (500.0, 2_000.0)
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
    return parser.parse_args(words)


def groups(arguments: argparse.Namespace) -> list[list[type[Server]]]:
    """Servers that alternate with one another; each group has the yardstick in it."""
    listed: list[list[type[Server]]] = [[*DEFAULT, Headrace]]
    if arguments.what == "peers":
        listed += [[PlainAiohttp, peer] for peer in OTHERS]
    if arguments.servers:
        wanted = {*arguments.servers, PlainAiohttp.name}
        listed = [[server for server in group if server.name in wanted] for group in listed]
        listed = [group for group in listed if len(group) > 1] or [[PlainAiohttp]]
    return listed


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


def run(arguments: argparse.Namespace) -> Results:
    """Everything asked for, in one go."""
    results = Results()
    results.extra["background_percent"] = psutil.cpu_percent(BACKGROUND_S)
    workloads = arguments.workloads or ["echo", "ridge"]
    closed = [name for name in workloads if WORKLOADS[name].connections]
    for number, group in enumerate(groups(arguments)):
        ready = prepared(group, results)
        say(f"group {', '.join(kind.name for kind in ready)}")
        if number == 0 and PlainAiohttp in ready:
            results.extra["generator_ceiling"] = ceiling(arguments.seconds)
        for name in closed:
            measure.alternate(
                [kind() for kind in ready],
                WORKLOADS[name],
                results,
                rounds=arguments.rounds,
                seconds=arguments.seconds,
                first_round=number * arguments.rounds,
                say=say,
            )
        if arguments.open:
            servers = [kind() for kind in ready]
            options = {"rates": OPEN_RATES, "seconds": arguments.seconds, "say": say}
            measure.open_rates(servers, WORKLOADS["echo"], results, **options)
    if "heavy" in workloads:
        server = Headrace(instances=HEAVY_INSTANCES)
        options = {"seconds": 5 * arguments.seconds, "say": say}
        measure.heavy_tail(server, HEAVY_INSTANCES, WORKLOADS["heavy"], results, **options)
    return results


def main() -> int:
    begun = time.perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every server is stopped
    results = run(parse())
    report.write(results)
    say(f"wrote bench/RESULTS.md and bench/results.json, {time.perf_counter() - begun:.0f} s")
    return 0 if results.samples or results.extra else 1


if __name__ == "__main__":
    sys.exit(main())
