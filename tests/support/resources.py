"""Uploads and bodies as the SDK sends them, for tests of control."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from support.control import WORKSPACE, ControlClient

CONDA: Final = "name: e\ndependencies:\n  - python=3.11\n"


async def upload_model(control: ControlClient, name: str, data: bytes) -> str:
    """One file in the default datastore; returns its long `azureml://` form."""
    secrets = await control.post("/datastores/workspaceblobstore/listSecrets", {})
    path = f"LocalUpload/{name}/model.bin"
    url = f"//blob/default/_.blob.core.windows.net/azureml-blobstore/{path}"
    put = await control.send("PUT", f"{url}?{secrets.json['sasToken']}", data=data)
    assert put.status == 201, put.data
    below = WORKSPACE.replace("resourceGroups", "resourcegroups").replace(
        "/providers/Microsoft.MachineLearningServices", ""
    )
    return f"azureml:/{below}/datastores/workspaceblobstore/paths/LocalUpload/{name}"


async def upload_code(
    control: ControlClient, files: Mapping[str, bytes], *, sha256: str = ""
) -> str:
    """A code version with these files; returns its ARM id."""
    version = f"/codes/{uuid.uuid4()}/versions/1"
    pending = await control.post(
        f"{version}/startPendingUpload", {"pendingUploadType": "TemporaryBlobReference"}
    )
    reference = pending.json["blobReferenceForConsumption"]
    base, _, sas = reference["credential"]["sasUri"].partition("?")
    for name, data in files.items():
        put = await control.send("PUT", f"{base}/src/{name}?{sas}", data=data)
        assert put.status == 201, put.data
    properties = {
        "codeUri": f"{reference['blobUri']}/src",
        "isAnonymous": True,
        "properties": {"hash_sha256": sha256, "hash_version": 202208},
    }
    reply = await control.put(version, {"properties": properties})
    assert reply.status == 201, reply.data
    return str(reply.json["id"])


def endpoint_body(**properties: Any) -> dict[str, Any]:
    """PUT of an endpoint, as the SDK writes it."""
    return {
        "location": "local",
        "tags": {},
        "identity": {"type": "SystemAssigned"},
        "properties": {
            "authMode": "Key",
            "properties": {},
            "traffic": {},
            "mirrorTraffic": {},
            **properties,
        },
    }


def deployment_body(code_id: str, *, capacity: int = 1, **properties: Any) -> dict[str, Any]:
    """PUT of a deployment, as the SDK writes it."""
    return {
        "location": "local",
        "tags": {},
        "sku": {"name": "Default", "capacity": capacity},
        "properties": {
            "endpointComputeType": "Managed",
            "instanceType": "Standard_DS3_v2",
            "codeConfiguration": {"codeId": code_id, "scoringScript": "score.py"},
            "environmentVariables": {},
            "appInsightsEnabled": False,
            "properties": {},
            **properties,
        },
    }
