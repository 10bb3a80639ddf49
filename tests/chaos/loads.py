"""Load with a nonce in each request, and the rule that every answer is the one asked for.

A load is a plug-in: it says what it asks, what answer is right and which miss is lawful.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import dataclass
from typing import Final

import aiohttp

from chaos.history import History
from support.load import HELD_UP_S

CLIENT_BOUND_S: Final = 40.0  # longer than any deadline of the platform: a request that hangs shows
MOST_OPEN: Final = 2000
LARGE_BYTES: Final = 300_000
PIECES: Final = 12
_NONCES: Final = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """One request that was not answered as it should be; times are seconds into the run."""

    load: str
    nonce: str
    begun_s: float
    ended_s: float
    what: str
    connection: bool
    """The connection broke."""


class Load:
    """`rate` POSTs a second, each on time whether or not the last was answered; no retries.

    What this process was held up for is not made up for by a burst: that would be another load.
    """

    name = ""

    def __init__(self, url: str, key: str, *, rate: float, began: float) -> None:
        self.misses: list[Miss] = []
        self.answered = 0
        self.held_up_s = 0.0
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}
        self._rate = rate
        self._began = began
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def asked(self, nonce: str) -> dict[str, object]:
        """The body of a request."""
        return {"nonce": nonce}

    def wrong(self, nonce: str, text: str) -> str:
        """What is wrong with the body of a 200; empty when nothing is."""
        right = json.loads(text).items() >= self.asked(nonce).items()
        return "" if right else f"the answer of another: {text[:200]}"

    def lawful(self, miss: Miss, history: History) -> bool:
        """Whether nobody is to blame: the connection broke while its ingress was down."""
        return miss.connection and history.was_down(miss.begun_s, miss.ended_s)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Ask nothing more, and wait for the answers of what was asked."""
        self._stopped.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=CLIENT_BOUND_S)
        connector = aiohttp.TCPConnector(limit=0)
        due = time.monotonic()
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            while not self._stopped.is_set():
                due += 1 / self._rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if (late_s := time.monotonic() - due) > HELD_UP_S:
                    self.held_up_s += late_s
                    due += late_s
                if len(asyncio.all_tasks()) < MOST_OPEN:
                    group.create_task(self._one(session, f"n{next(_NONCES)}"))

    async def _one(self, session: aiohttp.ClientSession, nonce: str) -> None:
        begun_s = time.monotonic() - self._began
        what, connection = "", False
        try:
            post = session.post(self._url, json=self.asked(nonce), headers=self._headers)
            async with post as response:
                text = await response.text()
            if response.status != 200:
                what = f"{response.status} {text[:200]}"
            else:
                what = self.wrong(nonce, text)
        except (aiohttp.ClientError, OSError) as error:
            what, connection = repr(error), True
        except TimeoutError:
            what = f"no answer within {CLIENT_BOUND_S} s"
        if not what:
            self.answered += 1
            return
        ended_s = time.monotonic() - self._began
        self.misses.append(
            Miss(
                load=self.name,
                nonce=nonce,
                begun_s=begun_s,
                ended_s=ended_s,
                what=what,
                connection=connection,
            )
        )


class OnlineLoad(Load):
    """Small bodies, both ways in one message."""

    name = "online"


class LargeLoad(Load):
    """Bodies that go by file, both ways."""

    name = "large"

    def asked(self, nonce: str) -> dict[str, object]:
        return {"nonce": nonce, "pad": f"{nonce} " * (LARGE_BYTES // (len(nonce) + 1))}

    def lawful(self, miss: Miss, history: History) -> bool:
        """Nor is anybody while the disk is full, which it says."""
        told = miss.what.startswith("507") and history.was_full(miss.begun_s, miss.ended_s)
        return told or super().lawful(miss, history)


class StreamLoad(Load):
    """Answers in pieces: whole, or visibly broken, as nothing is sent anew once it has begun."""

    name = "stream"

    def asked(self, nonce: str) -> dict[str, object]:
        return {"nonce": nonce, "pieces": PIECES}

    def wrong(self, nonce: str, text: str) -> str:
        right = "".join(f"{nonce} {number}\n" for number in range(PIECES))
        return "" if text == right else f"pieces of another, or not all: {text[:200]}"

    def lawful(self, miss: Miss, history: History) -> bool:
        return miss.connection


LANES: Final = (OnlineLoad, LargeLoad, StreamLoad)
