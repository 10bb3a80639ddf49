"""Settings that do nothing here: what protects is refused, what informs is warned of and shown."""

from __future__ import annotations

from typing import Any

import pytest

from headrace_api.settings.told import WARNING, warnings_in
from headrace_api.views import deployment_view, environment_view
from headrace_state.records import Spec, endpoint_key
from headrace_telemetry.clock import timestamp
from support.control import ControlClient
from support.damage import damage
from support.nats_server import NatsServer
from support.resources import CONDA, deployment_body, endpoint_body, upload_code

EP = "/onlineEndpoints/my-ep"
BLUE = f"{EP}/deployments/blue"
SCORE = {"score.py": b"def init():\n    pass\n\ndef run(data):\n    return data\n"}
ROUTE = {"port": 80, "path": "/"}
CMK = {"status": "Enabled", "keyVaultProperties": {"keyIdentifier": "https://v/k"}}


@pytest.mark.parametrize(
    ("method", "path", "properties", "said"),
    [
        ("PUT", EP, {"publicNetworkAccess": "Disabled"}, "close the way to the ingress"),
        ("PUT", "/environments/e/versions/1", {"build": {"contextUri": "x"}}, "use conda_file"),
        (
            "PUT",
            "/environments/e/versions/1",
            {"image": "i", "inferenceConfig": {"scoringRoute": ROUTE}},
            "use conda_file and a scoring script",
        ),
        ("PATCH", "", {"encryption": CMK}, "put the home on an encrypted disk"),
        ("PATCH", "", {"publicNetworkAccess": "Disabled"}, "close the way to it"),
        ("PUT", "/computes/c", {"properties": {"subnet": {"id": "s"}}}, "nothing would be closed"),
        ("PUT", "/schedules/s", {"action": {"actionType": "CreateJob"}}, "do not run here yet"),
    ],
)
async def test_what_protects_or_cannot_work_is_refused_with_what_to_do_instead(
    control: ControlClient, method: str, path: str, properties: dict[str, Any], said: str
) -> None:
    reply = await control.send(method, path, {"properties": properties})

    assert (reply.status, reply.code) == (400, "BadArgument"), reply.data
    assert said in reply.json["error"]["message"]
    assert reply.json["error"]["target"].startswith("properties.")


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"egressPublicNetworkAccess": "Disabled"}, "close the host's way out"),
        ({"environmentVariables": {"K": "${{azureml://connections/c}}"}}, "give the value itself"),
    ],
)
async def test_a_deployment_that_would_not_be_protected_is_refused(
    control: ControlClient, properties: dict[str, Any], said: str
) -> None:
    await control.created(EP, endpoint_body())
    code_id = await upload_code(control, SCORE)

    reply = await control.put(BLUE, deployment_body(code_id, **properties))

    assert (reply.status, reply.code) == (400, "BadArgument")
    assert said in reply.json["error"]["message"]
    assert (await control.get(BLUE)).status == 404


async def test_what_a_deployment_s_settings_do_not_do_is_in_the_answer_and_in_show(
    control: ControlClient,
) -> None:
    """Of its own settings, of its environment, and of what the host lacks, with numbers."""
    await control.created(EP, endpoint_body())
    code_id = await upload_code(control, SCORE)
    given = {"properties": {"image": "mcr/any:1", "condaFile": CONDA}}
    environment = await control.put("/environments/both/versions/1", given)
    body = deployment_body(
        code_id,
        capacity=900,
        appInsightsEnabled=True,
        instanceType="Standard_NC6s_v3",
        environmentId=environment.json["id"],
    )

    put = await control.put(BLUE, body)
    found = (await control.get(BLUE)).json
    listed = (await control.get(f"{EP}/deployments")).json["value"]
    told = warnings_in(put.json)

    assert put.status == 201, put.data
    assert warnings_in(found) == told == warnings_in(listed[0])
    assert deployment_view(found)["warnings"] == told
    assert WARNING not in deployment_view(found)["properties"]
    assert [line.partition(" ")[0] for line in told] == [
        "app_insights_enabled",
        "environment.image",
        "instance_type",
        "instance_count",
    ]
    assert "900: this host has" in told[-1]
    of_environment = environment_view(environment.json)["warnings"]
    assert [line.partition(" ")[0] for line in of_environment] == ["image"]


async def test_keys_that_are_not_kept_are_told_and_told_again_by_show(
    control: ControlClient,
) -> None:
    sku = {"name": "Default", "capacity": 1, "tier": "Premium"}
    endpoint = await control.put(EP, endpoint_body(sampling={"rate": 1}) | {"zones": ["1"]})
    await control.finished(endpoint)
    code_id = await upload_code(control, SCORE)
    put = await control.put(BLUE, deployment_body(code_id, hyperdrive=True) | {"sku": sku})

    assert warnings_in((await control.get(EP)).json) == [
        "properties.sampling is not known here: nothing is read of it",
        "zones is not known here: nothing is read of it",
    ]
    told = warnings_in((await control.get(BLUE)).json)
    assert told == warnings_in(put.json)
    assert [line.partition(" ")[0] for line in told] == ["sku.tier", "properties.hyperdrive"]


async def test_a_warning_that_a_client_sends_back_is_not_stored(control: ControlClient) -> None:
    properties = {
        "computeType": "AmlCompute",
        "properties": {"vmSize": "Standard_F2s_v2"},
    }
    first = await control.put("/computes/c", {"properties": properties})
    again = await control.put("/computes/c", {"properties": first.json["properties"]})
    given = {"image": "mcr/any:1", "condaFile": CONDA}
    one = await control.put("/environments/both/versions/1", {"properties": given})
    sent_back = {"properties": one.json["properties"] | {"condaFile": CONDA, "image": "mcr/any:1"}}
    two = await control.put("/environments/both/versions/1", sent_back)

    assert len(warnings_in(first.json)) == 1
    assert warnings_in(again.json) == warnings_in(first.json)
    assert len(warnings_in(one.json)) == 1
    assert (two.status, warnings_in(two.json)) == (200, warnings_in(one.json))


async def test_what_an_earlier_release_stored_is_told_by_show(
    control: ControlClient, nats_server: NatsServer
) -> None:
    """It serves on, and nothing protects it."""
    await control.created(EP, endpoint_body())
    arm = endpoint_body(publicNetworkAccess="Disabled")
    stored = Spec(name="my-ep", arm=arm, created_at=timestamp(), modified_at=timestamp())
    await damage(nats_server.url, "spec", endpoint_key("my-ep"), stored.encode())

    told = warnings_in((await control.get(EP)).json)

    assert told[0].startswith("public_network_access is 'Disabled': the ingress serves")
    refused = await control.send("PATCH", EP, {"tags": {"a": "b"}})
    assert (refused.status, refused.code) == (400, "BadArgument")


async def test_what_is_applied_warns_of_nothing(control: ControlClient) -> None:
    endpoint = await control.created(EP, endpoint_body())
    code_id = await upload_code(control, SCORE)
    put = await control.put(BLUE, deployment_body(code_id))
    assert (warnings_in(endpoint), warnings_in(put.json)) == ([], [])
