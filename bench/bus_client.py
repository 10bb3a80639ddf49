"""Request/reply through Bus and through stock nats-py, in alternation: prints rates and ratios.

Server, requester and responder share this machine's cores, so read the ratios, not the rates.

    python bench/bus_client.py [--seconds S] [--rounds N]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from headrace_bus.client.connection import Bus, Message
from headrace_bus.client.settings import BusSettings
from support.nats_server import NatsServer

Ask = Callable[[bytes], Awaitable[object]]
CASES = ((1, 100), (64, 100), (1, 1_000_000), (8, 1_000_000))  # concurrency, bytes
TIMEOUT_S = 10.0


class OurPair:
    """A requester and a responder on Bus."""

    async def start(self, url: str) -> Ask:
        self._caller = await Bus.connect(BusSettings(url=url, name="caller"))
        answerer = self._answerer = await Bus.connect(BusSettings(url=url, name="answerer"))

        def echo(message: Message) -> None:
            answerer.publish(message.reply, message.data)

        await answerer.subscribe("bench.ours", echo)
        await answerer.flush()
        return lambda data: self._caller.request("bench.ours", data, TIMEOUT_S)

    async def stop(self) -> None:
        await asyncio.gather(self._caller.close(), self._answerer.close())


class StockPair:
    """The same on nats-py as it comes."""

    async def start(self, url: str) -> Ask:
        self._caller, self._answerer = Client(), Client()
        await self._caller.connect(url)
        await self._answerer.connect(url)

        async def echo(message: Msg) -> None:
            await self._answerer.publish(message.reply, message.data)

        await self._answerer.subscribe("bench.stock", cb=echo)
        await self._answerer.flush()
        return lambda data: self._caller.request("bench.stock", data, TIMEOUT_S)

    async def stop(self) -> None:
        await self._caller.close()
        await self._answerer.close()


async def measure(ask: Ask, concurrency: int, body: bytes, seconds: float) -> float:
    """Requests per second."""
    end = time.perf_counter() + seconds
    done = 0

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await ask(body)
            done += 1

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return done / (time.perf_counter() - begin)


async def compare(url: str, rounds: int, seconds: float) -> None:
    ours, stock = OurPair(), StockPair()
    asks = (await ours.start(url), await stock.start(url))
    print(f"{'c':>3} {'bytes':>9} {'Bus/s':>9} {'nats-py/s':>9} {'ratio':>6}  ratio by round")
    for concurrency, size in CASES:
        body = bytes(size)
        pairs = [
            [await measure(ask, concurrency, body, seconds) for ask in asks] for _ in range(rounds)
        ]
        ratios = [pair[0] / pair[1] for pair in pairs]
        rates = [statistics.median(column) for column in zip(*pairs, strict=True)]
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(
            f"{concurrency:>3} {size:>9} {rates[0]:>9.0f} {rates[1]:>9.0f} "
            f"{statistics.median(ratios):>6.2f}  {each}"
        )
    await ours.stop()
    await stock.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with NatsServer() as server:
        uvloop.run(compare(server.url, chosen.rounds, chosen.seconds))


if __name__ == "__main__":
    main()
