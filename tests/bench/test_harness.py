"""The harness tells the truth: about queues, about stalls, about what failed."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench import generator, heavy, load, report, targets
from bench.generator import Target
from bench.load import ClosedLoop, OpenLoop, Plan
from bench.measure import Results, Sample
from bench.raw_nats import RawNats
from bench.targets import Line
from bench.workloads import WORKLOADS

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
Answer = Callable[[int], Awaitable[bytes]]
SHORT_S = 1.0  # of a load; longer than the machine stands still


@pytest.fixture(params=["wrk", generator.OWN])
def closed_loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both generators in turn."""
    if request.param != "wrk":
        monkeypatch.setenv("PATH", "")
    elif generator.name() != "wrk":
        pytest.skip("wrk is not installed: closed loops use our own generator")


@asynccontextmanager
async def serving(answer: Answer, *, once: bool = False) -> AsyncIterator[int]:
    """A server that gives `answer(n)` to its n-th request; yields its port.

    `once`: it closes each connection after an answer.
    """
    served = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            served += 1
            writer.write(await answer(served))
            if once:
                return

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(handle(reader, writer))
        tasks.append(task)
        task.add_done_callback(lambda _: writer.close())

    tasks: list[asyncio.Future[None]] = []
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def plan(port: int, **more: float) -> Plan:
    return Plan(host="127.0.0.1", port=port, path="/", body="{}", headers={}, **more)  # type: ignore[arg-type]


async def run(loop: ClosedLoop | OpenLoop) -> load.Outcome:
    outcome = await loop.run()
    for connection in loop.all:
        connection.close()
    return outcome


@pytest.mark.parametrize("body", [OK, CHUNKED], ids=["length", "chunked"])
async def test_a_closed_loop_has_as_many_requests_open_as_clients(body: bytes) -> None:
    open_now, most = 0, 0

    async def answer(number: int) -> bytes:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.005)
        open_now -= 1
        return body

    async with serving(answer) as port:
        outcome = await run(ClosedLoop(plan(port, connections=8, seconds=SHORT_S)))

    assert most == 8
    assert outcome.errors == 0
    assert len(outcome.latencies_s) > 8


async def test_an_answer_that_is_not_200_is_an_error() -> None:
    async def answer(number: int) -> bytes:
        return OK if number % 2 else BUSY

    async with serving(answer) as port:
        outcome = await run(ClosedLoop(plan(port, connections=1, seconds=SHORT_S)))

    assert abs(outcome.errors - len(outcome.latencies_s)) <= 1
    assert outcome.refused == outcome.errors
    assert outcome.first_error.startswith("HTTP/1.1 429")


async def test_an_open_loop_counts_the_wait_that_a_stall_imposes_on_later_requests() -> None:
    """A closed loop would see one slow request; those that were due meanwhile waited as well."""
    stalls: list[asyncio.Task[None]] = []

    async def answer(number: int) -> bytes:
        if not stalls:  # from the first request on, however late that is
            stalls.append(asyncio.create_task(asyncio.sleep(0.4)))
        await asyncio.wait(stalls)
        return OK

    async with serving(answer) as port:
        outcome = await run(OpenLoop(plan(port, rate=200.0, seconds=0.4, seed=3)))

    assert outcome.errors == 0
    assert len(outcome.latencies_s) == len(load.arrivals(200.0, 0.4, 3))
    assert statistics.median(outcome.latencies_s) > 0.1


async def test_an_open_loop_may_be_told_when_each_request_is_due() -> None:
    came: list[float] = []

    async def answer(number: int) -> bytes:
        came.append(time.perf_counter())
        return OK

    async with serving(answer) as port:
        outcome = await run(OpenLoop(plan(port, due_s=(0.05, 0.05 + SHORT_S), seconds=2 * SHORT_S)))  # type: ignore[arg-type]

    assert len(outcome.latencies_s) == 2
    assert came[1] - came[0] > 0.1


def test_arrivals_keep_the_rate_and_repeat_for_a_seed() -> None:
    offsets = load.arrivals(1_000.0, 10.0, seed=5)

    assert offsets == load.arrivals(1_000.0, 10.0, seed=5)
    assert len(offsets) == pytest.approx(10_000, rel=0.05)
    assert offsets == sorted(offsets)


def test_heavy_services_have_the_mean_that_the_rate_is_set_by() -> None:
    services = heavy.services(5_000, seed=2)

    assert statistics.fmean(services) == pytest.approx(heavy.MEAN_S)
    assert max(services) > 20 * statistics.median(services)


@pytest.mark.usefixtures("closed_loops")
async def test_a_generator_counts_what_the_server_answered() -> None:
    clients, served = 4, 0

    async def answer(number: int) -> bytes:
        nonlocal served
        served = number
        await asyncio.sleep(0.01)
        return OK

    async with serving(answer) as port:
        target = Target(url=f"http://127.0.0.1:{port}/", body=b"{}", headers={"X-Key": "a b"})
        figures = await asyncio.to_thread(generator.closed, target, clients, 1.0)

    assert figures.errors == 0
    assert served - 2 * clients <= figures.requests <= served
    assert figures.p50_ms >= 10


@pytest.mark.usefixtures("closed_loops")
async def test_a_closed_loop_s_rate_is_that_of_right_answers() -> None:
    async def answer(number: int) -> bytes:
        await asyncio.sleep(0.001)
        return OK if number % 4 else BUSY

    async with serving(answer) as port:
        target = Target(url=f"http://127.0.0.1:{port}/", body=b"{}", headers={})
        figures = await asyncio.to_thread(generator.closed, target, 64, 1.0)

    assert figures.errors == pytest.approx(figures.requests / 4, abs=64)
    assert figures.rate * figures.seconds == pytest.approx(figures.requests - figures.errors)


async def test_an_open_loop_ends_though_the_server_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What has no answer by then is an error, once."""
    monkeypatch.setattr(load, "DRAIN_BOUND_S", 0.3)
    never = asyncio.Event()

    async def answer(number: int) -> bytes:
        if number > 20:
            await never.wait()
        return OK if number % 2 else BUSY

    async with serving(answer) as port:
        outcome = await run(OpenLoop(plan(port, rate=200.0, seconds=0.5)))

    asked = len(load.arrivals(200.0, 0.5, 0))
    assert asked > 20
    assert len(outcome.latencies_s) == 10
    assert outcome.errors == asked - 10


def sample(server: str, number: int, rate: float) -> Sample:
    return Sample(
        server=server,
        workload="echo",
        connections=64,
        round=number,
        rate=rate,
        p50_ms=1.0,
        p99_ms=2.0,
        errors=0,
        cpu_us=10.0,
        pss_mb=30.0,
    )


def test_ratios_are_taken_within_a_round() -> None:
    """Both servers slow down together on a busy box; their ratio stays."""
    results = Results()
    for number, speed in enumerate((1.0, 0.5, 0.8)):
        results.samples += [
            sample("aiohttp", number, 1000 * speed),
            sample("x", number, 400 * speed),
        ]

    assert results.ratios("x", "aiohttp", "echo", 64) == pytest.approx([0.4, 0.4, 0.4])


def test_a_ratio_that_is_over_a_fifth_off_the_reference_is_noted(tmp_path: Path) -> None:
    results = Results()
    results.samples = [
        sample("aiohttp", 0, 1000),
        sample("fastapi", 0, 340),
        sample("mosec", 0, 200),
    ]

    report.write(results, tmp_path)

    text = (tmp_path / "RESULTS.md").read_text()
    assert "* mosec, echo: 0.20 x aiohttp" in text
    assert "* fastapi" not in text
    assert len(json.loads((tmp_path / "results.json").read_text())["samples"]) == 3


def test_a_wrong_answer_is_not_taken_for_a_right_one() -> None:
    assert WORKLOADS["echo"].is_right(WORKLOADS["echo"].body)
    assert not WORKLOADS["echo"].is_right(b"{}")
    assert WORKLOADS["ridge"].is_right(b"[29.5, 58.0]")
    assert not WORKLOADS["ridge"].is_right(b"[1.0, 2.0]")
    assert not WORKLOADS["bin"].is_right(b"cut off")


@pytest.mark.parametrize("seed", [1, 2])
async def test_an_open_loop_sends_the_arrivals_that_a_simulation_of_its_seed_sees(
    seed: int,
) -> None:
    async def answer(number: int) -> bytes:
        return OK

    async with serving(answer) as port:
        target = Target(url=f"http://127.0.0.1:{port}/", body=b"{}", headers={})
        outcome = await asyncio.to_thread(generator.open_loop, target, 200.0, 0.5, seed=seed)

    counts = [len(load.arrivals(200.0, 0.5, each)) for each in (0, 1, 2)]
    assert len(set(counts)) == 3
    assert outcome.errors == 0
    assert len(outcome.latencies_s) == counts[seed]


def test_a_target_is_judged_by_the_median_and_a_miss_stays_in_the_table(tmp_path: Path) -> None:
    results = Results(versions={"aiohttp": {}, "mosec": {}, "headrace": {}})
    for number, ours in enumerate((300.0, 500.0, 310.0)):
        results.samples += [
            sample("aiohttp", number, 500.0),
            sample("mosec", number, 200.0),
            sample("headrace", number, ours),
        ]

    report.write(results, tmp_path)

    text = (tmp_path / "RESULTS.md").read_text()
    assert "| echo, aiohttp | 0.62 ± 0.20 | 0.65 | 0.9 | no |" in text
    assert "| echo, mosec | 1.55 ± 0.50 | 1.3 | 1.7 | must |" in text
    assert "| 20 ms model: rate / ideal | not measured | 0.97 | 0.99 |  |" in text


@pytest.mark.parametrize(("seen", "reached"), [(1.1, "aim"), (1.5, "must"), (1.9, "no")])
def test_where_less_is_better_a_target_is_a_bound_from_above(seen: float, reached: str) -> None:
    line = Line(what="x", values=[seen], must=1.8, aim=1.2, at_most=True)

    assert line.reached == reached


def test_a_client_s_wait_is_told_in_requests_over_the_bus() -> None:
    results = Results()
    for server, p50_ms in (("aiohttp", 0.1), ("headrace", 0.5), ("nats-py request", 0.2)):
        one = replace(sample(server, 0, 1.0), connections=1, p50_ms=p50_ms)
        results.samples.append(one)

    assert next(targets.others(results)).values == pytest.approx([2.0])


def test_a_request_over_the_bus_is_timed_between_real_processes() -> None:
    server = RawNats()
    server.prepare()
    try:
        figures = server.closed(server.start(WORKLOADS["echo"]), 4, SHORT_S)
        alive = server.processes()
    finally:
        server.stop()

    assert figures.errors == 0
    assert figures.requests > 4
    assert 0 < figures.p50_ms <= figures.p99_ms
    assert len(alive) == 2, "the server and the responder"
    assert not server.processes()


@pytest.mark.parametrize("said", [True, False], ids=["said", "unsaid"])
async def test_a_server_that_closes_after_each_answer_is_asked_on_new_connections(
    said: bool,
) -> None:
    """As servers without keep-alive do: `Connection: close`, or no word at all."""
    text = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") if said else OK

    async def answer(number: int) -> bytes:
        return text

    async with serving(answer, once=True) as port:
        opened = await run(OpenLoop(plan(port, rate=100.0, seconds=0.5)))
        closed = await run(ClosedLoop(plan(port, connections=2, seconds=SHORT_S)))

    assert len(opened.latencies_s) + opened.errors == len(load.arrivals(100.0, 0.5, 0))
    assert len(closed.latencies_s) > 4
    if said:
        assert opened.errors == closed.errors == 0
