"""Models, environments and code on the wire: versions, latest, archive, uploads."""

from __future__ import annotations

import pytest

from support.control import ControlClient
from support.resources import CONDA, upload_code, upload_model


async def test_a_model_version_comes_back_with_what_the_sdk_needs(control: ControlClient) -> None:
    uri = await upload_model(control, "m", b"weights")
    body = {"properties": {"modelUri": uri, "tags": {"a": "b"}, "description": "words"}}

    put = await control.put("/models/m/versions/1", body)
    found = (await control.get("/models/m/versions/1")).json

    assert put.status == 201
    assert found["id"].endswith("/workspaces/default/models/m/versions/1")
    assert found["properties"]["flavors"] == {}
    assert found["properties"]["modelType"] == "custom_model"
    assert found["properties"]["tags"] == {"a": "b"}
    assert set(found["systemData"]) >= {"createdAt", "lastModifiedAt"}


async def test_a_version_keeps_its_bytes_and_may_change_its_words(control: ControlClient) -> None:
    one = await upload_model(control, "one", b"1")
    two = await upload_model(control, "two", b"2")
    await control.put("/models/m/versions/1", {"properties": {"modelUri": one}})

    words = await control.put(
        "/models/m/versions/1", {"properties": {"modelUri": f"{one}/", "description": "new"}}
    )
    other = await control.put("/models/m/versions/1", {"properties": {"modelUri": two}})

    assert (words.status, words.json["properties"]["description"]) == (200, "new")
    assert (other.status, other.code) == (400, "UserError")
    assert other.json["error"]["message"] == "Asset paths cannot be updated."


async def test_latest_is_the_newest_creation_and_next_counts_on(control: ControlClient) -> None:
    uri = await upload_model(control, "m", b"1")
    for version in ("2", "10", "1"):
        await control.put(f"/models/m/versions/{version}", {"properties": {"modelUri": uri}})

    top = await control.get("/models/m/versions?$orderBy=createdtime%20desc&$top=1")
    container = (await control.get("/models/m")).json

    assert [one["id"].rpartition("/")[2] for one in top.json["value"]] == ["1"]
    assert container["properties"]["latestVersion"] == "1"
    assert container["properties"]["nextVersion"] == "11"


async def test_archived_versions_and_containers_leave_the_lists(control: ControlClient) -> None:
    uri = await upload_model(control, "m", b"1")
    properties = {"modelUri": uri}
    await control.put("/models/m/versions/1", {"properties": properties})
    await control.put("/models/m/versions/2", {"properties": {**properties, "isArchived": True}})
    await control.put("/models/n/versions/1", {"properties": properties})
    await control.put("/models/n", {"properties": {"isArchived": True}})

    async def names(path: str) -> list[str]:
        return [one["id"].rpartition("/")[2] for one in (await control.get(path)).json["value"]]

    assert await names("/models/m/versions") == ["1"]
    assert await names("/models/m/versions?listViewType=ArchivedOnly") == ["2"]
    assert await names("/models/m/versions?listViewType=All") == ["2", "1"]
    assert await names("/models") == ["m"]
    assert await names("/models?listViewType=ArchivedOnly") == ["n"]


async def test_a_version_can_be_deleted_once(control: ControlClient) -> None:
    uri = await upload_model(control, "m", b"1")
    await control.put("/models/m/versions/1", {"properties": {"modelUri": uri}})

    first = await control.send("DELETE", "/models/m/versions/1")
    second = await control.send("DELETE", "/models/m/versions/1")

    assert (first.status, second.status) == (200, 204)
    assert (await control.get("/models/m")).status == 404


@pytest.mark.parametrize(
    ("path", "properties"),
    [
        ("/models/m/versions/1", {}),
        ("/models/m/versions/1", {"modelUri": None}),
        ("/models/m/versions/1", {"modelUri": 5}),
        ("/models/m/versions/1", {"modelUri": "azureml://datastores/workspaceblobstore/paths/x"}),
        ("/models/m/versions/1", {"modelUri": "azureml://datastores/workspaceblobstore/paths/.."}),
        ("/models/m/versions/1", {"modelUri": "file:///etc/passwd"}),
        ("/models/m/versions/1", {"modelUri": "https://[x/blob/default/azureml-blobstore/x"}),
        ("/environments/e/versions/1", {"condaFile": "dependencies: [!!bool 2]"}),
        ("/environments/e/versions/1", {"condaFile": 'name: "\\U00110000"'}),
        ("/environments/e/versions/1", {}),
        ("/environments/e/versions/1", {"image": "i", "build": {"contextUri": "x"}}),
        ("/environments/e/versions/1", {"condaFile": "\tnot: yaml"}),
        ("/environments/e/versions/1", {"condaFile": "dependencies: 5"}),
        ("/codes/c/versions/1", {"codeUri": "https://elsewhere.example/x"}),
        ("/models/m/versions/1", {"modelUri": "azureml://datastores/none/paths/x"}),
    ],
)
async def test_assets_that_cannot_be_right_are_refused(
    control: ControlClient, path: str, properties: dict[str, object]
) -> None:
    await control.refuses(path, properties)


async def test_an_environment_keeps_its_definition(control: ControlClient) -> None:
    path = "/environments/e/versions/1"
    properties = {"image": "img:1", "condaFile": CONDA}

    first = await control.put(path, {"properties": properties})
    again = await control.put(path, {"properties": {**properties, "description": "words"}})
    other = await control.put(path, {"properties": {**properties, "image": "img:2"}})

    assert (first.status, again.status) == (201, 200)
    # The stock client tries the latest version first, and takes a 409 alone for "make a new one".
    assert (other.status, other.code) == (409, "Conflict")
    assert (await control.get(path)).json["properties"]["condaFile"] == CONDA


async def test_code_is_found_again_by_its_hash(control: ControlClient) -> None:
    code_id = await upload_code(control, {"score.py": b"pass"}, sha256="ab" * 32)

    found = await control.get(f"/codes/anything/versions?hash={'ab' * 32}&hashVersion=202208")
    none = await control.get(f"/codes/anything/versions?hash={'cd' * 32}&hashVersion=202208")

    assert [one["id"] for one in found.json["value"]] == [code_id]
    assert none.json["value"] == []
