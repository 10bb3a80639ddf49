"""A channel on a real bus, with instances whose part a test plays."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from headrace_bus.client.connection import Bus
from headrace_bus.client.headers import NO_RESPONDERS
from headrace_bus.client.message import Message
from headrace_bus.client.settings import BusSettings
from headrace_bus.routing.exchange.call import Call, Incoming, Result
from headrace_bus.routing.exchange.channel import Channel
from headrace_bus.routing.exchange.metrics import ChannelMetrics, GatewayMetrics
from headrace_bus.routing.exchange.request_batch import RequestBatch
from headrace_bus.routing.exchange.request_id import new_request_id
from headrace_bus.routing.queueing.dispatch import Dispatch
from headrace_bus.routing.queueing.limits import Peers
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
    """A channel with one instance whose part the test plays."""

    def __init__(self, bus: Bus, channel: Channel) -> None:
        self.bus = bus
        self.channel = channel
        self.requests: asyncio.Queue[Message] = asyncio.Queue()
        self.results: asyncio.Queue[Result] = asyncio.Queue()

    async def ask(self, body: bytes) -> tuple[Request, str]:
        """Start a request; return it as the instance got it, with its reply subject."""
        incoming = Incoming(new_request_id(), request_head("POST", "/score", "", ()), body)
        self.channel.start(incoming, self.deliver)
        message = await asyncio.wait_for(self.requests.get(), BOUND_S)
        return decode_request(message.data), message.reply

    async def answer(
        self, request: Request, reply: str, kind: AnswerKind, epoch: int, *, exec_us: int = 10
    ) -> None:
        """Publish an answer to the request, and return when the channel has seen it."""
        made = Answer(kind, request.request_id, 200, exec_us, 1, 0, "", epoch, b"", request.body)
        self.bus.publish(reply, encode_answer(made))
        await self.bus.flush()

    async def ask_at_once(self, *bodies: bytes) -> list[Message]:
        """Start requests in one turn; return what the instance got, in as many messages."""
        for body in bodies:
            incoming = Incoming(new_request_id(), request_head("POST", "/score", "", ()), body)
            self.channel.start(incoming, self.deliver)
        await self.bus.flush()
        return [self.requests.get_nowait() for _ in range(self.requests.qsize())]

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


def nobody_there(call: Call) -> None:
    """The server's word that nobody got what the call was sent with last."""
    cast("RequestBatch", call.sent_in[-1]).inbox.handler(
        Message(b"", b"", b"", NO_RESPONDERS + b"\r\n\r\n")
    )


@asynccontextmanager
async def edge_on(
    server: NatsServer, *, idempotent: bool = True, peers: Peers | None = None
) -> AsyncIterator[Edge]:
    bus = await Bus.connect(BusSettings(url=server.url, name="edge"))
    try:
        yield await _edge(bus, idempotent, peers)
    finally:
        await bus.close()


async def _edge(bus: Bus, idempotent: bool, peers: Peers | None) -> Edge:
    metrics = ChannelMetrics(GatewayMetrics(Registry()), "houses", "blue")
    route = DeploymentRoute(name="blue", max_concurrent=4, idempotent=idempotent)
    dispatch = Dispatch(random.Random(0))
    channel = Channel(
        bus,
        "in-one",
        route,
        ("houses", "blue"),
        dispatch=dispatch,
        metrics=metrics,
        peers=peers,
    )
    edge = Edge(bus, channel)
    await bus.subscribe(
        instance(InstanceAddress("houses", "blue", "one")), edge.requests.put_nowait
    )
    await bus.flush()
    channel.beat(beat("one", slots=1, epoch=EPOCH), monotonic())
    return edge
