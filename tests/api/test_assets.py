"""Models, environments, error bodies and operations on the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_api import arm
from headrace_api.code import validate_code_arm
from headrace_api.environment import Environment, validate_environment_arm
from headrace_api.errors import InvalidInput, NotFound
from headrace_api.model import Model, validate_model_arm
from headrace_api.operation import operation_body, read_operation

PATH = "azureml://datastores/workspaceblobstore/paths/LocalUpload/abc/model"


def test_a_model_survives_the_wire() -> None:
    model = Model.from_values({"path": PATH, "tags": {"a": "b"}, "type": "mlflow_model"})
    assert validate_model_arm(model.to_arm()) == model
    assert model.to_arm()["properties"]["flavors"] == {}


@pytest.mark.parametrize(
    "uri", [None, "", "https://example.org/m.pkl", "azureml://datastores/d/paths/../x"]
)
def test_a_model_needs_an_address_in_a_datastore(uri: str | None) -> None:
    with pytest.raises(InvalidInput):
        validate_model_arm({"properties": {"modelUri": uri}})


def test_an_integer_version_is_text_and_a_boolean_is_refused() -> None:
    assert Model.from_values({"name": "m", "version": 1, "path": PATH}).version == "1"
    with pytest.raises(InvalidInput, match="put it in quotes"):
        Model.from_values({"name": "m", "version": True, "path": PATH})


def test_an_environment_survives_the_wire_and_its_digest_is_its_definition() -> None:
    values = {"image": "img", "conda_file": {"dependencies": ["python=3.11"]}}
    environment = Environment.from_values(values)
    assert validate_environment_arm(environment.to_arm()) == environment
    named = Environment.from_values(values | {"name": "e", "description": "d"})
    assert named.digest() == environment.digest()
    other = Environment.from_values({"image": "img2"})
    assert other.digest() != environment.digest()


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"image": "x", "build": {"contextUri": "y"}},
        {"condaFile": "- a"},
        {"condaFile": "dependencies: 3"},
    ],
)
def test_an_environment_that_cannot_be_built_is_refused(properties: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        validate_environment_arm({"properties": properties})


def test_code_needs_an_address() -> None:
    assert validate_code_arm({"properties": {"codeUri": "u"}}) == "u"
    with pytest.raises(InvalidInput, match="codeUri is required"):
        validate_code_arm({"properties": {}})


def test_an_error_of_ours_is_read_back_from_its_body() -> None:
    found = arm.read_error(arm.error_of(NotFound("no 'x'", hint="make it", target="x")))
    assert found is not None
    assert (found.code, found.message, found.target) == ("ResourceNotFound", "no 'x'", "x")
    assert found.details == (("Hint", "make it"),)
    assert arm.read_error({"error": "text"}) is None
    assert arm.read_error([]) is None


def test_an_operation_is_read_back_with_its_steps_and_error() -> None:
    error = arm.error_body("UserScriptError", "init() raised")["error"]
    body = operation_body(
        "1", path="/p", status="Failed", error=error, steps=[("fetch", 0.5), ("load", 1.0)]
    )
    found = read_operation(body)
    assert found.done
    assert not found.succeeded
    assert found.steps == (("fetch", 0.5), ("load", 1.0))
    assert found.error is not None
    assert found.error.code == "UserScriptError"
    assert not read_operation({"status": "Running"}).done


def test_a_local_model_path_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such file or folder"):
        Model.from_values({"name": "m", "path": "none"}, base=tmp_path)
