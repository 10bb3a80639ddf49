"""Open loop at twice the capacity: the surplus is refused at once, the rest is served as ever."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil
import pytest

from support.deploy import Workbench
from support.platform import Platform

ENDPOINT = "busy"
SERVICE_S = 0.02
SLOTS = 2
CAPACITY = SLOTS / SERVICE_S
SECONDS = 5.0
GROWTH_BYTES = 30 * 1024 * 1024
# Judges rates, so it wants a machine of its own.
pytestmark = [pytest.mark.timeout(120), pytest.mark.slow, pytest.mark.full]


@dataclass
class Seen:
    """What became of the requests of one run."""

    good_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    other: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.good_s) / SECONDS


async def offer(address: str, key: str, rate: float, counted: Path) -> Seen:
    """Poisson arrivals at a rate for SECONDS, whatever the answers are."""
    seen, rng = Seen(), random.Random(1)
    connector = aiohttp.TCPConnector(limit=0)

    async def one(http: aiohttp.ClientSession) -> None:
        began = time.perf_counter()
        async with http.post(address, data=body, headers=headers) as got:
            await got.read()
        took = time.perf_counter() - began
        if got.status == 200:
            seen.good_s.append(took)
        elif got.status == 429:
            seen.refused_s.append(took)
        else:
            seen.other.append(got.status)

    body = json.dumps({"sleep_s": SERVICE_S, "counted": str(counted)}).encode()
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as group:
        due = began = time.perf_counter()
        while due < began + SECONDS:
            group.create_task(one(http))
            due += rng.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
    return seen


def ingress_of(platform: Platform) -> psutil.Process:
    for one in psutil.process_iter(["cmdline"]):
        words = one.info["cmdline"] or []
        if "ingress" in words and str(platform.home) in words:
            return one
    raise AssertionError("no ingress")


async def test_goodput_holds_at_twice_the_capacity(
    platform: Platform, bench: Workbench, tmp_path: Path
) -> None:
    bench.endpoint(ENDPOINT)
    settings = {
        "max_concurrent_requests_per_instance": SLOTS,
        "request_timeout_ms": 1_000,
        "max_queue_wait_ms": 500,
    }
    bench.deploy(
        ENDPOINT, "blue", "sleeping", request_settings=settings,
        environment_variables={"WORKER_COUNT": str(SLOTS)},
    )  # fmt: skip
    key = platform.run("key", ENDPOINT).stdout.strip()
    address = f"{platform.status()['http_url']}/endpoints/{ENDPOINT}/score"
    ingress = ingress_of(platform)

    counted = tmp_path / "runs"
    peak = await offer(address, key, CAPACITY, counted)
    before = ingress.memory_info().rss
    seen = await offer(address, key, 2 * CAPACITY, counted)

    sys.stdout.write(
        f"peak {peak.rate:.0f}/s, at twice {seen.rate:.0f}/s, {len(seen.refused_s)} refused,"
        f" p50 of a refusal {1e3 * sorted(seen.refused_s)[len(seen.refused_s) // 2]:.1f} ms,"
        f" runs {counted.stat().st_size}, good {len(peak.good_s) + len(seen.good_s)},"
        f" memory {ingress.memory_info().rss - before}"
    )
    assert not seen.other
    assert seen.rate >= 0.9 * peak.rate
    assert seen.refused_s
    # What cannot be served in time is never started: nothing good came late.
    assert sorted(seen.good_s)[int(0.99 * len(seen.good_s))] < 0.5 + 1.0
    assert ingress.memory_info().rss - before < GROWTH_BYTES
    # Each run that nobody got an answer of was work on something expired.
    assert counted.stat().st_size - len(peak.good_s) <= 1.01 * len(seen.good_s)
