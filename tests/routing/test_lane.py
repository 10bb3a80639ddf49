"""A lane on a real bus: whose answer an answer is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from headrace_bus.client.connection import Bus
from headrace_bus.client.headers import NO_RESPONDERS
from headrace_bus.client.message import Message
from headrace_bus.client.settings import BusSettings
from headrace_bus.routing.call import Call, Incoming, Result
from headrace_bus.routing.dispatch import Dispatch
from headrace_bus.routing.edge import new_request_id
from headrace_bus.routing.lane import Lane
from headrace_bus.routing.metrics import GatewayMetrics, LaneMetrics
from headrace_bus.routing.outcome import Refusal
from headrace_bus.wire.envelope import (
    Answer,
    AnswerKind,
    Request,
    RequestFlag,
    decode_request,
    encode_answer,
)
from headrace_bus.wire.head import request_head
from headrace_bus.wire.route_record import DeploymentRoute
from headrace_bus.wire.subjects import InstanceAddress, instance
from headrace_telemetry.clock import monotonic
from headrace_telemetry.metrics import Registry
from routing.test_dispatch import beat
from support.nats_server import NatsServer

EPOCH = 7
BOUND_S = 20.0


class Edge:
    """A lane with one instance whose part the test plays."""

    def __init__(self, bus: Bus, lane: Lane) -> None:
        self.bus = bus
        self.lane = lane
        self.requests: asyncio.Queue[Message] = asyncio.Queue()
        self.results: asyncio.Queue[Result] = asyncio.Queue()

    async def ask(self, body: bytes) -> tuple[Request, str]:
        """Start a request; return it as the instance got it, with its reply subject."""
        incoming = Incoming(new_request_id(), request_head("POST", "/score", "", ()), body)
        self.lane.start(incoming, self.deliver)
        message = await asyncio.wait_for(self.requests.get(), BOUND_S)
        return decode_request(message.data), message.reply

    async def answer(self, request: Request, reply: str, kind: AnswerKind, epoch: int) -> None:
        """Publish an answer to the request, and return when the lane has seen it."""
        made = Answer(kind, request.request_id, 200, 10, 1, 0, "", epoch, b"", request.body)
        self.bus.publish(reply, encode_answer(made))
        await self.bus.flush()

    async def resent(self) -> bool:
        """Whether the next request at the instance says that it may be there already."""
        message = await asyncio.wait_for(self.requests.get(), BOUND_S)
        return bool(decode_request(message.data).flags & RequestFlag.RESENT)

    async def body(self) -> bytes:
        result = await asyncio.wait_for(self.results.get(), BOUND_S)
        assert isinstance(result, Answer)
        return result.body

    def deliver(self, call: Call, result: Result) -> None:
        self.results.put_nowait(result)


@asynccontextmanager
async def edge_on(server: NatsServer, *, idempotent: bool = True) -> AsyncIterator[Edge]:
    bus = await Bus.connect(BusSettings(url=server.url, name="edge"))
    try:
        yield await _edge(bus, idempotent)
    finally:
        await bus.close()


async def _edge(bus: Bus, idempotent: bool) -> Edge:
    metrics = LaneMetrics(GatewayMetrics(Registry()), "houses", "blue")
    route = DeploymentRoute(name="blue", max_concurrent=4, idempotent=idempotent)
    dispatch = Dispatch(random.Random(0))
    lane = Lane(bus, "in-one", route, ("houses", "blue"), dispatch=dispatch, metrics=metrics)
    edge = Edge(bus, lane)
    await bus.subscribe(
        instance(InstanceAddress("houses", "blue", "one")), edge.requests.put_nowait
    )
    await bus.flush()
    lane.beat(beat("one", slots=1, epoch=EPOCH), monotonic())
    return edge


@pytest.mark.parametrize("kind", [AnswerKind.DONE, AnswerKind.BUSY, AnswerKind.CHUNK])
async def test_an_answer_to_the_request_before_is_dropped_on_the_subject_used_again(
    nats_server: NatsServer, kind: AnswerKind
) -> None:
    """Told apart by the request id; one of an older life of the instance by its epoch."""
    async with edge_on(nats_server) as edge:
        first, reply = await edge.ask(b"first")
        await edge.answer(first, reply, AnswerKind.DONE, EPOCH)
        assert await edge.body() == b"first"

        second, again = await edge.ask(b"second")
        assert again == reply
        await edge.answer(first, reply, kind, EPOCH)
        await edge.answer(second._replace(body=b"forged"), reply, kind, EPOCH - 1)
        assert edge.results.empty()
        assert edge.requests.empty()
        assert edge.lane.dispatch.in_flight == 1

        await edge.answer(second, reply, AnswerKind.DONE, EPOCH)
        assert await edge.body() == b"second"
        assert edge.lane.dispatch.in_flight == 0


async def test_a_request_sent_again_says_so_until_it_is_taken(nats_server: NatsServer) -> None:
    """The instance may be back later than the ingress, and have run it meanwhile."""
    async with edge_on(nats_server) as edge:
        incoming = Incoming(new_request_id(), request_head("POST", "/score", "", ()), b"once")
        call = edge.lane.start(incoming, lambda *_: None)
        assert await edge.resent() is False

        edge.lane.cut_off()
        edge.lane.reconnected(0.5, monotonic())
        assert await edge.resent() is True

        edge.lane.take(call, Message(b"", b"", b"", NO_RESPONDERS + b"\r\n\r\n"))
        edge.lane.beat(beat("one", slots=1, epoch=EPOCH), monotonic())
        assert await edge.resent() is True


@pytest.mark.parametrize("refused", [True, False], ids=["busy", "nobody there"])
async def test_what_may_have_begun_waits_for_its_own_instance(
    nats_server: NatsServer, refused: bool
) -> None:
    """BUSY may be the answer to the first sending, and the second be on its way."""
    async with edge_on(nats_server, idempotent=False) as edge:
        lane = edge.lane
        incoming = Incoming(new_request_id(), request_head("POST", "/score", "", ()), b"once")
        call = lane.start(incoming, edge.deliver)
        message = await asyncio.wait_for(edge.requests.get(), BOUND_S)
        lane.beat(beat("two", slots=1), monotonic())
        lane.cut_off()
        lane.reconnected(0.5, monotonic())
        assert await edge.resent() is True

        if refused:
            request = decode_request(message.data)
            await edge.answer(request, message.reply, AnswerKind.BUSY, EPOCH)
        else:
            lane.take(call, Message(b"", b"", b"", NO_RESPONDERS + b"\r\n\r\n"))
        assert call.instance is lane.dispatch.instances["one"]
        assert edge.requests.empty()

        lane.beat(beat("one", slots=1, epoch=EPOCH), monotonic())
        assert await edge.resent() is True
        lane.take(call, Message(b"", b"", b"", NO_RESPONDERS + b"\r\n\r\n"))
        lane.beat(beat("one", slots=1, epoch=EPOCH + 1), monotonic())
        result = await asyncio.wait_for(edge.results.get(), BOUND_S)
        assert isinstance(result, Refusal)
        assert (result.status, "may have run" in result.message) == (424, True)
        assert lane.dispatch.pending == 0


async def test_what_was_abandoned_while_its_instance_was_away_is_not_sent_again(
    nats_server: NatsServer,
) -> None:
    async with edge_on(nats_server, idempotent=False) as edge:
        lane = edge.lane
        incoming = Incoming(new_request_id(), request_head("POST", "/score", "", ()), b"once")
        call = lane.start(incoming, edge.deliver)
        assert await edge.resent() is False
        lane.cut_off()
        lane.reconnected(0.5, monotonic())
        assert await edge.resent() is True
        lane.take(call, Message(b"", b"", b"", NO_RESPONDERS + b"\r\n\r\n"))
        lane.cancel(call)
        lane.beat(beat("one", slots=1, epoch=EPOCH), monotonic())
        await edge.bus.flush()

        assert edge.requests.empty()
        assert (lane.dispatch.pending, call.inbox) == (0, None)
