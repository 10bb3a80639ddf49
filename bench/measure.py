"""One alternating run: A B C, A B C, …; each sample with CPU and memory of all server processes."""

from __future__ import annotations

import re
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from typing import Any, Final

from bench import generator, processes
from bench.load import quantile
from bench.servers import CannotServe, Server
from bench.workloads import OPEN, Workload

WARM_UP_S: Final = 1.0

Say = Callable[[str], None]
Running = list[tuple[Server, generator.Target]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One server, one workload, one number of clients, one round."""

    server: str
    workload: str
    connections: int
    round: int
    rate: float
    """Right answers per second."""
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float
    """Processor time of all server processes per request, in microseconds."""
    pss_mb: float


@dataclass(slots=True, kw_only=True)
class Results:
    """All samples of a run and what was learned beside them."""

    samples: list[Sample] = field(default_factory=list)
    cold_start_s: dict[str, list[float]] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    starts: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Headrace's own figures at its start, by workload and name."""
    open_loop: list[dict[str, Any]] = field(default_factory=list)
    heavy: list[dict[str, Any]] = field(default_factory=list)
    generator_ceiling: float = 0.0
    background_percent: float = 0.0

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Results:
        known = {each.name: raw[each.name] for each in fields(cls) if each.name in raw}
        return cls(**known | {"samples": [Sample(**sample) for sample in raw["samples"]]})

    def of(self, server: str, workload: str, connections: int) -> list[Sample]:
        wanted = (server, workload, connections)
        return [s for s in self.samples if (s.server, s.workload, s.connections) == wanted]

    def ratios(self, server: str, base: str, workload: str, connections: int) -> list[float]:
        """Rate against the base's in the same round of the same group."""
        return self._paired("rate", server, base, workload, connections)

    def p50_ratios(self, server: str, base: str, workload: str, connections: int) -> list[float]:
        """Median latency against the base's in the same round."""
        return self._paired("p50_ms", server, base, workload, connections)

    def _paired(
        self, figure: str, server: str, base: str, workload: str, connections: int
    ) -> list[float]:
        theirs = {s.round: getattr(s, figure) for s in self.of(base, workload, connections)}
        mine = self.of(server, workload, connections)
        return [getattr(s, figure) / theirs[s.round] for s in mine if theirs.get(s.round)]

    def next_round(self) -> int:
        """A number no sample has yet."""
        return 1 + max((sample.round for sample in self.samples), default=-1)

    def left_out(self, of_what: str, error: CannotServe) -> None:
        """Note it on one line, without the folders of this machine; once, however often tried."""
        self.served(of_what, error.server)
        last = str(error).strip().splitlines()[-1]
        self.failures.append(f"{of_what}: {error.server}: " + re.sub(r"/\S+/", "…/", last)[:200])

    def served(self, of_what: str, server: str) -> None:
        """It was left out before and is not now."""
        start = f"{of_what}: {server}: "
        self.failures = [each for each in self.failures if not each.startswith(start)]

    def measured(self, what: str, connections: int = 0) -> set[str]:
        """Servers with figures of a workload, or of `OPEN`; with so many clients if it has any."""
        if what == OPEN:
            return {row["server"] for row in self.open_loop}
        if what == "heavy":
            return {row["server"] for row in self.heavy}
        wanted = (what, connections)
        return {s.server for s in self.samples if (s.workload, s.connections) == wanted}

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@contextmanager
def started(
    servers: Sequence[Server], workload: Workload, results: Results, say: Say
) -> Iterator[Running]:
    """Start all that can serve the workload; those that cannot are noted and left out."""
    with ExitStack() as stack:
        running: Running = []
        for server in servers:
            try:
                stack.callback(server.stop)
                target = server.start(workload)
            except CannotServe as error:
                results.left_out(workload.name, error)
                say(f"  left out: {error}")
                continue
            results.served(workload.name, server.name)
            _note_start(server, workload, results)
            running.append((server, target))
        yield running


def _note_start(server: Server, workload: Workload, results: Results) -> None:
    alone = workload.instances == workload.capacity == 1  # else some start many workers
    if server.cold_start_s and (alone or server.figures):
        results.cold_start_s.setdefault(server.name, []).append(server.cold_start_s)
    for name, figure in server.figures.items():
        of_workload = results.starts.setdefault(workload.name, {})
        of_workload.setdefault(name, []).append(figure)


def in_turn(
    running: Running,
    of_what: str,
    results: Results,
    say: Say,
    ask: Callable[[Server, generator.Target], None],
) -> None:
    """Ask each server; one that cannot be asked any more is noted and drops out of `running`."""
    for server, target in tuple(running):
        try:
            ask(server, target)
        except subprocess.SubprocessError as error:
            said = getattr(error, "stderr", None) or str(error)
            text = said.decode(errors="replace") if isinstance(said, bytes) else said
            left = CannotServe(server.name, f"cannot be asked any more: {text}")
            results.left_out(of_what, left)
            say(f"  left out: {left}")
            running.remove((server, target))


def alternate(
    servers: Sequence[Server],
    workload: Workload,
    results: Results,
    *,
    connections: Sequence[int],
    rounds: int,
    seconds: float,
    say: Say,
) -> None:
    """Closed loops over all servers in turn, `rounds` times for each number of clients."""
    first_round = results.next_round()
    seconds = max(seconds, workload.min_seconds)
    with started(servers, workload, results, say) as running:

        def warm_up(server: Server, target: generator.Target) -> None:
            server.closed(target, max(connections), WARM_UP_S)

        in_turn(running, workload.name, results, say, warm_up)
        for clients in connections:
            for number in range(first_round, first_round + rounds):

                def ask(
                    server: Server, target: generator.Target, n: int = number, c: int = clients
                ) -> None:
                    results.samples.append(_sample(server, target, workload, c, n, seconds))

                in_turn(running, workload.name, results, say, ask)
            for server, _ in running:
                rates = [s.rate for s in results.of(server.name, workload.name, clients)]
                rate = statistics.median(rates[-rounds:])
                say(f"  {workload.name:8} c={clients:<3} {server.name:30} {rate:9,.0f}/s")


def _sample(
    server: Server,
    target: generator.Target,
    workload: Workload,
    connections: int,
    number: int,
    seconds: float,
) -> Sample:
    alive = server.processes()
    before = processes.cpu_s(alive)
    figures = server.closed(target, connections, seconds)
    used_s = processes.cpu_s(alive) - before
    answered = max(1, figures.requests - figures.errors)
    return Sample(
        server=server.name,
        workload=workload.name,
        connections=connections,
        round=number,
        rate=figures.rate,
        p50_ms=figures.p50_ms,
        p99_ms=figures.p99_ms,
        errors=figures.errors,
        cpu_us=1e6 * used_s / answered,
        pss_mb=processes.pss_mb(alive),
    )


def open_rates(
    servers: Sequence[Server],
    workload: Workload,
    results: Results,
    *,
    rates: Sequence[float],
    rounds: int,
    seconds: float,
    say: Say,
) -> None:
    """Open loop at fixed rates, the servers in turn; latency counts from when a request was due.

    A rate that a server cannot carry ends `load.DRAIN_BOUND_S` after its last request was due: what
    has no answer by then is an error.
    """
    with started(servers, workload, results, say) as running:
        for rate, number in product(rates, range(rounds)):

            def ask(
                server: Server, target: generator.Target, rate: float = rate, n: int = number
            ) -> None:
                outcome = generator.open_loop(target, rate, seconds, seed=n)
                row = {"server": server.name, "workload": workload.name, "rate": rate}
                row |= latencies(outcome.latencies_s, outcome.errors)
                results.open_loop.append(row)
                say(f"  {workload.name} at {rate:,.0f}/s  {server.name:30} {row}")

            in_turn(running, OPEN, results, say, ask)


def latencies(latencies_s: Sequence[float], errors: int) -> dict[str, float]:
    ordered = sorted(latencies_s)
    return {
        "requests": len(ordered),
        "errors": errors,
        "p50_ms": round(1000 * quantile(ordered, 0.5), 3),
        "p99_ms": round(1000 * quantile(ordered, 0.99), 3),
        "p999_ms": round(1000 * quantile(ordered, 0.999), 3),
    }
