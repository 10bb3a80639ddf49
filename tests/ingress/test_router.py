"""Callers on the bus itself get the same answers from the router (design 3.1)."""

from __future__ import annotations

import asyncio
import json

from headrace_bus.client.connection import Message
from headrace_bus.routing.gateway import GatewaySettings
from headrace_bus.wire.subjects import score
from headrace_services.router.app import run
from headrace_services.router.settings import RouterSettings
from support.ingress_world import BOUND_S, World, make_route


async def start(world: World) -> None:
    stop, ready = asyncio.Event(), asyncio.Event()
    settings = RouterSettings(nats_url=world.server.url, home=world.home)
    gateway = GatewaySettings(ingress_id="ro-one")
    task = asyncio.create_task(run(settings, stop, on_ready=ready, gateway=gateway))
    world.stops.append((stop, task))
    await ready.wait()
    await world.until(lambda: "ro-one" in world.applied)


async def ask(world: World, data: bytes, **headers: str) -> tuple[str, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await world.bus.request(score("houses"), data, 10.0, named)
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
