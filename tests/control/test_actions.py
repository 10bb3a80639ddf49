"""Actions and lists of the wire that need no store of their own; no ingress runs here."""

from __future__ import annotations

import shutil

from headrace_api import instance_types
from headrace_api.ids import PROVIDER
from support.control import WORKSPACE, ControlClient

REGION = f"//{WORKSPACE.split('/resourceGroups')[0][1:]}/providers/{PROVIDER}/locations/local"


async def test_a_workspace_has_no_azure_keys_and_nothing_to_resync(control: ControlClient) -> None:
    keys = await control.post("/listKeys")
    again = await control.post("/resyncKeys")

    assert keys.status == 200
    assert "userStorageKey" in keys.json
    assert set(keys.json.values()) == {None}
    assert (again.status, again.data) == (200, b"")


async def test_a_compute_has_no_nodes_and_an_unknown_one_is_not_found(
    control: ControlClient,
) -> None:
    nodes = await control.post("/computes/cpu-cluster/listNodes")
    unknown = await control.post("/computes/nothing/listNodes")

    assert nodes.json == {"nodes": [], "nextLink": None}
    assert (unknown.status, unknown.code) == (404, "ResourceNotFound")


async def test_the_region_tells_known_sizes_and_keeps_no_quota(control: ControlClient) -> None:
    sizes = {one["name"]: one for one in (await control.get(f"{REGION}/vmSizes")).json["value"]}

    assert set(sizes) == {one.name for one in instance_types.KNOWN}
    assert (sizes["Standard_DS3_v2"]["vCPUs"], sizes["Standard_DS3_v2"]["memoryGB"]) == (4, 14)
    assert (sizes["Standard_F4s_v2"]["vCPUs"], sizes["Standard_F4s_v2"]["memoryGB"]) == (4, 8)
    assert (await control.get(f"{REGION}/usages")).json["value"] == []


async def test_a_diagnosis_tells_what_is_wrong_and_leaves_nothing(control: ControlClient) -> None:
    incoming, kept = control.home.blobs / "incoming", control.home.blobs / "sha256"
    sound = (await control.post("/diagnose", {"value": {}})).json["value"]
    left = [*incoming.iterdir(), *kept.iterdir()]
    shutil.rmtree(incoming)

    broken = (await control.post("/diagnose", {"value": {}})).json["value"]

    assert left == []
    assert sound["storageAccountResults"] == []
    assert [one["code"] for one in sound["otherResults"]] == ["IngressNotRunning"]
    assert [one["code"] for one in broken["storageAccountResults"]] == ["StorageNotWritable"]
    assert broken["storageAccountResults"][0]["level"] == "Error"
