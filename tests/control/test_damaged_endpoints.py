"""An endpoint or a deployment whose record cannot be read is put right by a PUT, or deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.bucket import Bucket
from headrace_state.records import Spec, operation_key
from support.control import ControlClient, running_control
from support.damage import damage
from support.edge import running_edge
from support.nats_server import NatsServer
from support.resources import deployment_body, endpoint_body, upload_code

EP: Final = "/onlineEndpoints/iris"
BLUE: Final = f"{EP}/deployments/blue"
SCORE: Final = b"def init():\n    pass\ndef run(data):\n    return data\n"


@pytest.fixture
async def control(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[ControlClient]:
    """One with an endpoint and its deployment; what is left of it goes with the test."""
    async with (
        running_control(tmp_path / "home", nats_server.url) as client,
        running_edge(nats_server.url),
    ):
        await client.created(EP, endpoint_body())
        code = await upload_code(client, {"score.py": SCORE})
        await client.created(BLUE, deployment_body(code))
        yield client
        if (gone := await client.send("DELETE", EP)).status == 202:
            await client.finished(gone)


async def code_of(control: ControlClient) -> str:
    return str((await control.get(BLUE)).json["properties"]["codeConfiguration"]["codeId"])


async def test_a_put_of_an_endpoint_keeps_its_deployments_and_keys(
    control: ControlClient, nats_server: NatsServer
) -> None:
    keys = (await control.post(f"{EP}/listKeys")).json
    await damage(nats_server.url, "spec", "endpoint.iris")

    only_new = await control.send("PUT", EP, endpoint_body(), headers={"If-None-Match": "*"})
    ended = await control.finished(await control.put(EP, endpoint_body(traffic={"blue": 100})))

    assert (only_new.status, only_new.code) == (409, "Conflict")
    assert ended["status"] == "Succeeded"
    assert (await control.get(EP)).json["properties"]["traffic"] == {"blue": 100}
    assert (await control.get(BLUE)).json["properties"]["provisioningState"] == "Succeeded"
    assert (await control.post(f"{EP}/listKeys")).json == keys
    await control.created(EP, endpoint_body())  # without traffic it may be deleted


async def test_a_put_of_a_deployment_starts_it_anew(
    control: ControlClient, nats_server: NatsServer
) -> None:
    body = deployment_body(await code_of(control))
    await damage(nats_server.url, "spec", "deployment.iris.blue")

    assert (await control.get(BLUE)).status == 500
    put = await control.put(BLUE, body)
    assert put.status == 201, put.data
    assert (await control.finished(put))["status"] == "Succeeded"
    assert (await control.get(BLUE)).json["properties"]["statusDetails"]["readyInstances"] == 1


async def test_a_deployment_is_deleted(control: ControlClient, nats_server: NatsServer) -> None:
    await damage(nats_server.url, "spec", "deployment.iris.blue")

    gone = await control.send("DELETE", BLUE)

    assert gone.status == 202, gone.data
    assert (await control.finished(gone))["status"] == "Succeeded"
    assert (await control.get(BLUE)).status == 404
    assert (await control.get(EP)).status == 200


@pytest.mark.parametrize(
    "keys",
    [("endpoint.iris",), ("deployment.iris.blue",), ("endpoint.iris", "deployment.iris.blue")],
)
async def test_an_endpoint_is_deleted_with_what_cannot_be_read(
    control: ControlClient, nats_server: NatsServer, keys: tuple[str, ...]
) -> None:
    for key in keys:
        await damage(nats_server.url, "spec", key)

    gone = await control.send("DELETE", EP)

    assert gone.status == 202, gone.data
    assert (await control.finished(gone))["status"] == "Succeeded"
    assert (await control.get(EP)).status == 404
    async with await Bus.connect(BusSettings(url=nats_server.url, name="test")) as bus:
        specs = await Bucket.open(bus, "spec")
        assert await specs.list("deployment") == {}


@pytest.mark.parametrize(
    ("path", "key"), [(EP, "status.endpoint.iris"), (BLUE, "status.deployment.iris.blue")]
)
async def test_a_put_that_changes_nothing_puts_a_status_right(
    control: ControlClient, nats_server: NatsServer, path: str, key: str
) -> None:
    body = endpoint_body() if path == EP else deployment_body(await code_of(control))
    await damage(nats_server.url, "state", key)

    asked = await control.get(path)
    ended = await control.finished(await control.put(path, body))

    assert (asked.status, key in asked.json["error"]["message"]) == (500, True)
    assert ended["status"] == "Succeeded"
    assert (await control.get(path)).json["properties"]["provisioningState"] == "Succeeded"


async def test_an_operation_that_cannot_be_read_holds_up_no_change(
    control: ControlClient, nats_server: NatsServer
) -> None:
    async with await Bus.connect(BusSettings(url=nats_server.url, name="test")) as bus:
        specs = await Bucket.open(bus, "spec")
        record = await specs.get("endpoint.iris")
        assert record is not None
        operation = operation_key(Spec.decode(record.value, record.key).operation)
    await damage(nats_server.url, "state", operation)

    changed = await control.put(EP, endpoint_body(description="new"))

    assert (await control.finished(changed))["status"] == "Succeeded"
