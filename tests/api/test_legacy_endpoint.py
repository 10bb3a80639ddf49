"""The single file of 2021: what its documentation shows is split; what has no place is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_api.errors import InvalidInput
from headrace_api.legacy_endpoint import LegacyFile, is_legacy, split
from headrace_api.online_deployment import OnlineDeployment
from headrace_api.online_endpoint import OnlineEndpoint
from headrace_api.resource import read_resource
from headrace_api.yaml_file import parse_yaml

# The keys of the table in seeds/002, each as it is described there.
DOCUMENTED = """\
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json
name: my-endpoint
type: online
auth_mode: aml_token
traffic:
  blue: 90
  green: 10
deployments:
  - name: blue
    model:
      name: sklearn-regression-model
      version: 1
      local_path: model/model.pkl
    code_configuration:
      code:
        local_path: onlinescoring
      scoring_script: score.py
    environment:
      name: sklearn-env
      version: 1
      path: .
      conda_file: file:conda.yml
      docker:
        image: mcr.microsoft.com/azureml/openmpi3.1.2-ubuntu18.04:20210301.v1
    instance_type: Standard_F2s_v2
    scale_settings:
      scale_type: manual
      instance_count: 3
  - name: green
    model: azureml:my-model:1
    environment: azureml:my-env:1
    code_configuration:
      code:
        local_path: onlinescoring
      scoring_script: score.py
    instance_type: Standard_F2s_v2
    scale_settings: {scale_type: manual, instance_count: 1, min_instances: 1, max_instances: 2}
"""
SMALL = "name: my-endpoint\ndeployments:\n  - name: blue\n"


def split_text(text: str) -> LegacyFile:
    return split(parse_yaml(text, path=Path("endpoint.yml")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model/model.pkl", "onlinescoring/score.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / "conda.yml").write_text("dependencies: [python]\n")
    return tmp_path


def test_the_documented_file_is_an_endpoint_and_two_deployments(folder: Path) -> None:
    parts = split_text(DOCUMENTED)

    endpoint = read_resource(OnlineEndpoint, parts.endpoint, base=folder)
    blue, green = (read_resource(OnlineDeployment, one, base=folder) for one in parts.deployments)

    assert (endpoint.name, endpoint.auth_mode) == ("my-endpoint", "aml_token")
    assert endpoint.traffic == {"blue": 90, "green": 10}
    assert (blue.endpoint_name, blue.name, blue.instance_count) == ("my-endpoint", "blue", 3)
    assert blue.model.path == str(folder / "model/model.pkl")  # type: ignore[union-attr]
    assert (blue.model.name, blue.model.version) == ("sklearn-regression-model", "1")  # type: ignore[union-attr]
    assert blue.code_configuration.code == str(folder / "onlinescoring")  # type: ignore[union-attr]
    assert blue.environment.image.endswith("20210301.v1")  # type: ignore[union-attr]
    assert blue.environment.conda_file == "dependencies: [python]\n"  # type: ignore[union-attr]
    assert (green.model, green.environment) == ("azureml:my-model:1", "azureml:my-env:1")
    assert green.instance_count == 1


def test_a_file_of_today_is_none_of_these() -> None:
    assert not is_legacy({"name": "my-endpoint", "traffic": {}})
    assert is_legacy({"name": "my-endpoint", "deployments": []})


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("    target: azureml:aks\n", r"endpoint.yml:4: deployments\[0\].target belongs to Kube"),
        ("    scale_settings: {scale_type: auto}\n", r"scale_type is 'auto': manual is allowed"),
        ("    scale_settings: {polling_interval: 1}\n", "polling_interval has no equivalent"),
        ("    scale_settings: 3\n", "scale_settings must be a block"),
        ("    environment: {docker: {build: x}}\n", "only docker.image is"),
        ("  - name: Blue\n", r"deployments\[1\].name is 'blue' a second time"),
        ("  - 7\n", "deployments must be a list of blocks"),
        ("type: batch\n", "type is 'batch': online is allowed"),
        ("target: azureml:aks\n", r"endpoint.yml:4: target belongs to Kubernetes"),
        (
            "traffic: {blue: 50, red: 50}\n",
            r"traffic.red is not a deployment in this file; it has b",
        ),
    ],
)
def test_what_has_no_place_today_is_told_with_its_line_or_key(more: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        split_text(SMALL + more)


def test_faults_inside_a_deployment_keep_the_line_of_the_file() -> None:
    parts = split_text(SMALL + "    instance_type: a\n    instance_count: two\n")
    with pytest.raises(InvalidInput, match=r"endpoint\.yml:5: instance_count is 'two'"):
        read_resource(OnlineDeployment, parts.deployments[0])


@pytest.mark.parametrize("block", ["deployments: 3", "deployments: {blue: {}}"])
def test_deployments_that_are_no_list_are_refused(block: str) -> None:
    with pytest.raises(InvalidInput, match="deployments must be a list"):
        split_text(f"name: e\n{block}\n")
