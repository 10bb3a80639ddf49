"""Curated environment names of Azure stand for package sets; unknown ones name their neighbours."""

from __future__ import annotations

import json

from support.control import ControlClient
from support.resources import deployment_body, endpoint_body, upload_code

REGISTRY = "azureml://registries/azureml/environments"


async def test_a_deployment_may_name_a_curated_environment(control: ControlClient) -> None:
    code = await upload_code(control, {"score.py": b"def init(): ...\ndef run(x): ...\n"})
    await control.created("/onlineEndpoints/cur", endpoint_body())
    path = "/onlineEndpoints/cur/deployments/blue"
    for name in ("sklearn-1.5/labels/latest", "sklearn-1.5/versions/7"):
        body = deployment_body(code, environmentId=f"{REGISTRY}/{name}")
        put = await control.put(path, body)
        assert put.status in (200, 201, 409), put.data
    wrong = await control.put(
        "/onlineEndpoints/cur/deployments/green",
        deployment_body(code, environmentId=f"{REGISTRY}/sklern-1.6/versions/1"),
    )
    foreign = await control.put(
        "/onlineEndpoints/cur/deployments/green",
        deployment_body(code, environmentId="azureml://registries/x/environments/e/versions/1"),
    )

    made = (await control.get("/environments/sklearn-1.5/versions/1")).json["properties"]
    packages = json.loads(made["condaFile"])["dependencies"][-1]["pip"]
    assert "scikit-learn==1.5.*" in packages
    assert (wrong.status, wrong.code) == (400, "BadArgument")
    assert "sklearn-1.5" in wrong.json["error"]["message"]
    assert (foreign.status, foreign.code) == (400, "BadArgument")


async def test_the_old_names_answer_as_environments_of_the_workspace(
    control: ControlClient,
) -> None:
    name = "AzureML-sklearn-1.0-ubuntu20.04-py38-cpu"

    latest = await control.get(f"/environments/{name}/versions?$orderBy=createdtime%20desc&$top=1")
    unknown = await control.get("/environments/AzureML-sklearn-9/versions/1")

    assert latest.json["value"][0]["id"].endswith(f"/environments/{name}/versions/1")
    assert (unknown.status, unknown.code) == (404, "ResourceNotFound")
    assert "sklearn-1.5" in unknown.json["error"]["message"]
