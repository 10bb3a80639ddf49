"""scripts/bench: echo and ridge beside a bare handler and Azure's server.

`peers`: the whole field, every workload and open-loop rates unless `--workload` names some.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence, Set

import psutil

from bench import generator, heavy, measure, report
from bench.headrace_server import Headrace
from bench.measure import Results
from bench.peers import DEFAULT, OTHERS, Null, PlainAiohttp
from bench.raw_nats import RawNats
from bench.servers import CannotServe, Server
from bench.workloads import OPEN, WORKLOADS

CEILING_CLIENTS = 64
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


def parts(arguments: argparse.Namespace) -> list[str]:
    """Workloads, and OPEN for the open loops, in the order in which they are measured."""
    everything = arguments.what == "peers" and not arguments.workloads
    named = arguments.workloads or (list(WORKLOADS) if everything else ["echo", "ridge"])
    return [*named, OPEN] if arguments.open or everything else named


def serving(group: Sequence[type[Server]], part: str) -> list[type[Server]]:
    return [server for server in group if part in server.workloads]


def is_left(group: Sequence[type[Server]], part: str, measured: Set[str]) -> bool:
    """Whether a peer of the group that serves the part has no figures, or no yardstick has any."""
    names = {server.name for server in serving(group, part)}
    first = bool(names & YARDSTICKS) and not measured & YARDSTICKS
    return first or bool(names - YARDSTICKS - measured)


def clients(group: Sequence[type[Server]], workload: str, results: Results) -> list[int]:
    """Of the workload's numbers of clients those that the group was not measured with."""
    return [
        count
        for count in WORKLOADS[workload].connections
        if is_left(group, workload, results.measured(workload, count))
    ]


def pending(group: Sequence[type[Server]], part: str, results: Results) -> list[type[Server]]:
    """Those of the group that serve the part; none when there is nothing left to measure."""
    closed = part != OPEN and WORKLOADS[part].connections
    if closed:
        left = bool(clients(group, part, results))
    else:
        left = is_left(group, part, results.measured(part))
    return serving(group, part) if left else []


def prepared(group: Sequence[type[Server]], results: Results) -> list[type[Server]]:
    """Those of the group that are installed now."""
    ready = []
    for kind in group:
        server = kind()
        try:
            server.prepare()
            results.versions[server.name] = server.versions()
            results.served("all", server.name)
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


def measure_part(
    group: Sequence[type[Server]], part: str, arguments: argparse.Namespace, results: Results
) -> None:
    """All that `results` lacks of one workload, or of the open loops, for one group."""
    kinds = pending(group, part, results)
    if not kinds:
        return
    say(f"{part}: {', '.join(kind.name for kind in kinds)}")
    servers = [kind() for kind in kinds]
    rounds, seconds = arguments.rounds, arguments.seconds
    if part == OPEN:
        echo = WORKLOADS["echo"]
        measure.open_rates(
            servers, echo, results, rates=OPEN_RATES, rounds=rounds, seconds=seconds, say=say
        )
    elif part == "heavy":
        longer = HEAVY_STRETCH * seconds
        heavy.tail(servers, WORKLOADS[part], results, rounds=rounds, seconds=longer, say=say)
    else:
        counts = clients(group, part, results)
        measure.alternate(
            servers,
            WORKLOADS[part],
            results,
            connections=counts,
            rounds=rounds,
            seconds=seconds,
            say=say,
        )
    report.write(results)


def run(arguments: argparse.Namespace, results: Results) -> None:
    """Everything asked for that `results` does not hold yet; written down after each part."""
    results.background_percent = max(results.background_percent, psutil.cpu_percent(BACKGROUND_S))
    for group in groups(arguments):
        ready = prepared(group, results)
        if not results.generator_ceiling and PlainAiohttp in ready:
            results.generator_ceiling = ceiling(arguments.seconds)
        for part in parts(arguments):
            measure_part(ready, part, arguments, results)
    report.write(results)


def main() -> int:
    begun = time.perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every server is stopped
    arguments = parse()
    results = report.read() if arguments.add else Results()
    run(arguments, results)
    say(f"wrote bench/RESULTS.md and bench/results.json, {time.perf_counter() - begun:.0f} s")
    return 0 if results.samples or results.heavy or results.open_loop else 1


if __name__ == "__main__":
    sys.exit(main())
