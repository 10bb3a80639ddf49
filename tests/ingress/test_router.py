"""Callers on the bus itself get the same answers from the router."""

from __future__ import annotations

import asyncio
import json
import os

import pytest

from headrace_bus.client.connection import Message
from headrace_bus.routing.bodies.shared_file import HANDED_BYTES, MESSAGE_BYTES
from headrace_bus.routing.edge.gateway import GatewaySettings
from headrace_bus.wire.subjects import score
from headrace_services.router.app import run
from headrace_services.router.settings import RouterSettings
from ingress.test_pulled_bodies import nothing_left
from support.ingress_world import BOUND_S, World, make_route
from support.pulling_instance import PullingInstance
from support.tcp_proxy import TcpProxy


async def start(world: World, nats_url: str = "") -> None:
    stop, ready = asyncio.Event(), asyncio.Event()
    settings = RouterSettings(nats_url=nats_url or world.server.url, home=world.home)
    gateway = GatewaySettings(ingress_id="ro-one")
    task = asyncio.create_task(run(settings, stop, on_ready=ready, gateway=gateway))
    world.stops.append((stop, task))
    await ready.wait()
    await world.until(lambda: "ro-one" in world.applied)


async def close(world: World) -> None:
    """End the router."""
    stop, task = world.stops[-1]
    stop.set()
    await asyncio.wait_for(task, BOUND_S)


async def ask(world: World, data: bytes, **headers: str) -> tuple[str, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await world.bus.request(score("houses"), data, BOUND_S, named)
    assert answer.headers is not None
    return answer.headers["Hr-Status"], answer.data


async def test_the_router_routes_scores_and_refuses_like_the_ingress(world: World) -> None:
    await start(world)
    await world.route(make_route())
    one = await world.instance()

    assert await ask(world, b"[1]") == ("200", b"[1]")
    assert await ask(world, b"[2]", azureml_model_deployment="blue") == ("200", b"[2]")
    status, body = await ask(world, b"[3]", azureml_model_deployment="red")
    assert (status, json.loads(body)["error"]["code"]) == ("404", "DeploymentNotFound")
    assert await ask(world, b"[4]", x_request_timeout_ms="5000") == ("200", b"[4]")
    assert [request.body for request in one.seen] == [b"[1]", b"[2]", b"[4]"]


async def test_a_streamed_answer_is_several_messages_with_numbers(world: World) -> None:
    await start(world)
    await world.route(make_route())
    await world.instance()
    got: list[Message] = []
    ended = asyncio.Event()

    def receive(message: Message) -> None:
        got.append(message)
        if "Hr-End" in (message.headers or {}):
            ended.set()

    inbox = world.bus.open_inbox(receive)
    world.bus.publish(score("houses"), b'{"chunks": 20}', inbox.subject)
    await asyncio.wait_for(ended.wait(), BOUND_S)
    inbox.close()

    assert [int((one.headers or {})["Hr-Seq"]) for one in got] == list(range(21))
    assert (got[-1].headers or {})["Hr-End"] == "complete"
    assert got[0].data == b"piece 0\n"


async def test_an_answer_never_goes_where_only_the_router_may_publish(world: World) -> None:
    """A caller names any reply subject it likes; ours must not become somebody else's message."""
    await start(world)
    await world.route(make_route())
    await world.instance()
    heard: list[Message] = []
    await world.bus.subscribe("control.houses.blue.victim", heard.append)

    world.bus.publish(score("houses"), b"[1]", "control.houses.blue.victim")
    assert await ask(world, b"[2]") == ("200", b"[2]")
    await world.bus.flush()

    assert heard == []


class Pieces:
    """What comes on the reply subject of one streamed answer."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.first = asyncio.Event()
        self.ended = asyncio.Event()

    def __call__(self, message: Message) -> None:
        self.got.append(message)
        self.first.set()
        if "Hr-End" in (message.headers or {}) or "Hr-Seq" not in (message.headers or {}):
            self.ended.set()

    def field(self, name: str) -> list[str]:
        return [(one.headers or {})[name] for one in self.got if name in (one.headers or {})]

    @property
    def body(self) -> bytes:
        return b"".join(one.data for one in self.got)


async def asked(world: World, body: bytes) -> Pieces:
    """The whole answer, in however many messages it comes."""
    pieces = Pieces()
    inbox = world.bus.open_inbox(pieces)
    world.bus.publish(score("houses"), body, inbox.subject)
    await asyncio.wait_for(pieces.ended.wait(), BOUND_S)
    inbox.close()
    return pieces


@pytest.mark.parametrize("size", [HANDED_BYTES, MESSAGE_BYTES - 1, MESSAGE_BYTES])
async def test_a_large_body_and_its_answer_are_one_message_each(world: World, size: int) -> None:
    await start(world)
    await world.route(make_route())
    one = await world.instance()
    body = b"x" + os.urandom(size - 1)

    got = await asked(world, body)

    assert (got.field("Hr-Status"), got.field("Hr-Seq")) == (["200"], [])
    assert got.body == body
    assert one.seen[0].body == body


@pytest.mark.parametrize("size", [MESSAGE_BYTES + 1, 2 * MESSAGE_BYTES + 5])
async def test_an_answer_that_no_message_carries_comes_in_pieces(world: World, size: int) -> None:
    """Its files are gone once the caller has it."""
    await start(world)
    await world.route(make_route())
    await world.pulling()

    for _ in range(2):
        got = await asked(world, b"large=%d" % size)
        assert got.body == b"x" * size
        assert got.field("Hr-End") == ["complete"]
        assert [int(number) for number in got.field("Hr-Seq")] == list(range(len(got.got)))
        assert set(got.field("Hr-Status")) == {"200"}
        assert not [name for name in got.got[0].headers or {} if name.lower() == "hr-size"]
    await nothing_left(world)


async def test_a_large_answer_past_the_deployments_limit_is_refused_by_name(world: World) -> None:
    await start(world)
    limit = MESSAGE_BYTES + 1
    await world.route(make_route(max_body_bytes=limit))
    await world.pulling()

    got = await asked(world, b"large=%d" % (limit + 1))

    assert got.field("Hr-Status") == ["424"]
    message = json.loads(got.body)["error"]["message"]
    assert str(limit) in message
    assert str(limit + 1) in message
    await nothing_left(world)


async def test_a_body_past_the_limit_is_refused_with_both_sizes(world: World) -> None:
    await start(world)
    await world.route(make_route(max_body_bytes=HANDED_BYTES))
    one = await world.instance()

    got = await asked(world, b"x" * (HANDED_BYTES + 1))

    assert got.field("Hr-Status") == ["413"]
    assert str(HANDED_BYTES + 1) in json.loads(got.body)["error"]["message"]
    assert one.seen == []


@pytest.mark.parametrize("at", [1, 9])
async def test_an_instance_that_dies_inside_a_large_answer_costs_nothing(
    world: World, at: int
) -> None:
    await start(world)
    await world.route(make_route(request_timeout_ms=20_000))
    doomed = await world.pulling()
    doomed.pieces_until_death = at
    call = asyncio.create_task(asked(world, b"large=%d" % (2 * MESSAGE_BYTES)))
    await asyncio.wait_for(doomed.reached.wait(), BOUND_S)
    spare = PullingInstance(world.server.url, doomed.address._replace(iid="spare"), 4)
    await spare.start()
    world.instances.append(spare)
    got = await call

    assert got.body == b"x" * (2 * MESSAGE_BYTES)
    assert got.field("Hr-End") == ["complete"]
    await nothing_left(world)


async def test_a_large_answer_that_a_cut_went_through_ends_as_broken(world: World) -> None:
    """What was on the way is lost, and the caller, who was not cut off, hears of it."""
    async with TcpProxy(world.server.port) as proxy:
        await start(world, proxy.url)
        await world.route(make_route(request_timeout_ms=20_000))
        await world.pulling()
        proxy.hold_from(b"Hr-Seq: ", skip=5)
        call = asyncio.create_task(asked(world, b"large=%d" % (2 * MESSAGE_BYTES)))
        await asyncio.wait_for(proxy.held.wait(), BOUND_S)
        proxy.cut()
        got = await call

        assert got.field("Hr-End") == ["broken"]
        assert 0 < len(got.body) < 2 * MESSAGE_BYTES
        await nothing_left(world)
        await close(world)


ENDLESS = b'{"chunks": 1000000, "pause_s": 0.001}'


async def test_a_stream_that_nobody_listens_to_any_more_gives_its_slot_back(world: World) -> None:
    """Long before the request's own timeout, which begins anew with each piece."""
    await start(world)
    await world.route(make_route(request_timeout_ms=120_000, max_queue_wait_ms=30_000))
    one = await world.instance(slots=1)
    pieces = Pieces()
    listening = await world.bus.subscribe("_INBOX.caller", pieces)
    world.bus.publish(score("houses"), ENDLESS, "_INBOX.caller")
    await asyncio.wait_for(pieces.first.wait(), BOUND_S)
    await listening.unsubscribe()

    assert await ask(world, b"[1]") == ("200", b"[1]")
    assert [request.body for request in one.seen] == [ENDLESS, b"[1]"]
    assert one.cancelled == [one.seen[0].request_id]


async def test_a_stream_that_a_cut_went_through_gives_its_slot_back(world: World) -> None:
    async with TcpProxy(world.server.port) as proxy:
        await start(world, proxy.url)
        await world.route(make_route(request_timeout_ms=120_000, max_queue_wait_ms=30_000))
        one = await world.instance(slots=1)
        pieces = Pieces()
        inbox = world.bus.open_inbox(pieces)
        world.bus.publish(score("houses"), ENDLESS, inbox.subject)
        await asyncio.wait_for(pieces.first.wait(), BOUND_S)
        proxy.cut()
        await asyncio.wait_for(pieces.ended.wait(), BOUND_S)

        assert pieces.field("Hr-End") == ["broken"]
        assert await ask(world, b"[1]") == ("200", b"[1]")
        assert set(one.cancelled) == {one.seen[0].request_id}  # again after the cut
        await close(world)
