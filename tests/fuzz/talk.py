"""One input said to an edge over a real socket, and what the edge made of it, judged strictly.

The rules: what is answered is answered in order, one answer to one request; an answer holds no mark
but that of its own request; nothing malformed is served; no 5xx; a whole request is answered or the
connection is closed, and never left waiting; what never ends is not listened to for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from fuzz.strict_http import Asked, Malformed, Stream, Told, read_answers, read_requests

ANSWER_S: Final = 30.0
KEPT_BYTES: Final = 256 * 1024  # of a request that has no end yet; a body in it is smaller
REFUSAL_S: Final = 0.1  # for what comes unasked; the edge refuses as it reads
MARK: Final = re.compile(rb"mark-\d+-\d+-")
Expect = Callable[[Asked, Told], str]
"""What is wrong with an answer to a request, or nothing."""
Strange = Callable[[bytes], bool]
"""Whether a mark belongs to somebody else."""


class _Ear(asyncio.Protocol):
    """Keeps all that came, also what came before a reset."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.ended = False
        self.more = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.more.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.more.set()


@dataclass
class Line:
    """A client's connection, kept from input to input while both sides agree where they are."""

    port: int
    ear: _Ear | None = None
    transport: asyncio.Transport | None = None

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()
        self.ear = self.transport = None

    async def opened(self) -> tuple[_Ear, asyncio.Transport]:
        if self.ear is None or self.transport is None or self.ear.ended:
            self.close()
            loop = asyncio.get_running_loop()
            self.transport, self.ear = await loop.create_connection(_Ear, "127.0.0.1", self.port)
        self.ear.heard.clear()
        return self.ear, self.transport


@dataclass
class Exchange:
    """An input, as far as it was said, and what came back."""

    said: bytes = b""
    heard: bytes = b""
    ended: bool = False
    """By the edge."""
    late: bool = False
    stream: Stream = field(default_factory=lambda: Stream(requests=(), end="whole"))

    @property
    def begun_bytes(self) -> int:
        """Of a request that has begun and not ended."""
        whole = sum(len(one.raw) for one in self.stream.requests)
        return len(self.said) - whole if self.stream.end == "partial" else 0

    @property
    def answers(self) -> list[Told]:
        return read_answers(self.heard, [one.method for one in self.stream.requests])


async def say(line: Line, rounds: list[bytes]) -> Exchange:
    """Say each round, then hear an answer to each request that is whole by then.

    A line that was kept may have ended meanwhile, as any client's: then it is said anew.
    """
    kept = line.ear is not None and not line.ear.ended
    one = await _say(line, rounds)
    if kept and one.ended and not one.heard:
        one = await _say(line, rounds)
    return one


async def _say(line: Line, rounds: list[bytes]) -> Exchange:
    one = Exchange()
    ear, transport = await line.opened()
    try:
        async with asyncio.timeout(ANSWER_S):
            for data in rounds:
                one.said += data
                one.stream = read_requests(one.said)
                transport.write(data)
                await _hear(one, ear)
                if ear.ended:
                    break
    except TimeoutError:
        one.late = True
    agreed = one.stream.end == "whole" and all(each.keep_alive for each in one.stream.requests)
    if not agreed and not one.late:
        await _rest(ear, ANSWER_S if one.begun_bytes > KEPT_BYTES else REFUSAL_S)
    one.heard, one.ended = bytes(ear.heard), ear.ended
    if not agreed or one.late or one.ended or _announced(one):
        line.close()
    return one


async def _hear(one: Exchange, ear: _Ear) -> None:
    """Until there are as many answers as whole requests, or the edge ends."""
    while not ear.ended:
        one.heard = bytes(ear.heard)
        with contextlib.suppress(Malformed):
            if len(one.answers) >= len(one.stream.requests):
                return
        ear.more.clear()
        await ear.more.wait()


async def _rest(ear: _Ear, seconds: float) -> None:
    """Hear what else the edge says, which may be a refusal or nothing."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not ear.ended:
                ear.more.clear()
                await ear.more.wait()


def judged(
    one: Exchange, expect: Expect, strange: Strange | None = None, *, ends_after: bytes = b""
) -> list[str]:
    """What breaks a rule. Without `strange`, a mark is known that was said in this input.

    After a request with the field `ends_after` the edge may end the connection.
    """
    requests, end = one.stream.requests, one.stream.end
    try:
        answers = one.answers
    except Malformed as error:
        return [f"an answer is not HTTP: {error}"]
    wrong = []
    known = MARK.findall(one.said) + [m for each in requests for m in MARK.findall(each.body)]
    foreign = strange or (lambda mark: mark not in known)
    if one.begun_bytes > KEPT_BYTES and not one.ended:
        wrong.append(f"{one.begun_bytes} bytes of a request without an end were taken")
    if one.late:
        wrong.append(f"{len(answers)} answers to {len(requests)} requests and {end}, then silence")
    may_end = any(each.values(ends_after) for each in requests[: len(answers)])
    short = one.ended and end == "whole" and len(answers) < len(requests)
    if short and not may_end and not _announced(one):
        wrong.append(f"{len(answers)} answers to {len(requests)} requests, then the end")
    for at, told in enumerate(answers):
        if told.status >= 500:
            wrong.append(f"answer {at} is {told.status}")
        if found := [mark for mark in MARK.findall(told.body) if foreign(mark)]:
            wrong.append(f"answer {at} has {found[:3]}")
        if told.status == 400 and told.closes:
            continue  # what cannot be read may be refused at once, with all that came with it
        if at < len(requests):
            if text := expect(requests[at], told):
                wrong.append(f"answer {at}: {text}")
        elif end == "whole":
            wrong.append(f"{len(answers)} answers to {len(requests)} requests")
        elif end != "partial" and not 400 <= told.status < 500:
            wrong.append(f"served with {told.status}: {end}")
    return wrong


def _announced(one: Exchange) -> bool:
    """Whether the edge said that the last answer is the last."""
    with contextlib.suppress(Malformed):
        return any(told.closes for told in one.answers[-1:])
    return True


def brief(data: bytes) -> bytes:
    """To be read by a person: what is repeated is told once."""
    return re.sub(rb"(.{1,12}?)\1{7,}", rb"\1~", data)[:1500]
