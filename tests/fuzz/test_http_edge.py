"""The HTTP edge against damaged and smuggling requests, judged by a parser of our own.

The instance behind it says what it was handed, so that a request which the edge read otherwise than
the standard does shows, even where the answer looks good.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from fuzz.http_inputs import Shape, rounds
from fuzz.mutate import FIRST, INPUTS, SEED, corpus
from fuzz.strict_http import Asked, Told
from fuzz.talk import Line, brief, judged, say
from headrace_bus.wire.envelope import Answer, AnswerKind, Request
from headrace_bus.wire.head import answer_head, split_answer, split_request
from headrace_bus.wire.subjects import InstanceAddress
from headrace_services.ingress.app import Listening
from support.echo_instance import EchoInstance
from support.ingress_world import AUTH, KEY, World, make_route, running_world, url
from support.nats_server import NatsServer

AT_ONCE = 32
MAX_GROWTH_BYTES = 64 * 1024 * 1024
LIMIT_BYTES = 10_000
pytestmark = pytest.mark.timeout(60 + INPUTS // 20)

SHAPE = Shape(
    good=(
        (b"POST", b"/endpoints/houses/score"),
        (b"POST", b"/endpoints/houses/score?mark=%b"),
        (b"POST", b"http://x/endpoints/houses/score"),
        (b"GET", b"/endpoints/houses/swagger.json"),
    ),
    other=(
        *(b"/healthz", b"/readyz", b"/endpoints/none/score", b"/endpoints/houses/", b"*", b"//"),
        *(
            b"/endpoints/houses/score#x",
            b"/endpoints/houses/../houses/score",
            b"x:443",
            b"http://[",
        ),
        *(
            b"/endpoints/%68ouses/score",
            b"/endpoints/houses/score?" + b"q" * 40_000,
            b"/\xff",
            b"?",
        ),
    ),
    fields=(b"Host: x", b"Authorization: Bearer " + KEY.encode()),
    endless=True,
)


class SayingInstance(EchoInstance):
    """Echoes at once whatever the body is, and says what it was handed."""

    def _request(self, message: Any) -> None:
        self.seen.clear()
        super()._request(message)

    def told(self, body: bytes) -> dict[str, Any]:
        return {}

    def _make(
        self, request: Request, kind: AnswerKind, status: int = 0, body: bytes = b""
    ) -> Answer:
        made = super()._make(request, kind, status, body)
        method, path, query, _ = split_request(request.head)
        seen = _digest(method.encode(), path.encode(), query.encode("latin-1"))
        return made._replace(head=answer_head((*split_answer(made.head), ("x-seen", seen))))


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\n".join(parts)).hexdigest()


def _expect(asked: Asked, told: Told) -> str:
    """A request that reached the model reached it as it is by the standard."""
    seen = told.fields.get(b"x-seen")
    if seen is None:
        page = asked.target.endswith((b"/healthz", b"/readyz", b"/metrics"))
        return "" if page or told.status != 200 else "nobody saw it"
    target = asked.target
    if not target.startswith(b"/"):
        parts = urlsplit(target)
        target = parts.path + (b"?" + parts.query if parts.query else b"")
    path, _, query = target.partition(b"?")
    below = b"/" + path.split(b"/", 3)[3]
    if seen.decode() != _digest(asked.method, below, query):
        return f"the model saw another method, path or query than {asked.method!r} {target!r}"
    if asked.method != b"HEAD" and told.body != asked.body:
        return f"the model saw {told.body[:80]!r} and not {asked.body[:80]!r}"
    return ""


@pytest.fixture
async def world(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[World]:
    async with running_world(nats_server, tmp_path) as one:
        yield one


@pytest.fixture
async def listening(world: World) -> Listening:
    listening = await world.ingress(max_body_bytes=LIMIT_BYTES)
    await world.route(make_route(max_concurrent=64))
    one = SayingInstance(world.server.url, InstanceAddress("houses", "blue", "one"), 64)
    await one.start()
    world.instances.append(one)
    await world.until(lambda: world.live["in-one"].get("houses.blue") == 1)
    return listening


async def test_what_the_edge_reads_is_what_the_standard_says(
    world: World, listening: Listening
) -> None:
    base = [one.replace(b"{key}", KEY.encode()) for one in corpus("http")]
    wrong: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: wrong.append(f"uncaught: {context}"))
    todo: Iterator[int] = iter(range(FIRST, FIRST + INPUTS))
    process = psutil.Process()
    memory: list[int] = []
    descriptors = process.num_fds()

    async def some() -> None:
        line = Line(listening.http_port or 0)
        for number in todo:
            one = await say(line, rounds(number, SHAPE, base))
            wrong.extend(
                f"input {number} of seed {SEED}: {text}; said {brief(one.said)!r}, heard "
                f"{brief(one.heard)!r}"
                for text in judged(one, _expect)
            )
            if number % max(1, INPUTS // 4) == 0:
                memory.append(process.memory_info().rss)
        line.close()

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    assert not wrong, "\n".join([f"{len(wrong)} faults", *wrong[:60]])
    assert memory[-1] - memory[min(1, len(memory) - 1)] < MAX_GROWTH_BYTES
    async with world.http.post(url(listening), data=b"mark-after-", headers=AUTH) as response:
        assert response.status == 200, await response.text()
    await world.until(lambda: process.num_fds() <= descriptors + 4)
