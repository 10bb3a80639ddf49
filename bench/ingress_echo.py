"""The ingress with an instance that only echoes, against a bare aiohttp handler, in alternation.

    .venv/bin/python bench/ingress_echo.py [rounds] [seconds]

Real nats-server, one process each for ingress and instance; wrk on the same cores. Read the ratios.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from headrace_api.home import Home
from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.bucket import Bucket
from headrace_bus.wire.route_record import DeploymentRoute, Route, route_key
from support.nats_server import NatsServer

KEY = "bench"
BODY = '{"data": [' + ", ".join(["1.5"] * 18) + "]}"
SLOTS = 256


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def serve_plain(port: int) -> None:
    import uvloop
    from aiohttp import web

    async def score(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), content_type="application/json")

    app = web.Application()
    app.router.add_post("/endpoints/echo/score", score)
    web.run_app(
        app,
        host="127.0.0.1",
        port=port,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


def serve_ingress(port: int, nats_url: str, home: str) -> None:
    from headrace_services.ingress.app import main
    from headrace_services.ingress.settings import IngressSettings

    if profile := os.environ.get("PROFILE"):
        import cProfile

        profiler = cProfile.Profile()
        profiler.enable()
    main(IngressSettings(nats_url=nats_url, home=Home(Path(home)), port=None, http_port=port))
    if profile:
        profiler.dump_stats(profile)


async def store_route(url: str) -> None:
    async with await Bus.connect(BusSettings(url=url, name="bench")) as bus:
        bucket = await Bucket.open(bus, "state")
        route = Route(
            endpoint="echo",
            key_digests=(hashlib.sha256(KEY.encode()).hexdigest(),),
            traffic={"blue": 100},
            deployments={"blue": DeploymentRoute(name="blue", max_concurrent=SLOTS)},
        )
        await bucket.create(route_key("echo"), route.encode())


def wait_for(port: int) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/endpoints/echo/score",
        data=BODY.encode(),
        headers={"authorization": f"Bearer {KEY}"},
    )
    deadline = time.monotonic() + 15
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                assert answer.read().decode() == BODY
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def load(port: int, clients: int, seconds: int, script: Path) -> tuple[float, float]:
    """Requests a second, and the median latency in ms."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", str(script)]
    command.append(f"http://127.0.0.1:{port}/endpoints/echo/score")
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out:
        raise RuntimeError(out)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", out)
    assert rate is not None
    assert median is not None
    unit = {"us": 1e-3, "ms": 1.0, "s": 1e3}[median[2]]
    return float(rate[1]), float(median[1]) * unit


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    ports = {"aiohttp": free_port(), "headrace": free_port()}
    me = [sys.executable, __file__]
    with NatsServer() as nats, tempfile.TemporaryDirectory() as home:
        asyncio.run(store_route(nats.url))
        script = Path(home) / "post.lua"
        script.write_text(
            f"wrk.method='POST'\nwrk.body='{BODY}'\n"
            f"wrk.headers['authorization']='Bearer {KEY}'\n"
            "wrk.headers['content-type']='application/json'\n"
        )
        tests = str(Path(__file__).resolve().parent.parent / "tests")
        instance = [sys.executable, "-m", "support.echo_instance", "--url", nats.url]
        instance += ["--address", "echo.blue.one", "--slots", str(SLOTS)]
        processes = [
            subprocess.Popen(instance, env=os.environ | {"PYTHONPATH": tests}),
            subprocess.Popen([*me, "plain", str(ports["aiohttp"])]),
            subprocess.Popen(
                [*me, "ingress", str(ports["headrace"]), nats.url, home],
                env=os.environ | {"HEADRACE_LOG_LEVEL": "WARNING"},
            ),
        ]
        try:
            for port in ports.values():
                wait_for(port)
            instance_pid, plain, ingress = (process.pid for process in processes)
            pids = {"aiohttp": [plain], "headrace": [ingress, nats.pid, instance_pid]}
            compare(ports, pids, rounds, seconds, script)
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait(10)


def cpu_s(pids: list[int]) -> list[float]:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return [one.user + one.system for one in times]


def compare(
    ports: dict[str, int], pids: dict[str, list[int]], rounds: int, seconds: int, script: Path
) -> None:
    for clients in (1, 64):
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ports}
        cost: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, port in ports.items():
                before = cpu_s(pids[name])
                found[name].append(load(port, clients, seconds, script))
                spent = zip(cpu_s(pids[name]), before, strict=True)
                requests = found[name][-1][0] * seconds
                cost[name] = [1e6 * (after - before) / requests for after, before in spent]
        rate = {name: statistics.median(one[0] for one in runs) for name, runs in found.items()}
        p50 = {name: statistics.median(one[1] for one in runs) for name, runs in found.items()}
        print(
            f"c={clients}: aiohttp {rate['aiohttp']:.0f}/s p50 {p50['aiohttp']:.3f} ms, "
            f"headrace {rate['headrace']:.0f}/s p50 {p50['headrace']:.3f} ms, "
            f"ratio {rate['headrace'] / rate['aiohttp']:.2f}"
        )
        for name, spent_us in cost.items():
            each = ", ".join(f"{one:.0f}" for one in spent_us)
            print(f"    {name}: CPU {sum(spent_us):.0f} us/request ({each})")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["plain", port]:
            serve_plain(int(port))
        case ["ingress", port, url, home]:
            serve_ingress(int(port), url, home)
        case _:
            main()
