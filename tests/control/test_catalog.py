"""Datastores, computes, schedules and the workspace's own words."""

from __future__ import annotations

import pytest

from support.control import ControlClient

TRIGGER = {"triggerType": "Cron", "expression": "0 3 * * *", "timeZone": "UTC"}
ACTION = {"actionType": "CreateJob", "jobDefinition": {"jobType": "Pipeline"}}


async def test_a_datastore_is_a_container_that_only_its_own_signature_opens(
    control: ControlClient,
) -> None:
    secret = {"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": "k"}}
    properties = {
        "datastoreType": "AzureBlob",
        "accountName": "mine",
        "containerName": "my-data",
        "credentials": secret,
    }
    put = await control.put("/datastores/Mine", {"properties": properties})
    found = (await control.get("/datastores/mine")).json
    secrets = (await control.post("/datastores/mine/listSecrets", {})).json
    sas = secrets["sasToken"]

    base = "//blob/default"
    own = await control.send("PUT", f"{base}/my-data/a/b.txt?{sas}", data=b"1")
    other = await control.send("PUT", f"{base}/azureml-blobstore/a/b.txt?{sas}", data=b"1")
    data = {"dataType": "uri_file", "dataUri": "azureml://datastores/mine/paths/a/b.txt"}
    asset = await control.put("/data/d/versions/1", {"properties": data})
    model = {"modelUri": "azureml://datastores/mine/paths/a"}

    assert (put.status, found["name"]) == (201, "Mine")
    assert found["properties"]["credentials"] == {"credentialsType": "AccountKey"}
    assert b'"k"' not in put.data
    assert (own.status, other.status, asset.status) == (201, 403, 201)
    assert (await control.put("/models/m/versions/1", {"properties": model})).status == 201


async def test_the_installation_s_own_cannot_be_changed(control: ControlClient) -> None:
    for path in ("/datastores/workspaceblobstore", "/computes/cpu-cluster"):
        put = await control.put(path, {"properties": {}})
        deleted = await control.send("DELETE", path)
        assert (put.status, put.code, deleted.status) == (409, "Conflict", 409)
        assert (await control.get(path)).status == 200
    default = (await control.get("/datastores?isDefault=true&count=30&orderByAsc=false")).json
    assert [one["name"] for one in default["value"]] == ["workspaceblobstore"]


async def test_a_compute_is_kept_merged_and_deleted(control: ControlClient) -> None:
    scale = {"minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT2M"}
    properties = {
        "computeType": "AmlCompute",
        "properties": {"vmSize": "Standard_F2s_v2", "scaleSettings": scale},
    }
    put = await control.put("/computes/big", {"location": "local", "properties": properties})
    more = {"properties": {"properties": {"scaleSettings": {"maxNodeCount": 9}}}}
    patched = await control.send("PATCH", "/computes/big", more)
    listed = (await control.get("/computes")).json["value"]
    gone = await control.send("DELETE", "/computes/big?underlyingResourceAction=Delete")

    assert put.status == 201, put.data
    assert put.json["properties"]["provisioningState"] == "Succeeded"
    found = patched.json["properties"]["properties"]
    assert found["scaleSettings"] == scale | {"maxNodeCount": 9}
    assert found["vmSize"] == "Standard_F2s_v2"
    assert [one["name"] for one in listed] == ["cpu-cluster", "big"]
    assert (gone.status, (await control.get("/computes/big")).status) == (200, 404)


async def test_a_schedule_that_would_not_run_is_refused_and_one_that_is_disabled_kept(
    control: ControlClient,
) -> None:
    properties = {"trigger": TRIGGER, "action": ACTION, "displayName": "nightly"}
    enabled = await control.put("/schedules/one", {"properties": properties})
    off = {"properties": {**properties, "isEnabled": False}}
    put = await control.put("/schedules/two", off)
    on = await control.put("/schedules/two", {"properties": {**properties, "isEnabled": True}})

    async def names(view: str) -> list[str]:
        found = await control.get(f"/schedules?listViewType={view}")
        return [one["name"] for one in found.json["value"]]

    for refused in (enabled, on):
        assert (refused.status, refused.code) == (400, "BadArgument")
        assert "schedules do not run here yet" in refused.json["error"]["message"]
    assert (put.status, put.json["properties"]["isEnabled"]) == (201, False)
    assert put.json["properties"]["provisioningState"] == "Succeeded"
    assert await names("EnabledOnly") == []
    assert await names("DisabledOnly") == await names("All") == ["two"]
    assert (await control.send("DELETE", "/schedules/two")).status == 200
    assert (await control.get("/schedules/two")).status == 404


@pytest.mark.parametrize(
    ("path", "properties"),
    [
        ("/datastores/d", {"datastoreType": "AzureFile", "containerName": "abc"}),
        ("/datastores/d", {"datastoreType": "AzureBlob", "containerName": "../x"}),
        ("/datastores/d", {"datastoreType": None}),
        ("/computes/c", {"computeType": "Kubernetes"}),
        ("/computes/c", {"computeType": "AmlCompute", "properties": {}}),
        (
            "/computes/c",
            {
                "computeType": "AmlCompute",
                "properties": {"vmSize": "x", "scaleSettings": {"maxNodeCount": "many"}},
            },
        ),
        ("/schedules/s", {"trigger": None, "action": ACTION}),
        ("/schedules/s", {"trigger": {**TRIGGER, "expression": "daily"}, "action": ACTION}),
        ("/schedules/s", {"trigger": {"triggerType": "Recurrence"}, "action": ACTION}),
        ("/schedules/s", {"trigger": TRIGGER, "action": {"actionType": "Dance"}}),
        ("/schedules/s", {"trigger": TRIGGER, "action": ACTION, "isEnabled": "yes"}),
    ],
)
async def test_what_cannot_be_right_is_refused(
    control: ControlClient, path: str, properties: dict[str, object]
) -> None:
    reply = await control.put(path, {"properties": properties})

    assert (reply.status, reply.code) == (400, "BadArgument")
    assert (await control.get(path)).status == 404


async def test_the_workspace_takes_tags_and_words(control: ControlClient) -> None:
    body = {"tags": {"team": "a"}, "properties": {"description": "ours", "friendlyName": "F"}}

    patched = await control.send("PATCH", "", body)
    found = (await control.get("")).json

    assert patched.status == 200
    assert found["tags"] == {"team": "a"}
    assert (found["properties"]["description"], found["properties"]["friendlyName"]) == (
        "ours",
        "F",
    )
