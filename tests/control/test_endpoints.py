"""Endpoints and their deployments on the wire: operations, traffic, keys, deletes, conflicts."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headrace_api.online_deployment import MAX_INSTANCES
from headrace_api.tokens import verify
from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.bucket import Bucket
from headrace_services.control.identity.issuer import Issuer
from support.control import ControlClient, running_control
from support.edge import running_edge
from support.nats_server import NatsServer
from support.resources import deployment_body, endpoint_body, upload_code

EP = "/onlineEndpoints/my-ep"
SKU = {
    "resourceType": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments",
    "sku": {"name": "Default", "tier": "Standard"},
    "capacity": {"minimum": 1, "maximum": 1000, "default": 1, "scaleType": "Manual"},
}
SCORE = b"def init():\n    pass\n\ndef run(data):\n    return data\n"


async def test_an_endpoint_is_created_by_an_operation(control: ControlClient) -> None:
    put = await control.put("/onlineEndpoints/My-Ep", endpoint_body(description="words"))
    ended = await control.finished(put)
    result = await control.get(put.headers["Location"])
    found = (await control.get(EP)).json

    assert put.status == 201
    assert put.json["properties"]["provisioningState"] == "Creating"
    assert put.headers["Azure-AsyncOperation"].startswith(control.base)
    assert put.headers["Retry-After"]
    assert ended["status"] == "Succeeded"
    assert result.status in (200, 204)
    assert found["name"] == "My-Ep"
    assert found["kind"] == "Managed"
    properties = found["properties"]
    assert properties["provisioningState"] == "Succeeded"
    assert properties["scoringUri"].endswith("/endpoints/my-ep/score")
    assert (properties["traffic"], properties["mirrorTraffic"]) == ({}, {})
    assert "keys" not in properties
    assert (await control.get("/onlineEndpoints")).json["value"] == [found]


async def test_the_same_body_again_changes_nothing(control: ControlClient) -> None:
    await control.created(EP, endpoint_body())
    before = await control.get(EP)
    polluted = endpoint_body(properties={"createdBy": "x", "createdAt": "y", "lastModifiedAt": "z"})

    again = await control.put(EP, polluted)

    assert again.status == 200
    assert "Azure-AsyncOperation" not in again.headers
    assert again.json == before.json
    assert (await control.get(EP)).headers["ETag"] == before.headers["ETag"]


async def test_a_create_that_must_not_overwrite_meets_a_conflict(control: ControlClient) -> None:
    await control.created(EP, endpoint_body())

    same = await control.put(EP, endpoint_body(), **{"If-None-Match": "*"})
    other = await control.put(EP, endpoint_body(description="new"), **{"If-None-Match": "*"})

    assert same.status == 200
    assert (other.status, other.code) == (409, "Conflict")


async def test_an_update_replaces_in_full_and_a_patch_merges(control: ControlClient) -> None:
    await control.created(EP, {**endpoint_body(description="a"), "tags": {"x": "1", "y": "2"}})

    patch = await control.send("PATCH", EP, {"tags": {"x": None, "z": "3"}})
    await control.finished(patch)
    merged = (await control.get(EP)).json
    replaced = await control.created(EP, endpoint_body())

    assert (merged["tags"], merged["properties"]["description"]) == ({"y": "2", "z": "3"}, "a")
    assert (replaced["tags"], replaced["properties"].get("description")) == ({}, None)


async def test_a_stale_revision_is_refused(control: ControlClient) -> None:
    await control.created(EP, endpoint_body())
    etag = (await control.get(EP)).headers["ETag"]
    first = await control.put(EP, endpoint_body(description="a"), **{"If-Match": etag})
    await control.finished(first)

    second = await control.put(EP, endpoint_body(description="b"), **{"If-Match": etag})

    assert (first.status, second.status, second.code) == (200, 409, "Conflict")


async def test_of_many_writers_at_once_one_wins_and_nothing_is_lost(
    control: ControlClient,
) -> None:
    replies = await asyncio.gather(
        *(control.put(EP, endpoint_body(description=str(n))) for n in range(8))
    )
    won = [n for n, reply in enumerate(replies) if reply.status in (200, 201)]

    assert won
    assert {reply.status for reply in replies} <= {200, 201, 409}
    for n in won:
        assert (await control.finished(replies[n]))["status"] == "Succeeded"
    description = (await control.get(EP)).json["properties"]["description"]
    assert description in {str(n) for n in won}


async def test_one_key_changes_and_the_other_stays(control: ControlClient) -> None:
    await control.created(EP, endpoint_body())
    before = (await control.post(f"{EP}/listKeys")).json

    body = {"keyType": "Secondary", "keyValue": before["secondaryKey"]}
    reply = await control.post(f"{EP}/regenerateKeys", body)
    ended = await control.finished(reply)
    after = (await control.post(f"{EP}/listkeys")).json

    assert (reply.status, ended["status"]) == (202, "Succeeded")
    assert after["primaryKey"] == before["primaryKey"]
    assert after["secondaryKey"] != before["secondaryKey"]
    assert (await control.get(EP)).json["properties"]["provisioningState"] == "Succeeded"
    wrong = await control.post(f"{EP}/regenerateKeys", {"keyType": "Third"})
    assert (wrong.status, wrong.code) == (400, "BadArgument")


async def test_a_regeneration_that_met_a_conflict_changed_no_key(control: ControlClient) -> None:
    await control.created(EP, endpoint_body())
    before = (await control.post(f"{EP}/listKeys")).json

    kinds = ["Primary", "Secondary"] * 4
    replies = await asyncio.gather(
        *(control.post(f"{EP}/regenerateKeys", {"keyType": kind}) for kind in kinds)
    )
    for reply in replies:
        if reply.status == 202:
            assert (await control.finished(reply))["status"] == "Succeeded"
    after = (await control.post(f"{EP}/listKeys")).json

    assert {reply.status for reply in replies} <= {202, 409}
    won = {kind for kind, reply in zip(kinds, replies, strict=True) if reply.status == 202}
    changed = {kind for kind in set(kinds) if before[_key(kind)] != after[_key(kind)]}
    assert changed == won


def _key(kind: str) -> str:
    return f"{kind.lower()}Key"


async def test_of_many_creators_at_once_the_keys_are_the_winner_s(control: ControlClient) -> None:
    bodies = [
        endpoint_body(
            description=str(n), keys={"primaryKey": f"{n}" * 16, "secondaryKey": "s" * 16}
        )
        for n in range(8)
    ]
    replies = await asyncio.gather(*(control.put(EP, body) for body in bodies))
    won = [n for n, reply in enumerate(replies) if reply.status == 201]

    await control.finished(replies[won[0]])

    assert len(won) == 1
    assert (await control.post(f"{EP}/listKeys")).json["primaryKey"] == f"{won[0]}" * 16


async def test_keys_are_nowhere_in_clear(control: ControlClient, tmp_path: Path) -> None:
    given = {"primaryKey": "p" * 32, "secondaryKey": "s" * 32}
    await control.created(EP, endpoint_body(keys=given))

    assert (await control.post(f"{EP}/listKeys")).json == given
    stored = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert stored
    assert not [path for path in stored if b"p" * 32 in path.read_bytes()]


async def test_a_token_is_for_one_endpoint_and_half_a_day(control: ControlClient) -> None:
    await control.created(EP, endpoint_body(authMode="AMLToken"))

    token = (await control.post(f"{EP}/token")).json

    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(Issuer.open(control.home).public_key))
    claims = verify(token["accessToken"], key, now_s=time.time())
    assert claims.audience == "score:my-ep"
    assert claims.subject == "admin"
    assert claims.extra["epoch"]
    assert token["expiryTimeUtc"] - claims.issued_s == 12 * 3600
    assert token["refreshAfterTimeUtc"] - claims.issued_s == 6 * 3600
    keys = await control.post(f"{EP}/listKeys")
    assert (keys.status, "does not use keys" in keys.json["error"]["message"]) == (400, True)


async def test_an_endpoint_goes_and_may_come_again(control: ControlClient) -> None:
    await control.created(EP, endpoint_body())
    old = (await control.post(f"{EP}/listKeys")).json

    gone = await control.send("DELETE", EP)
    ended = await control.finished(gone)

    assert (gone.status, ended["status"]) == (202, "Succeeded")
    assert (await control.get(EP)).status == 404
    assert (await control.send("DELETE", EP)).status == 204
    await control.created(EP, endpoint_body())
    assert (await control.post(f"{EP}/listKeys")).json != old


@pytest.mark.parametrize(
    "properties",
    [
        {"traffic": {"blue": 100}},
        {"traffic": {"blue": 90}},
        {"traffic": {"blue": "all"}},
        {"mirrorTraffic": {"blue": 60}},
        {"traffic": []},
        {"authMode": "none"},
        {"compute": "azureml:k8s"},
        {"keys": "short"},
        {"keys": {"primaryKey": "short"}},
    ],
)
async def test_endpoints_that_cannot_be_right_are_refused(
    control: ControlClient, properties: dict[str, Any]
) -> None:
    reply = await control.put(EP, endpoint_body(**properties))

    assert (reply.status, reply.code) == (400, "BadArgument")
    assert (await control.get(EP)).status == 404


async def test_operations_outlive_a_restart(tmp_path: Path, nats_server: NatsServer) -> None:
    async with running_control(tmp_path / "home", nats_server.url) as client:
        put = await client.put(EP, endpoint_body())
        await client.finished(put)
        path = put.headers["Azure-AsyncOperation"].removeprefix(client.base)

    async with running_control(tmp_path / "home", nats_server.url) as client:
        assert (await client.get(f"/{path}")).json["status"] == "Succeeded"
        assert (await client.get(EP)).json["properties"]["provisioningState"] == "Succeeded"


async def test_a_deployment_serves_and_its_rules_hold(
    control: ControlClient, nats_server: NatsServer
) -> None:
    async with running_edge(nats_server.url):
        await serve_and_hold_rules(control)


async def serve_and_hold_rules(control: ControlClient) -> None:
    """Create, traffic and mirror rules, scale, logs, delete: one instance's start is paid once."""
    code = await upload_code(control, {"score.py": SCORE})
    await control.created(EP, endpoint_body())
    blue = f"{EP}/deployments/Blue"

    put = await control.put(blue, deployment_body(code))
    assert (put.status, put.json["properties"]["provisioningState"]) == (201, "Creating"), put.data
    busy = await control.put(blue, deployment_body(code, capacity=2))
    assert (busy.status, busy.code) == (409, "Conflict")
    ended = await control.finished(put, timeout_s=45)
    assert ended["status"] == "Succeeded", ended
    found = (await control.get(blue)).json
    assert found["properties"]["scaleSettings"] == {"scaleType": "Default"}
    assert found["properties"]["statusDetails"]["readyInstances"] == 1
    assert found["sku"]["capacity"] == 1
    assert (await control.get(f"{EP}/deployments")).json["value"] == [found]
    assert (await control.put(blue, deployment_body(code))).status == 200
    stale = await control.put(blue, deployment_body(code, capacity=2), **{"If-Match": '"1"'})
    assert (stale.status, stale.code) == (409, "Conflict")
    skus = await control.get(f"{blue}/skus?count=5")
    assert (skus.status, skus.json) == (200, {"value": [SKU], "nextLink": None})
    assert (await control.get(f"{EP}/deployments/green/skus")).code == "ResourceNotFound"

    for count in (MAX_INSTANCES + 1, 10**30, 0, "many"):
        body = deployment_body(code) | {"sku": {"name": "Default", "capacity": count}}
        for method in ("PUT", "PATCH"):
            refused = await control.send(method, blue, body=body)
            assert refused.status == 400, (method, count, refused.data)
            assert "instance_count" in refused.json["error"]["message"], refused.data

    live = await control.created(EP, endpoint_body(traffic={"BLUE": 100}))
    assert live["properties"]["traffic"] == {"blue": 100}
    mirror = await control.put(EP, endpoint_body(traffic={"blue": 100}, mirrorTraffic={"blue": 5}))
    assert (mirror.status, mirror.code) == (400, "BadArgument")
    held = await control.send("DELETE", blue)
    assert (held.status, "100 %" in held.json["error"]["message"]) == (409, True)

    logs = await control.post(f"{blue}/getLogs", {"tail": 50})
    assert (logs.status, "content" in logs.json) == (200, True)
    wrong = await control.post(f"{blue}/getLogs", {"tail": 0})
    assert (wrong.status, wrong.code) == (400, "BadArgument")

    await control.created(EP, endpoint_body(traffic={}))
    gone = await control.send("DELETE", blue)
    assert gone.status == 202
    assert (await control.finished(gone, timeout_s=45))["status"] == "Succeeded"
    assert (await control.get(blue)).status == 404


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "azureml:absent:1"}, "absent"),
        ({"environmentId": "azureml:absent@latest"}, "absent"),
        ({"environmentId": "azureml://registries/other/environments/e/versions/1"}, "registr"),
        ({"codeConfiguration": {"codeId": "azureml:absent:1", "scoringScript": "s.py"}}, "absent"),
        ({"requestSettings": {"requestTimeout": "PT1H"}}, "request_timeout"),
        ({"requestSettings": None, "livenessProbe": {"period": "soon"}}, "period"),
        ({"scaleSettings": {"scaleType": "TargetUtilization"}}, "belongs to Kubernetes"),
        ({"endpointComputeType": "Kubernetes"}, "Kubernetes"),
    ],
)
async def test_deployments_that_cannot_be_right_are_refused(
    control: ControlClient, change: dict[str, Any], words: str
) -> None:
    code = await upload_code(control, {"score.py": SCORE})
    await control.created(EP, endpoint_body())

    reply = await control.put(f"{EP}/deployments/blue", deployment_body(code, **change))

    assert (reply.status, reply.code) == (400, "BadArgument")
    assert words in reply.json["error"]["message"]
    assert (await control.get(f"{EP}/deployments")).json["value"] == []


async def test_a_deployment_needs_its_endpoint_its_script_and_a_sound_count(
    control: ControlClient,
) -> None:
    code = await upload_code(control, {"other.py": SCORE})

    lost = await control.put(f"{EP}/deployments/blue", deployment_body(code))
    await control.created(EP, endpoint_body())
    script = await control.put(f"{EP}/deployments/blue", deployment_body(code))
    count = await control.put(f"{EP}/deployments/blue", deployment_body(code, capacity=0))

    assert (lost.status, lost.code) == (404, "ResourceNotFound")
    assert (script.status, "score.py" in script.json["error"]["message"]) == (400, True)
    assert (count.status, count.code) == (400, "BadArgument")


@pytest.mark.parametrize("key", ["endpoint.other", "status.endpoint.other"])
async def test_a_record_that_cannot_be_read_hides_no_other(
    control: ControlClient, nats_server: NatsServer, key: str
) -> None:
    await control.created(EP, endpoint_body())
    shown = await control.get(EP)
    bus = await Bus.connect(BusSettings(url=nats_server.url, name="test"))
    bucket = await Bucket.open(bus, "spec" if key.startswith("endpoint") else "state")
    await bucket.create(key, b"[]")

    listed = await control.get("/onlineEndpoints")
    changed = await control.created(EP, endpoint_body(description="still changed"))

    assert [one["name"] for one in listed.json["value"]] == [shown.json["name"]]
    assert changed["properties"]["description"] == "still changed"
    if key == "endpoint.other":
        asked = await control.get("/onlineEndpoints/other")
        assert (asked.status, asked.code) == (500, "InternalServerError")
        assert key in asked.json["error"]["message"]
    await bus.close()
