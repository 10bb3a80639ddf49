"""bench/RESULTS.md and bench/results.json: medians, spreads, ratios, and what does not fit."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import psutil

from bench import generator
from bench.measure import Results
from bench.servers import BENCH
from bench.targets import BASE, CLIENTS, OURS, Line, against_the_field, others, over_the_queue
from bench.workloads import WORKLOADS

TOLERANCE: Final = 0.2
MAX_BACKGROUND_PERCENT: Final = 10.0
"""Of all cores, by other work before the run; above it the report says so."""
REFERENCE: Final[Mapping[tuple[str, str], tuple[float, float]]] = {
    ("mosec", "echo"): (0.38, 0.51),
    ("fastapi", "echo"): (0.34, 0.34),
    ("ray-serve", "echo"): (0.30, 0.30),
    ("mlserver", "echo"): (0.15, 0.15),
    ("azureml-inference-server-http", "echo"): (0.09, 0.09),
    ("litserve", "echo"): (0.06, 0.06),
    ("bentoml", "echo"): (0.05, 0.05),
    ("mosec", "ridge"): (0.62, 0.62),
    ("fastapi", "ridge"): (0.59, 0.59),
    ("mlserver", "ridge"): (0.30, 0.30),
    ("azureml-inference-server-http", "ridge"): (0.21, 0.21),
    ("litserve", "ridge"): (0.22, 0.22),
    ("bentoml", "ridge"): (0.14, 0.14),
}
"""Rate against plain aiohttp with 64 clients, from the measurement the targets were set by."""
REFERENCE_CPU_US: Final[Mapping[str, str]] = {
    "aiohttp": "35",
    "mosec": "92 to 107",
    "fastapi": "104 to 110",
    "ray-serve": "208",
    "mlserver": "245",
    "azureml-inference-server-http": "420 to 430",
    "litserve": "670 to 750",
    "bentoml": "770 to 855",
}
"""Processor time in microseconds per echo there."""


def write(results: Results, folder: Path = BENCH) -> None:
    """Both files, into `folder`."""
    text = "\n".join(part for each in _PARTS for part in each(results)) + "\n"
    (folder / "RESULTS.md").write_text(text)
    (folder / "results.json").write_text(
        json.dumps(results.as_json() | {"box": box(), "generator": generator.name()}, indent=1)
    )


def read(folder: Path = BENCH) -> Results:
    """What `write` wrote; nothing when it never did."""
    file = folder / "results.json"
    return Results.from_json(json.loads(file.read_text())) if file.is_file() else Results()


def box() -> dict[str, str | int]:
    """The machine, without its name."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _head(results: Results) -> Iterator[str]:
    facts = box()
    yield "# Results"
    yield ""
    yield (
        f"{facts['date']}, {facts['cores']} cores of {facts['processor']}, "
        f"{facts['memory_gb']} GB, {facts['system']}, Python {facts['python']}. "
        f"Closed loops by {generator.name()}, "
        "on the same cores as the servers: read ratios and CPU per request, not absolute rates. "
        "Servers alternate within a round; figures are medians over rounds, ± is half the range."
    )
    yield ""
    for server, versions in results.versions.items():
        listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        yield f"* {server}: {listed}"
    if (busy := results.background_percent) > MAX_BACKGROUND_PERCENT:
        yield f"* **other work took {busy:.0f} % of the box before the run: measure again**"
    if ceiling := results.generator_ceiling:
        yield f"* the generator reaches {ceiling:,.0f}/s with {CLIENTS} clients on a null server"
    yield ""


def _targets(results: Results) -> Iterator[str]:
    """In front, as this is what a reader came for."""
    title = f"Against the field: Headrace's rate over theirs, {CLIENTS} clients"
    yield from _lines(title, "workload, server", against_the_field(results))
    yield from _lines("Other targets of the online path", "what", others(results))
    yield from _heavy(results)


def _tables(results: Results) -> Iterator[str]:
    points = {(s.workload, s.connections) for s in results.samples}
    for workload, connections in sorted(points):
        yield f"## {workload}, {connections} client{'s' if connections > 1 else ''}"
        yield ""
        if note := WORKLOADS[workload].note:
            yield note
            yield ""
        yield f"| server | per second | x {BASE} | p50 ms | p99 ms | CPU us/req | PSS MB | errors |"
        yield "|---|---|---|---|---|---|---|---|"
        servers = {s.server: None for s in results.samples if s.workload == workload}
        for server in servers:
            yield from _row(results, server, workload, connections)
        yield ""
    if results.cold_start_s:
        yield "## Cold start: process start to first right answer"
        yield ""
        yield "| server | s |"
        yield "|---|---|"
        for server, values in results.cold_start_s.items():
            yield f"| {server} | {statistics.median(values):.2f} |"
        yield ""


def _row(results: Results, server: str, workload: str, connections: int) -> Iterator[str]:
    samples = results.of(server, workload, connections)
    if not samples:
        return
    ratios = results.ratios(server, BASE, workload, connections)
    cells = [
        server,
        _spread([s.rate for s in samples], ",.0f"),
        _spread(ratios, ".2f"),
        _spread([s.p50_ms for s in samples], ".2f"),
        _spread([s.p99_ms for s in samples], ".2f"),
        _spread([s.cpu_us for s in samples], ".0f"),
        f"{statistics.median(s.pss_mb for s in samples):.0f}",
        str(sum(s.errors for s in samples)),
    ]
    yield f"| {' | '.join(cells)} |"


def _lines(title: str, column: str, lines: Iterable[Line]) -> Iterator[str]:
    """What was asked for beside what was seen; a miss stays."""
    yield f"## {title}"
    yield ""
    yield f"| {column} | seen | must | aim | reached |"
    yield "|---|---|---|---|---|"
    for line in lines:
        asked = [
            "" if bound is None else f"{'<= ' if line.at_most else ''}{bound:g}"
            for bound in (line.must, line.aim)
        ]
        seen = _spread(line.values, line.form) if line.values else "not measured"
        yield f"| {' | '.join([line.what, seen, *asked, line.reached])} |"
    yield ""


def _open_loop(results: Results) -> Iterator[str]:
    if not results.open_loop:
        return
    yield "## echo, open loop: latency from when a request was due"
    yield ""
    yield "| per second | server | p50 ms | p99 ms | p99.9 ms | errors of requests |"
    yield "|---|---|---|---|---|---|"
    points = {(row["rate"], row["server"]): None for row in results.open_loop}
    for rate, server in sorted(points, key=lambda point: point[0]):
        rows = [r for r in results.open_loop if (r["rate"], r["server"]) == (rate, server)]
        cells = [f"{rate:,.0f}", server]
        cells += [_spread([r[f] for r in rows], ".2f") for f in ("p50_ms", "p99_ms", "p999_ms")]
        errors = sum(row["errors"] for row in rows)
        cells.append(f"{errors} of {errors + sum(row['requests'] for row in rows)}")
        yield f"| {' | '.join(cells)} |"
    yield ""


def _heavy(results: Results) -> Iterator[str]:
    if not results.heavy:
        return
    first = results.heavy[0]
    yield f"## Heavy tail: open loop at {first['rate']:.0f} requests a second"
    yield ""
    yield (
        f"{first['instances']} scorers of one run at a time; runs are lognormal, mean 5 ms, sigma "
        "1.5; latency from when a request was due. The queue is a simulated central one of the "
        f"same draws. {BASE} has no form with several scorers."
    )
    yield ""
    yield (
        "| server | p99 / queue's p99 | p50 ms | p99 ms | queue's p50 | queue's p99 | runs | "
        "errors of requests |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    servers = {OURS: None} | {row["server"]: None for row in results.heavy}
    for server in servers:
        yield from _heavy_row(results, server)
    yield ""


def _heavy_row(results: Results, server: str) -> Iterator[str]:
    rows = [row for row in results.heavy if row["server"] == server]
    if not rows:
        return
    cells = [server, _spread(over_the_queue(results, server), ".2f")]
    for of in ("measured", "central_queue"):
        cells += [_spread([row[of][q] for row in rows], ".1f") for q in ("p50_ms", "p99_ms")]
    errors = sum(row["measured"]["errors"] for row in rows)
    asked = errors + sum(row["measured"]["requests"] for row in rows)
    yield f"| {' | '.join([*cells, str(len(rows)), f'{errors} of {asked}'])} |"


def _notes(results: Results) -> Iterator[str]:
    off = list(deviations(results))
    if off or results.failures:
        yield "## Notes"
        yield ""
    for server, workload, measured, low, high in off:
        expected = f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"
        why = EXPLANATIONS.get((server, workload), "Not explained yet.")
        costs = _costs(results, server, workload)
        yield (
            f"* {server}, {workload}: {measured:.2f} x {BASE}; before it was {expected}. "
            f"{costs} {why}"
        )
    for failure in results.failures:
        yield f"* left out of {failure}"


def _costs(results: Results, server: str, workload: str) -> str:
    """What a request costs the server and the bare handler in the same rounds."""
    samples = results.of(server, workload, CLIENTS)
    rounds = {sample.round for sample in samples}
    base = [s for s in results.of(BASE, workload, CLIENTS) if s.round in rounds]
    costs, parts = [], []
    for name, of in ((BASE, base), (server, samples)):
        before = f" (before {REFERENCE_CPU_US[name]})" if workload == "echo" else ""
        costs.append(statistics.median(sample.cpu_us for sample in of))
        parts.append(f"{name} {costs[-1]:.0f}{before}")
    return f"CPU us a request: {', '.join(parts)}; their quotient {costs[0] / costs[1]:.2f}."


_RIDGE: Final = (
    "The model costs more here (ridge less echo by the bare handler's CPU: 130 to 200 us by the "
    "round, 100 where the reference was measured), so a server's own cost weighs less"
)
_WAKES: Final = (
    "By the yardstick: the handler's uvloop writes each answer at once and wakes the generator for "
    "each; with uvloop 0.21 (aiohttp+uvloop0.21 above) it answers a third more, and the ratio to "
    "that is the reference's."
)
EXPLANATIONS: Final[Mapping[tuple[str, str], str]] = {
    ("azureml-inference-server-http", "ridge"): f"{_RIDGE}.",
    ("fastapi", "ridge"): f"{_RIDGE}: 44 us above the handler on an echo, 40 on ridge.",
    ("mlserver", "ridge"): f"{_RIDGE}.",
    ("mosec", "ridge"): f"{_RIDGE}.",
    ("bentoml", "ridge"): f"{_RIDGE}.",
    ("fastapi", "echo"): _WAKES,
    ("mlserver", "echo"): _WAKES,
    ("ray-serve", "echo"): (
        "Of this run alone: five hours before, on the same box, 0.29 at 202 us. Not taken apart."
    ),
    ("litserve", "echo"): f"{_WAKES} Its own cost was 988 us five hours before.",
}
"""Why a ratio differs from REFERENCE, where it was looked into."""


def deviations(results: Results) -> Iterator[tuple[str, str, float, float, float]]:
    """Server, workload, ratio and the expected range, where it is missed by over a fifth."""
    for (server, workload), (low, high) in REFERENCE.items():
        ratios = results.ratios(server, BASE, workload, CLIENTS)
        if not ratios:
            continue
        ratio = statistics.median(ratios)
        if not low * (1 - TOLERANCE) <= ratio <= high * (1 + TOLERANCE):
            yield server, workload, ratio, low, high


def _spread(values: list[float], form: str) -> str:
    if not values:
        return "-"
    half = (max(values) - min(values)) / 2
    return f"{statistics.median(values):{form}} ± {half:{form}}"


_PARTS: Final = (_head, _targets, _tables, _open_loop, _notes)
