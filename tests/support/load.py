"""Bounded open-loop load with a nonce in each request: every answer must be the one asked for."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

_RUN = itertools.count()
HELD_UP_S = 0.05  # a load that is later than this was held up itself


@dataclass
class Outcome:
    """What became of each request."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    """Connection errors, wrong answers and statuses other than 200, with their number and time."""
    latencies_s: list[float] = field(default_factory=list)
    total: int = 0
    """Requests that have an outcome, of whichever kind."""

    def assert_no_failure(self, at_least: int) -> None:
        assert self.failures[:10] == [], f"{len(self.failures)} of {self.total} failed"
        assert self.statuses[200] >= at_least


class Load:
    """`rate` requests a second until stopped, each on time whether or not the last was answered.

    No client retries: aiohttp repeats no POST. What this process was held up for is not made up
    for by a burst: that would be another load.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        rate: float = 100.0,
        body: Callable[[str], dict[str, Any]] = lambda nonce: {"nonce": nonce},
        headers: dict[str, str] | None = None,
        most: int = 20_000,
    ) -> None:
        self.outcome = Outcome()
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"} | (headers or {})
        self._rate = rate
        self._body = body
        self._most = most
        self._sent = 0
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._begun = 0.0

    async def __aenter__(self) -> Load:
        self._begun = time.monotonic()
        self._task = asyncio.create_task(self._run(), name="load")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped.set()
        if self._task is not None:
            await self._task

    async def answered(self, more: int) -> None:
        """Wait until this many more requests have an outcome."""
        target = self.outcome.total + more
        while self.outcome.total < target:
            assert self._task is not None
            assert not self._task.done(), "the load ended before it was told to"
            await asyncio.sleep(0.01)

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=60)
        due = self._begun
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            while not self._stopped.is_set() and self._sent < self._most:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                late_s = time.monotonic() - due
                due += 1 / self._rate + (late_s if late_s > HELD_UP_S else 0.0)
                nonce = f"n{next(_RUN)}"
                group.create_task(self._one(session, nonce), name=nonce)
                self._sent += 1

    async def _one(self, session: aiohttp.ClientSession, nonce: str) -> None:
        asked = self._body(nonce)
        begun = time.monotonic()
        at = f"{nonce} at {begun - self._begun:.2f} s"
        try:
            async with session.post(self._url, json=asked, headers=self._headers) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            self.outcome.failures.append(f"{at}: {error!r}")
            return
        finally:
            self.outcome.total += 1
        self.outcome.statuses[response.status] += 1
        self.outcome.latencies_s.append(time.monotonic() - begun)
        if response.status != 200:
            self.outcome.failures.append(f"{at}: {response.status} {text[:200]}")
        elif nonce not in text:
            self.outcome.failures.append(f"{at}: wrong answer {text[:200]}")
