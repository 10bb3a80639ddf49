"""Each write to the API leaves one event that can be read, and that holds no secret."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from headrace_bus.client.connection import Bus
from headrace_bus.client.message import Message
from headrace_bus.client.roles import Role
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.events import MAX_BYTES, MAX_EACH, MAX_EVENT_BYTES, Events
from headrace_bus.wire.subjects import all_events, event
from headrace_services.control.trail.event_log import DONE, KINDS, REFUSED, USED
from headrace_state.records import Spec, deployment_key, endpoint_key
from support.control import WORKSPACE, ControlClient, running_control
from support.identity import as_bearer, fetch_token, make_client
from support.nats_server import NatsServer
from support.platform_nats import platform_nats
from support.resources import endpoint_body

EP = "/onlineEndpoints/my-ep"


async def test_a_write_is_told_with_who_what_and_how_it_ended_and_a_read_is_not(
    control: ControlClient,
) -> None:
    client = await make_client(control, "reader")
    token = await fetch_token(control, client)
    keys = {"primaryKey": "p" * 32, "secondaryKey": "s" * 32}
    await control.created(EP, endpoint_body(keys=keys))
    await control.post(f"{EP}/listKeys")
    await control.put(EP, {"properties": None})
    await as_bearer(control, token, "DELETE", EP)
    await control.get(EP)

    events = (await control.get("/events")).json["value"]

    told = [(one["data"]["who"], one["data"]["action"], one["data"]["outcome"]) for one in events]
    kind = "Microsoft.MachineLearningServices/workspaces"
    assert told == [
        (f"client:{client.id}", f"{kind}/onlineEndpoints/delete", "Forbidden"),
        ("admin", f"{kind}/onlineEndpoints/write", "BadArgument"),
        ("admin", f"{kind}/onlineEndpoints/listKeys/action", "Succeeded"),
        ("admin", f"{kind}/onlineEndpoints/write", "Succeeded"),
        ("admin", f"{kind}/clients/write", "Succeeded"),
    ]
    assert events[0]["subject"] == WORKSPACE + EP
    assert {one["specversion"] for one in events} == {"1.0"}
    assert len({one["id"] for one in events}) == len(events)
    times = [datetime.fromisoformat(one["time"]) for one in events]
    assert times == sorted(times, reverse=True)
    text = json.dumps(events)
    assert not [one for one in (*keys.values(), client.secret, token) if one in text]
    assert (await control.get("/events?$top=2")).json["value"] == events[:2]
    assert (await control.get("/events?$top=x")).code == "BadArgument"


async def _listening(nats_server: NatsServer) -> tuple[Bus, asyncio.Queue[Message]]:
    """Every event from now on; the bus is the caller's to close."""
    bus = await Bus.connect(BusSettings(url=nats_server.url, name="test"))
    heard: asyncio.Queue[Message] = asyncio.Queue()
    await bus.subscribe(all_events(), heard.put_nowait)
    await bus.flush()
    return bus, heard


async def test_events_outlive_control_and_reach_who_subscribes(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    bus, heard = await _listening(nats_server)
    async with running_control(tmp_path / "home", nats_server.url) as control:
        await asyncio.gather(
            *(
                control.put(f"/datastores/{n}a", {"properties": {"containerName": "abc"}})
                for n in range(80)
            )
        )
    async with running_control(tmp_path / "home", nats_server.url) as control:
        events = (await control.get("/events?$top=1000")).json["value"]

    assert len({one["subject"] for one in events}) == 80
    said = [json.loads((await heard.get()).data) for _ in range(80)]
    assert {one["id"] for one in said} == {one["id"] for one in events}
    await bus.close()


STORED_BESIDE_BYTES = 128
"""Of each message: its subject, its id in a header, and what the server puts around it."""


def test_no_kind_of_event_pushes_out_another() -> None:
    assert len(KINDS) * MAX_EACH * (MAX_EVENT_BYTES + STORED_BESIDE_BYTES) <= MAX_BYTES


async def test_the_refusal_of_any_path_leaves_an_event(control: ControlClient) -> None:
    for letter in ("x", "%22", "%F0%9F%9A%82"):
        await control.put(f"/onlineEndpoints/{letter * 600}", {"properties": {}})

    events = (await control.get("/events")).json["value"]

    assert [one["data"]["outcome"] for one in events] == ["BadArgument"] * 3
    assert max(len(json.dumps(one)) for one in events) <= MAX_EVENT_BYTES


@pytest.mark.parametrize(
    ("method", "arm"), [("PUT", {}), ("DELETE", {"properties": {"traffic": 5}})]
)
async def test_a_write_that_fails_of_our_own_fault_leaves_an_event(
    control: ControlClient, nats_server: NatsServer, method: str, arm: dict[str, Any]
) -> None:
    """A record that no version of ours wrote is the fault; who asked could not know of it.

    The first is told by its name, the second is foreseen by nobody.
    """
    bus = await Bus.connect(BusSettings(url=nats_server.url, name="test"))
    specs = await Bucket.open(bus, "spec")
    await specs.create(
        endpoint_key("iris"), Spec(name="iris", arm=arm, deployments=("blue",)).encode()
    )
    whole = Spec(name="blue", arm={"properties": {}}).encode()
    await specs.create(deployment_key("iris", "blue"), whole)
    await bus.close()

    path = "/onlineEndpoints/iris/deployments/blue"
    reply = await control.send(method, path, {})
    assert (reply.status, reply.code) == (500, "InternalServerError")

    (event_of_it,) = (await control.get("/events")).json["value"]
    assert event_of_it["data"]["outcome"] == "InternalServerError"
    assert event_of_it["data"]["who"] == "admin"
    assert event_of_it["subject"] == f"{WORKSPACE}{path}"


async def test_a_client_that_leaves_amid_its_body_is_told_apart(
    control: ControlClient, nats_server: NatsServer
) -> None:
    bus, heard = await _listening(nats_server)
    reader, writer = await control.connected()
    head = f"PUT {WORKSPACE}{EP} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    head += f"Authorization: Bearer {control.token}\r\nExpect: 100-continue\r\n\r\n"
    writer.write(head.encode())
    await reader.readuntil(b"\r\n\r\n")  # it is being read
    writer.write(b"{")
    writer.close()

    async with asyncio.timeout(10):
        told = await heard.get()
    assert told.subject == event(REFUSED)
    assert json.loads(told.data)["data"]["outcome"] == "ClientClosedRequest"
    await bus.close()


async def test_what_a_scorer_may_do_is_kept_apart_from_what_was_changed(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    bus, heard = await _listening(nats_server)
    async with running_control(tmp_path / "home", nats_server.url) as control:
        await control.created(EP, endpoint_body(authMode="AMLToken"))
        assert (await control.post(f"{EP}/token")).status == 200
        assert (await control.post(f"{EP}/listKeys")).status == 400

    async with asyncio.timeout(10):
        subjects = [(await heard.get()).subject for _ in range(3)]
    assert subjects == [event(DONE), event(USED), event(REFUSED)]
    await bus.close()


async def test_control_may_write_events_and_nobody_else_may() -> None:
    async with platform_nats() as nats:
        events = await Events.open(await nats.bus(Role.CONTROL))
        await events.write("done", {"id": "1"})
        for role in (Role.INGRESS, Role.ROUTER, Role.CALLER):
            other = await nats.bus(role)
            other.publish("event.done", b"{}")
            await other.flush()

        assert await events.last(10) == [{"id": "1"}]
