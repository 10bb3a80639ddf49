"""Managed online deployments: YAML to ARM and back, defaults, ranges, and paths that must exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.errors import InvalidInput
from headrace_api.ids import ResourceId
from headrace_api.online_deployment import OnlineDeployment, validate_deployment_arm

WORKSPACE = ResourceId()
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{1,10}[a-z0-9])", fullmatch=True)
SECONDS = st.integers(min_value=1_000, max_value=100_000).map(lambda ms: ms / 1_000)
PROBES = st.fixed_dictionaries(
    {
        "initial_delay": SECONDS,
        "period": SECONDS,
        "timeout": SECONDS,
        "success_threshold": st.just(1),
        "failure_threshold": st.integers(1, 100),
    }
)
COLLECTORS = st.fixed_dictionaries(
    {
        "sampling_rate": st.sampled_from([0.0, 0.25, 1.0]),
        "rolling_rate": st.sampled_from(["Minute", "Hour", "Day"]),
        "collections": st.dictionaries(
            NAMES,
            st.fixed_dictionaries({"enabled": st.sampled_from(["True", "False"])}),
            min_size=1,
            max_size=5,
        ),
    }
)
DEPLOYMENTS = st.fixed_dictionaries(
    {
        "name": NAMES,
        "endpoint_name": NAMES,
        "instance_type": st.just("Standard_DS3_v2"),
        "instance_count": st.integers(1, 50),
        "model": st.just("azureml:m:1"),
        "environment": st.just("azureml:e:2"),
        "code_configuration": st.just({"code": "azureml:c:3", "scoring_script": "score.py"}),
        "environment_variables": st.dictionaries(
            NAMES, st.text(max_size=5).filter(lambda text: "\0" not in text), max_size=2
        ),
        "app_insights_enabled": st.booleans(),
        "request_settings": st.fixed_dictionaries(
            {
                "request_timeout_ms": st.integers(1, 180_000),
                "max_concurrent_requests_per_instance": st.integers(1, 100),
                "max_queue_wait_ms": st.integers(0, 180_000),
            }
        ),
        "liveness_probe": PROBES,
        "readiness_probe": PROBES,
        "location": st.just("local"),
    },
    optional={"data_collector": COLLECTORS, "startup_probe": PROBES},
)


@given(DEPLOYMENTS)
def test_a_deployment_survives_the_wire(values: dict[str, Any]) -> None:
    """References come back as ids; every other value is the same, sub-second ones too."""
    deployment = OnlineDeployment.from_values(values)
    body = deployment.to_arm(WORKSPACE)
    again = validate_deployment_arm(body, endpoint=deployment.endpoint_name, name=deployment.name)
    code = deployment.code_configuration
    assert code is not None
    ids = {
        "model": body["properties"]["model"],
        "environment": body["properties"]["environmentId"],
        "code_configuration": code.model_copy(
            update={"code": body["properties"]["codeConfiguration"]["codeId"]}
        ),
    }
    assert again == deployment.model_copy(update=ids)
    assert again.to_arm(WORKSPACE) == body


def project(folder: Path, **changes: object) -> Path:
    (folder / "src").mkdir(exist_ok=True)
    (folder / "src" / "score.py").write_text("def init(): ...\ndef run(data): return data\n")
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "m.pkl").write_bytes(b"x")
    values: dict[str, object] = {
        "name": "blue",
        "endpoint_name": "my-endpoint",
        "model": {"path": "model"},
        "code_configuration": {"code": "src", "scoring_script": "score.py"},
        "instance_type": "Standard_DS3_v2",
        "instance_count": 1,
    }
    path = folder / "blue.yml"
    path.write_text(yaml.safe_dump(values | changes))
    return path


def fault(path: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        OnlineDeployment.from_yaml(path)
    return caught.value.message


def test_paths_are_found_beside_the_file_and_defaults_are_azures(tmp_path: Path) -> None:
    deployment = OnlineDeployment.from_yaml(project(tmp_path))
    assert deployment.to_yaml()["model"]["path"] == str(tmp_path / "model")
    settings = deployment.request_settings
    assert (settings.request_timeout_ms, settings.max_queue_wait_ms) == (5_000, 500)
    assert settings.max_concurrent_requests_per_instance == 1
    assert deployment.liveness_probe.failure_threshold == 30
    assert deployment.options.idempotent
    assert deployment.options.wake_timeout_ms == 300_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"instance_count": 0}, "instance_count is 0: at least 1"),
        ({"instance_count": "two"}, "instance_count is 'two': a whole number"),
        ({"instance_count": True}, "instance_count is True: a whole number"),
        ({"request_settings": {"request_timeout_ms": 180_001}}, "at most 180000 is allowed"),
        ({"request_settings": {"request_timeout": 5}}, "did you mean 'request_timeout_ms'?"),
        ({"liveness_probe": {"success_threshold": 2}}, "liveness_probe.success_threshold is 2"),
        ({"readiness_probe": {"period": 0}}, "readiness_probe.period is 0: at least 1"),
        ({"type": "kubernetes"}, "type is 'kubernetes': Kubernetes is not supported yet"),
        ({"resources": {"requests": {}}}, "resources is not supported: Kubernetes"),
        (
            {"scale_settings": {"type": "target_utilization"}},
            "scale_settings.type is 'target_utilization': it belongs to Kubernetes",
        ),
        ({"model": {"path": "modell"}}, "model.path is 'modell': no such file or folder"),
        ({"model": "modell"}, "model is 'modell': no such file or folder"),
        ({"model": ["a"]}, "a reference, a path or a block is allowed"),
        ({"model": "azureml:m"}, "is not a reference to models"),
        ({"environment": "conda.yml"}, "environment is 'conda.yml': azureml:<name>:<version>"),
        ({"environment": {"channels": []}}, "environment.channels belongs in conda_file"),
        (
            {"environment": {"image": "x", "build": {"path": "."}}},
            "environment.build is not supported: images are not built here yet",
        ),
        (
            {"environment": {"image": "x", "inference_config": {}}},
            "environment.inference_config.liveness_route is required",
        ),
        (
            {"code_configuration": {"code": "src", "scoring_script": "../x.py"}},
            "code_configuration.scoring_script is '../x.py': a path inside the code folder",
        ),
        (
            {"code_configuration": {"code": "src", "scoring_script": "none.py"}},
            "code_configuration.scoring_script is 'none.py': no such file",
        ),
        ({"code_configuration": {"code": "src"}}, "code_configuration.scoring_script is required"),
        ({"environment_variables": {"A": 1.5}}, "environment_variables.A is (hidden): text"),
        ({"properties": {"headrace.idempotent": "maybe"}}, "'true' or 'false' is allowed"),
        ({"properties": {"headrace.hedged": "true"}}, "is not an option: allowed are headrace."),
        ({"properties": {"headrace.maxBodyBytes": "0"}}, "a number of bytes up to"),
        ({"properties": {"headrace.wakeTimeout": "5m"}}, "a duration such as PT5M is allowed"),
        ({"model_mount_path": "a/b"}, "an absolute path without '..'"),
        ({"data_collector": {"sampling_rate": 2}}, "data_collector.sampling_rate is 2: at most 1"),
        ({"name": "-blue"}, "deployment name '-blue' is not allowed"),
    ],
)
def test_what_breaks_a_rule_is_named(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    message = fault(project(tmp_path, **changes))
    assert said in message
    assert message.startswith("blue.yml")


def test_a_model_that_leaves_its_folder_by_a_link_is_refused(tmp_path: Path) -> None:
    path = project(tmp_path)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "model" / "inside.pkl").symlink_to("m.pkl")
    OnlineDeployment.from_yaml(path)
    (tmp_path / "model" / "outside").symlink_to(tmp_path / "secret")
    assert "links to a place outside the folder" in fault(path)


@pytest.mark.parametrize("target", ["loop", "gone.pkl"])
def test_a_link_in_a_model_that_leads_nowhere_is_refused(tmp_path: Path, target: str) -> None:
    path = project(tmp_path)
    (tmp_path / "model" / "loop").symlink_to(target)
    assert "loop is a broken link" in fault(path)


def test_every_fault_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    lines = fault(project(tmp_path, instance_count="x", nonsense=1, model="none")).splitlines()
    assert len(lines) == 3


def test_conda_files_are_read_from_a_path_or_a_block(tmp_path: Path) -> None:
    conda = {"dependencies": ["python=3.11", {"pip": ["numpy"]}]}
    (tmp_path / "conda.yml").write_text(yaml.safe_dump(conda))
    (tmp_path / "env.yml").write_text("image: img\nconda_file: conda.yml\n")
    for block in ({"conda_file": "conda.yml"}, {"conda_file": conda}, "file:env.yml"):
        deployment = OnlineDeployment.from_yaml(project(tmp_path, environment=block))
        assert deployment.to_yaml()["environment"]["conda_file"] == conda


def test_a_wire_body_without_queue_wait_has_the_default() -> None:
    """The SDK loses sub-second durations between get and update."""
    code = {"codeId": "azureml:c:1", "scoringScript": "score.py"}
    settings = {"requestSettings": {"requestTimeout": "PT3S"}, "codeConfiguration": code}
    body = {"properties": settings, "sku": {"capacity": 2}}
    deployment = validate_deployment_arm(body, endpoint="iris", name="Blue")
    assert deployment.request_settings.max_queue_wait_ms == 500
    assert (deployment.name, deployment.instance_count) == ("blue", 2)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"requestSettings": {"requestTimeout": "5 s"}}, "requestTimeout"),
        ({"requestSettings": {"requestTimeout": 5}}, "requestTimeout is 5"),
        ({"requestSettings": []}, "requestSettings must be an object"),
        ({"model": "/etc/passwd"}, "model must be the id"),
        ({"model": f"{WORKSPACE}/environments/e/versions/1"}, "is not a reference to models"),
        ({"codeConfiguration": {"codeId": "x", "scoringScript": "a.py"}}, "codeId must be the id"),
        ({"endpointComputeType": "Kubernetes"}, "is 'Kubernetes': Kubernetes is not supported"),
        ({"livenessProbe": {"period": "PT0.2S"}}, "liveness_probe.period is 0.2: at least 1"),
    ],
)
def test_a_wrong_wire_body_is_refused(properties: dict[str, Any], said: str) -> None:
    code = {"codeConfiguration": {"codeId": "azureml:c:1", "scoringScript": "score.py"}}
    body = {"properties": code | properties}
    with pytest.raises(InvalidInput) as caught:
        validate_deployment_arm(body, endpoint="iris", name="blue")
    assert said in caught.value.message
