"""Our own load generator: bare HTTP/1.1 on uvloop, in a process of its own.

Closed loop: each connection sends its next request when the answer is there. Open loop: requests
are due at times drawn beforehand, and latency counts from when a request was due, not from when a
connection was free for it, so a slow server cannot hide its queue (no coordinated omission).

    python -m bench.load < plan.json > outcome.json
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, cast

import uvloop

MAX_OPEN_CONNECTIONS: Final = 512
DRAIN_BOUND_S: Final = 30.0
_HEAD_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send where."""

    host: str
    port: int
    path: str
    body: str
    """Latin-1, so that any bytes fit into JSON."""
    headers: dict[str, str]
    connections: int = 1
    seconds: float = 1.0
    rate: float = 0.0
    """Requests per second of an open loop; 0 is a closed loop."""
    seed: int = 0
    bodies: tuple[str, ...] = ()
    """Open loop: the body of each request in turn, instead of `body`."""
    due_s: tuple[float, ...] = ()
    """Open loop: when each request is due, instead of at `rate`."""
    begins_at: float = 0.0
    """Open loop: Unix time of zero, so that several generators begin as one; 0 is at once."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Latencies of right answers, and what went wrong."""

    latencies_s: list[float] = field(default_factory=list)
    errors: int = 0
    seconds: float = 0.0
    first_error: str = ""
    refused: int = 0
    """Answers 429, which are errors too."""


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, free: Freed) -> None:
        self._free = free
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._due = 0.0
        self.busy = False
        self.usable = True
        """Whether another request may follow on it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's derive from another class

    def send(self, request: bytes, due: float) -> None:
        self._due, self.busy = due, True
        assert self._transport is not None
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not _is_whole(self._buffer):
            return
        answer, self._buffer = self._buffer, bytearray()
        self.busy = False
        if _is_last(answer):
            self.close()
        ok = answer.startswith(b"HTTP/1.1 200")
        self._free.done(self, self._due, "" if ok else answer[:200].decode("latin-1"))

    def connection_lost(self, exc: Exception | None) -> None:
        unasked, self.usable = self.usable, False
        if self.busy:
            self._free.done(self, self._due, f"connection lost: {exc!r}")
        elif unasked:
            self._free.replace()

    def close(self) -> None:
        """End it; what is still on its way is neither an answer nor an error."""
        self.busy = self.usable = False
        if self._transport is not None:
            self._transport.close()


class Freed:
    """What happens when a request is answered; the two loops differ here only."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.outcome = Outcome()
        self.all: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()

    async def connect(self, count: int) -> None:
        for _ in range(count):
            await self._connected()

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        made = loop.create_connection(lambda: Connection(self), self.plan.host, self.plan.port)
        connection = (await made)[1]
        self.all.append(connection)
        return connection

    def replace(self) -> None:
        """Open a connection in place of one that the server closed."""
        task = asyncio.get_running_loop().create_task(self._reopen(), name="reopen")
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _reopen(self) -> None:
        try:
            connection = await self._connected()
        except OSError as error:
            self.outcome.first_error = self.outcome.first_error or f"no connection: {error}"
            return
        self.ready(connection)

    def ready(self, connection: Connection) -> None:
        """It may carry a request now."""

    async def settled(self) -> None:
        """No connection is being opened any more."""
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)

    def done(self, connection: Connection, due: float, error: str) -> None:
        if error:
            self.outcome.errors += 1
            self.outcome.refused += error.startswith("HTTP/1.1 429")
            self.outcome.first_error = self.outcome.first_error or error
        else:
            self.outcome.latencies_s.append(time.perf_counter() - due)

    def request(self, body: str) -> bytes:
        data = body.encode("latin-1")
        headers = {"Host": f"{self.plan.host}:{self.plan.port}", "Content-Length": str(len(data))}
        lines = (f"{name}: {value}\r\n" for name, value in (self.plan.headers | headers).items())
        return f"POST {self.plan.path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + data


class ClosedLoop(Freed):
    """A fixed number of clients, each waiting for its answer."""

    async def run(self) -> Outcome:
        request = self.request(self.plan.body)
        self._request = request
        await self.connect(self.plan.connections)
        begun = time.perf_counter()
        self._end = begun + self.plan.seconds
        for connection in self.all:
            connection.send(request, begun)
        await asyncio.sleep(self.plan.seconds)
        self.outcome.seconds = time.perf_counter() - begun
        await self.settled()
        return self.outcome

    def done(self, connection: Connection, due: float, error: str) -> None:
        super().done(connection, due, error)
        if connection.usable:
            self.ready(connection)
        elif time.perf_counter() < self._end:
            self.replace()

    def ready(self, connection: Connection) -> None:
        now = time.perf_counter()
        if now < self._end:
            connection.send(self._request, now)


class OpenLoop(Freed):
    """Poisson arrivals at a rate, whatever the server does."""

    async def run(self) -> Outcome:
        due_s = self.plan.due_s or arrivals(self.plan.rate, self.plan.seconds, self.plan.seed)
        rate = len(due_s) / self.plan.seconds
        self._free: deque[Connection] = deque()
        self._waiting: deque[tuple[bytes, float]] = deque()
        await self.connect(min(MAX_OPEN_CONNECTIONS, max(64, int(rate / 2))))
        self._free.extend(self.all)
        begun = time.perf_counter() + max(0.0, self.plan.begins_at - time.time())
        for number, offset in enumerate(due_s):
            delay = begun + offset - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            bodies = self.plan.bodies
            body = bodies[number % len(bodies)] if bodies else self.plan.body
            self._offer(self.request(body), begun + offset)
        await self._drained(len(due_s))
        self.outcome.seconds = time.perf_counter() - begun
        await self.settled()
        return self.outcome

    def done(self, connection: Connection, due: float, error: str) -> None:
        super().done(connection, due, error)
        if connection.usable:
            self.ready(connection)
        else:
            self.replace()

    def ready(self, connection: Connection) -> None:
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._free.append(connection)

    def _offer(self, request: bytes, due: float) -> None:
        while self._free:
            connection = self._free.popleft()
            if connection.usable:
                connection.send(request, due)
                return
        self._waiting.append((request, due))

    async def _drained(self, expected: int) -> None:
        bound = time.perf_counter() + DRAIN_BOUND_S
        while self.outcome.errors + len(self.outcome.latencies_s) < expected:
            if time.perf_counter() > bound:
                self.outcome.errors = expected - len(self.outcome.latencies_s)
                self.outcome.first_error = self.outcome.first_error or "not answered in time"
                return
            await asyncio.sleep(0.01)


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Offsets in seconds of a Poisson process, the same for the same seed."""
    draw = random.Random(seed)
    offsets, now = [], draw.expovariate(rate)
    while now < seconds:
        offsets.append(now)
        now += draw.expovariate(rate)
    return offsets


def quantile(ordered: Sequence[float], q: float) -> float:
    """The q-quantile of sorted values; 0 when there are none."""
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


def _is_whole(answer: bytearray) -> bool:
    end = answer.find(_HEAD_END)
    if end < 0:
        return False
    head = bytes(answer[:end]).lower()
    at = head.find(b"content-length:")
    if at >= 0:
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        return len(answer) >= end + len(_HEAD_END) + length
    if b"transfer-encoding: chunked" in head:
        return answer.endswith(b"0\r\n\r\n")
    return True


def _is_last(answer: bytearray) -> bool:
    """Whether the server closes the connection after it."""
    return b"\r\nconnection: close" in bytes(answer[: answer.find(_HEAD_END)]).lower()


async def _main() -> None:
    raw = json.loads(sys.stdin.read())
    plan = Plan(**(raw | {name: tuple(raw.get(name, ())) for name in ("bodies", "due_s")}))
    loop = OpenLoop(plan) if plan.rate or plan.due_s else ClosedLoop(plan)
    json.dump(asdict(await loop.run()), sys.stdout)


if __name__ == "__main__":
    uvloop.run(_main())
