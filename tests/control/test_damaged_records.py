"""One record that cannot be read hides no other, names itself, and can be put right or deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest
import structlog

from headrace_state.records import asset_key, catalog_key
from support.control import ControlClient
from support.damage import DAMAGES, damage
from support.nats_server import NatsServer
from support.resources import deployment_body, endpoint_body, upload_code, upload_model

PATHS: Final = "azureml://datastores/workspaceblobstore/paths"
TRIGGER: Final = {"triggerType": "Cron", "expression": "0 3 * * *"}
SPEC: Final = {"type": "command", "command": "echo", "name": "m", "version": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of resource: two of them, of which one is damaged."""

    listed: str
    whole: str
    damaged: str
    key: str
    properties: dict[str, Any]

    @property
    def body(self) -> dict[str, Any]:
        return {"properties": self.properties}


def versions(kind: str, **properties: Any) -> Kind:
    base = f"/{kind}/m/versions"
    return Kind(
        listed=f"{base}?listViewType=All",
        whole=f"{base}/1",
        damaged=f"{base}/2",
        key=asset_key(kind, "m", "2"),
        properties=properties,
    )


def catalog(kind: str, **properties: Any) -> Kind:
    return Kind(
        listed=f"/{kind}?listViewType=All",
        whole=f"/{kind}/whole",
        damaged=f"/{kind}/broken",
        key=catalog_key(kind, "broken"),
        properties=properties,
    )


KINDS: Final = {
    "model": versions("models", modelUri=f"{PATHS}/LocalUpload/m"),
    "environment": versions("environments", image="img:1"),
    "code": versions("codes", codeUri=f"{PATHS}/LocalUpload/m"),
    "data": versions("data", dataType="uri_folder", dataUri=f"{PATHS}/x"),
    "component": versions("components", componentSpec=SPEC),
    "datastore": catalog("datastores", datastoreType="AzureBlob", containerName="my-data"),
    "compute": catalog("computes", computeType="AmlCompute", properties={"vmSize": "x"}),
    "schedule": catalog(
        "schedules", trigger=TRIGGER, action={"actionType": "CreateJob"}, isEnabled=False
    ),
}
every_kind: Final = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


async def ids(control: ControlClient, path: str) -> set[str]:
    reply = await control.get(path)
    assert reply.status == 200, reply.data
    return {one["id"].partition("/workspaces/default")[2] for one in reply.json["value"]}


@asynccontextmanager
async def logged() -> AsyncIterator[list[str]]:
    """The keys of the records that control's log says cannot be read."""
    keys: list[str] = []
    with structlog.testing.capture_logs() as lines:
        yield keys
    keys += [str(one["key"]) for one in lines if one["event"] == "a record cannot be read"]


@every_kind
@pytest.mark.parametrize("data", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_list_shows_the_others_and_the_damaged_one_names_itself(
    control: ControlClient, nats_server: NatsServer, kind: Kind, data: bytes
) -> None:
    await upload_model(control, "m", b"1")
    assert (await control.put(kind.whole, kind.body)).status == 201
    before = await ids(control, kind.listed)
    await damage(nats_server.url, "spec", kind.key, data)

    asked = await control.get(kind.damaged)

    async with logged() as keys:
        assert await ids(control, kind.listed) == before
        assert await ids(control, kind.listed) == before
    assert kind.whole in before
    assert (asked.status, kind.key in asked.json["error"]["message"]) == (500, True)
    assert keys == [kind.key], "said once, not for each list"


@every_kind
async def test_a_put_of_the_same_name_puts_it_right(
    control: ControlClient, nats_server: NatsServer, kind: Kind
) -> None:
    await upload_model(control, "m", b"1")
    await damage(nats_server.url, "spec", kind.key)

    stale = await control.put(kind.damaged, kind.body, **{"If-Match": '"0"'})
    put = await control.put(kind.damaged, kind.body)

    assert (stale.status, stale.code) == (409, "Conflict")
    assert put.status == 201, put.data
    assert (await control.get(kind.damaged)).status == 200
    assert kind.damaged in await ids(control, kind.listed)
    assert (await control.put(kind.damaged, kind.body)).status == 200


@every_kind
async def test_it_can_be_deleted(
    control: ControlClient, nats_server: NatsServer, kind: Kind
) -> None:
    await damage(nats_server.url, "spec", kind.key)

    first = await control.send("DELETE", kind.damaged)
    second = await control.send("DELETE", kind.damaged)

    assert (first.status, second.status) == (200, 204)
    assert (await control.get(kind.damaged)).status == 404


async def test_the_next_version_is_never_that_of_a_damaged_one(
    control: ControlClient, nats_server: NatsServer
) -> None:
    body = KINDS["environment"].body
    await control.put("/environments/m/versions/1", body)
    await damage(nats_server.url, "spec", asset_key("environments", "m", "7"))
    await damage(nats_server.url, "spec", asset_key("environments", "other", "1"))

    (listed,) = (await control.get("/environments")).json["value"]
    shown = (await control.get("/environments/m")).json
    lost = await control.get("/environments/other")

    assert listed["name"] == "m"
    assert shown["properties"] == listed["properties"]
    assert (shown["properties"]["latestVersion"], shown["properties"]["nextVersion"]) == ("1", "8")
    assert (lost.status, "asset.environments.other.1" in lost.json["error"]["message"]) == (
        500,
        True,
    ), "there is such a name, but nothing can be told of it"


async def test_latest_is_not_guessed_for_a_deployment_while_a_version_cannot_be_read(
    control: ControlClient, nats_server: NatsServer
) -> None:
    """The damaged one may be the newest; to serve another in its place would be told to nobody."""
    await control.put("/environments/m/versions/1", KINDS["environment"].body)
    key = asset_key("environments", "m", "2")
    await damage(nats_server.url, "spec", key)
    code = await upload_code(control, {"score.py": b"pass"})
    await control.created("/onlineEndpoints/iris", endpoint_body())
    body = deployment_body(code, environmentId="azureml:m@latest")

    asked = await control.put("/onlineEndpoints/iris/deployments/blue", body)

    assert (asked.status, key in asked.json["error"]["message"]) == (500, True)
    assert (await control.get("/onlineEndpoints/iris/deployments")).json["value"] == []


async def test_a_container_that_cannot_be_read_hides_no_name_and_is_put_right_or_deleted(
    control: ControlClient, nats_server: NatsServer
) -> None:
    body = KINDS["environment"].body
    for name in ("m", "n"):
        await control.put(f"/environments/{name}/versions/1", body)
        await damage(nats_server.url, "spec", f"asset-container.environments.{name}")

    assert await ids(control, "/environments") == {"/environments/m", "/environments/n"}
    assert (await control.get("/environments/m")).status == 500
    put = await control.put("/environments/m", {"properties": {"description": "words"}})
    assert put.status == 200, put.data
    assert (await control.get("/environments/m")).json["properties"]["description"] == "words"
    assert (await control.send("DELETE", "/environments/n")).status == 200
    assert (await control.get("/environments/n")).status == 404


async def test_a_name_is_deleted_with_the_versions_that_cannot_be_read(
    control: ControlClient, nats_server: NatsServer
) -> None:
    await control.put("/environments/m/versions/1", KINDS["environment"].body)
    await damage(nats_server.url, "spec", asset_key("environments", "m", "2"))

    assert (await control.send("DELETE", "/environments/m")).status == 200
    assert (await control.get("/environments/m/versions/2")).status == 404
    assert (await control.send("DELETE", "/environments/m")).status == 204


async def test_a_curated_environment_that_cannot_be_read_is_written_anew_when_it_is_named(
    control: ControlClient, nats_server: NatsServer
) -> None:
    name = "AzureML-sklearn-1.5"
    await damage(nats_server.url, "spec", asset_key("environments", name, "1"))

    assert (await control.get(f"/environments/{name}/versions/1")).status == 200
    assert len(await ids(control, f"/environments/{name}/versions")) == 1


async def test_the_words_of_the_workspace_are_put_right(
    control: ControlClient, nats_server: NatsServer
) -> None:
    await damage(nats_server.url, "spec", catalog_key("workspaces", "default"))

    assert (await control.get("")).status == 500
    assert (await control.send("PATCH", "", {"tags": {"team": "a"}})).status == 200
    assert (await control.get("")).json["tags"] == {"team": "a"}
