"""What a run measures, what it leaves to do, and how each peer is asked for it."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import measure, report
from bench.__main__ import clients, groups, parse, parts, pending
from bench.generator import Figures, Target
from bench.headrace_server import Headrace
from bench.heavy import draws
from bench.measure import Results, Running, Sample
from bench.peers import (
    DEFAULT,
    OTHERS,
    AiohttpOlderUvloop,
    AzureServer,
    BentoMl,
    FastApi,
    MlServer,
    Mosec,
    PlainAiohttp,
)
from bench.raw_nats import RawNats
from bench.servers import CannotServe, Server
from bench.workloads import OPEN, WORKLOADS, Workload

GROUP: list[type[Server]] = [PlainAiohttp, Mosec, Headrace]
LATENCIES = {"requests": 10, "errors": 0, "p50_ms": 1.0, "p99_ms": 50.0, "p999_ms": 60.0}


def samples(server: str, workload: str, *connections: int) -> list[Sample]:
    return [
        Sample(
            server=server,
            workload=workload,
            connections=count,
            round=0,
            rate=1.0,
            p50_ms=1.0,
            p99_ms=2.0,
            errors=0,
            cpu_us=10.0,
            pss_mb=30.0,
        )
        for count in connections
    ]


def heavy_row(server: str, p99_ms: float = 50.0, errors: int = 0) -> dict[str, Any]:
    seen = LATENCIES | {"p99_ms": p99_ms, "errors": errors}
    row = {"server": server, "instances": 4, "rate": 640.0, "measured": seen}
    return row | {"central_queue": LATENCIES}


def test_a_run_that_adds_measures_what_is_missing_and_nothing_twice(tmp_path: Path) -> None:
    results = Results()
    for name in ("aiohttp", "mosec", "headrace"):
        results.samples += samples(name, "echo", 1, 16, 64)
    results.starts = {"echo": {"up_s": [1.0]}}
    report.write(results, tmp_path)

    again = report.read(tmp_path)

    assert again == results
    assert again.next_round() == 1
    assert pending(GROUP, "echo", again) == []
    assert pending(GROUP, "ridge", again) == GROUP
    other: list[type[Server]] = [PlainAiohttp, BentoMl, Headrace]
    assert pending(other, "echo", again) == other
    default: list[type[Server]] = [PlainAiohttp, AzureServer, Headrace, RawNats]
    assert pending(default, "sleep20", again) == default
    assert pending(default, "bin", again) == default[:3], "nobody sends 1 MB over bare requests"


def test_only_the_missing_numbers_of_clients_are_measured() -> None:
    results = Results()
    for name in ("aiohttp", "mosec", "headrace"):
        results.samples += samples(name, "bin", 1)

    assert clients(GROUP, "bin", results) == [16, 64]


def test_the_heavy_tail_and_the_open_loops_are_continued_as_well() -> None:
    results = Results(heavy=[heavy_row("headrace")])
    results.open_loop = [{"server": name} for name in ("aiohttp", "headrace", "mosec")]

    assert pending(GROUP, "heavy", results) == [Mosec, Headrace], "aiohttp has no such form"
    assert pending(GROUP, OPEN, results) == []
    default: list[type[Server]] = [*DEFAULT, Headrace, RawNats]
    assert pending(default, OPEN, results) == default[:3]

    results.heavy.append(heavy_row("mosec"))
    assert pending(GROUP, "heavy", results) == []
    alone = Results(heavy=[heavy_row("mosec")])
    assert pending([PlainAiohttp, Mosec], "heavy", alone) == []
    assert pending(GROUP, "heavy", alone) == [Mosec, Headrace]


def test_peers_means_every_workload_and_the_open_loops_unless_some_are_named() -> None:
    assert parts(parse(["peers"])) == [*WORKLOADS, OPEN]
    assert parts(parse([])) == ["echo", "ridge"]
    assert parts(parse(["peers", "--workload", "bin"])) == ["bin"]
    assert parts(parse(["--open"])) == ["echo", "ridge", OPEN]


def test_every_peer_is_asked_for_every_workload() -> None:
    every = {*WORKLOADS, OPEN}
    peers = {*DEFAULT, *OTHERS} - {AiohttpOlderUvloop}  # a yardstick for two targets alone
    for peer in peers:
        assert every - peer.workloads == ({"heavy"} if peer is PlainAiohttp else set())
    asked = groups(parse(["peers"]))
    assert [group[1] for group in asked] == [AzureServer, *OTHERS]
    assert all(PlainAiohttp in group and Headrace in group for group in asked)


@pytest.mark.parametrize(
    ("peer", "sleep20", "heavy"), [(Mosec, 16, 4), (AzureServer, 16, 4), (FastApi, 1, 4)]
)
def test_a_peer_gets_the_workers_that_a_workload_needs(
    peer: type[Mosec], sleep20: int, heavy: int
) -> None:
    assert peer().workers(WORKLOADS["echo"]) == 1
    assert peer().workers(WORKLOADS["sleep20"]) == sleep20
    assert peer().workers(WORKLOADS["heavy"]) == heavy


def test_the_draws_of_a_seed_reach_each_server_in_its_own_wrapping() -> None:
    load, workload = draws(3, 640.0, 0.5, 4), WORKLOADS["heavy"]
    plain = [json.loads(body) for body in load.bodies(FastApi(), workload)]
    wrapped = [json.loads(body)["payload"] for body in load.bodies(BentoMl(), workload)]
    tensors = [json.loads(body)["inputs"][0]["data"] for body in load.bodies(MlServer(), workload)]

    assert load == draws(3, 640.0, 0.5, 4)
    assert plain == wrapped == [json.loads(text) for (text,) in tensors]
    assert [each["sleep_s"] for each in plain] == load.services_s


def test_bytes_are_right_as_they_are_or_as_base64() -> None:
    workload = WORKLOADS["bin"]
    text = base64.b64encode(workload.body).decode()

    assert (
        MlServer().body(workload)
        == json.dumps(
            {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": [text]}]}
        ).encode()
    )
    assert workload.is_right(workload.body)
    assert workload.is_right(json.dumps({"outputs": [{"data": [text]}]}).encode())
    assert not workload.is_right(json.dumps({"outputs": [{"data": [text[:-8]]}]}).encode())


def test_the_heavy_tail_is_a_table_with_headrace_first(tmp_path: Path) -> None:
    results = Results(
        heavy=[heavy_row("mosec", 75.0, errors=2), heavy_row("headrace"), heavy_row("headrace", 60)]
    )

    report.write(results, tmp_path)

    text = (tmp_path / "RESULTS.md").read_text()
    ours, theirs = text.index("| headrace | 1.10 ± 0.10 |"), text.index("| mosec | 1.50 ± 0.00 |")
    assert ours < theirs
    assert "2 of 12 |" in text
    assert "p99 / simulated central queue's | 1.10 ± 0.10 | <= 1.2 | <= 1.1 | aim |" in text


def test_who_was_left_out_is_noted_once_and_no_more_when_it_served() -> None:
    results = Results()
    results.left_out("bin", CannotServe("mosec", "no port"))
    results.left_out("bin", CannotServe("mosec", "no memory"))
    results.left_out("bin", CannotServe("bentoml", "no port"))
    assert results.failures == ["bin: mosec: mosec: no memory", "bin: bentoml: bentoml: no port"]

    results.served("bin", "mosec")

    assert results.failures == ["bin: bentoml: bentoml: no port"]


class Here(Server):
    """A server that answers `left` more times."""

    name = "here"

    def __init__(self, left: int) -> None:
        super().__init__()
        self._left = left

    def prepare(self) -> None: ...

    def versions(self) -> dict[str, str]:
        return {}

    def start(self, workload: Workload) -> Target:
        return Target(url="", body=workload.body, headers={})

    def stop(self) -> None: ...

    def closed(self, target: Target, connections: int, seconds: float) -> Figures:
        self._left -= 1
        if self._left < 0:
            raise subprocess.CalledProcessError(1, "generator", stderr=b"unable to connect")
        return Figures(requests=10, seconds=1.0, errors=0, p50_ms=1.0, p99_ms=1.0)


def test_a_server_that_ends_in_the_middle_is_noted_and_the_others_go_on() -> None:
    results, lasting = Results(), Here(100)
    lasting.name = "lasting"  # type: ignore[misc]

    measure.alternate(
        [Here(2), lasting],
        replace(WORKLOADS["echo"], connections=(1, 16)),
        results,
        connections=[1, 16],
        rounds=2,
        seconds=0.1,
        say=lambda line: None,
    )

    assert results.measured("echo", 1) == {"here", "lasting"}
    assert results.measured("echo", 16) == {"lasting"}
    (said,) = results.failures
    assert said.startswith("echo: here: ")
    assert said.endswith("unable to connect")


def test_in_turn_drops_nobody_who_answers() -> None:
    target = Target(url="", body=b"", headers={})
    running: Running = [(Here(1), target), (Here(1), target)]

    measure.in_turn(running, "echo", Results(), print, lambda server, to: None)

    assert len(running) == 2
