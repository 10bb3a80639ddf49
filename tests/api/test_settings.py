"""The table of settings: complete, true to what is read, and told on its page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from headrace_api.data import Data
from headrace_api.environment import Environment
from headrace_api.errors import InvalidInput
from headrace_api.model import Model
from headrace_api.online_deployment import OnlineDeployment
from headrace_api.online_endpoint import OnlineEndpoint
from headrace_api.resource import Resource
from headrace_api.settings.assets import DATA, ENVIRONMENT, MODEL
from headrace_api.settings.catalog import COMPUTE, SCHEDULE, WORKSPACE
from headrace_api.settings.judge import (
    covers,
    refusals,
    remarks,
    require_allowed,
    unknown_keys,
    warnings_of,
)
from headrace_api.settings.online import DEPLOYMENT, ENDPOINT
from headrace_api.settings.setting import Fate, Schema
from headrace_api.settings.table import SCHEMAS
from headrace_api.yaml_file import KeyPath, key_text
from settings_page import PAGE, render

AZURE = Path(__file__).parent / "fixtures" / "azure_keys.txt"
BY_NAME = {schema.name: schema for schema in SCHEMAS}
TYPED = (
    (OnlineEndpoint, ENDPOINT),
    (OnlineDeployment, DEPLOYMENT),
    (Model, MODEL),
    (Environment, ENVIRONMENT),
    (Data, DATA),
)


def azure_keys() -> Iterator[tuple[str, str, str]]:
    """`yaml` or `arm`, the kind of resource, the key."""
    form = kind = ""
    for line in AZURE.read_text().splitlines():
        if line.startswith("## "):
            _, form, kind = line.split(" ", 2)
        elif not line.startswith("#"):
            yield form, kind, line


def key_path(text: str) -> KeyPath:
    parts = text.replace("[]", ".[]").split(".")
    return tuple(0 if part == "[]" else part for part in parts)


def is_told(schema: Schema, key: KeyPath, *, wire: bool) -> bool:
    return any(covers(one, key, wire=wire) for one in schema.settings if one.path(wire=wire))


def test_every_key_that_azure_s_client_reads_or_writes_is_in_the_table() -> None:
    found = list(azure_keys())
    missing = [
        (form, kind, key)
        for form, kind, key in found
        if not is_told(BY_NAME[kind], key_path(key), wire=form == "arm")
    ]
    assert missing == []
    assert {kind for _, kind, _ in found} | {"client", "issuer"} == set(BY_NAME)


def fields(cls: type[Resource], above: KeyPath = ()) -> Iterator[KeyPath]:
    for name, field in cls.model_fields.items():
        yield (*above, name)
        for inner in resources(field):
            yield from fields(inner, (*above, name))


def resources(field: FieldInfo | Any) -> Iterator[type[Resource]]:
    annotation = getattr(field, "annotation", field)
    if isinstance(annotation, type) and issubclass(annotation, Resource):
        yield annotation
    for one in getattr(annotation, "__args__", ()):
        if getattr(annotation, "__origin__", None) not in (dict, list):
            yield from resources(one)


@pytest.mark.parametrize(("cls", "schema"), TYPED, ids=lambda one: getattr(one, "name", ""))
def test_every_key_that_we_read_from_a_file_is_in_the_table(
    cls: type[Resource], schema: Schema
) -> None:
    missing = [key_text(key) for key in fields(cls) if not is_told(schema, key, wire=False)]
    assert missing == []


def test_a_row_says_something_and_no_two_speak_of_one_place() -> None:
    for schema in SCHEMAS:
        for wire in (False, True):
            paths = [path for one in schema.settings if (path := one.path(wire=wire))]
            assert sorted(paths) == sorted(set(paths)), schema.name
        assert all(one.says or one.fate is Fate.SHOWN for one in schema.settings)


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text() == render(), "scripts/settings_page.py writes it anew"
    for text in re.findall(r"`headrace ([a-z-]+)", render()):
        assert text in ("up", "gc", "data", "client", "issuer")


CODE = {"code": "azureml:c:1", "scoring_script": "score.py"}
CODE_ARM = {"codeId": "azureml:c:1", "scoringScript": "score.py"}


def whole(schema: Schema, values: dict[str, Any], *, wire: bool) -> dict[str, Any]:
    """With what is required beside."""
    if schema is DEPLOYMENT:
        code = {"codeConfiguration": CODE_ARM} if wire else {"code_configuration": CODE}
        values = code | values
    return {"properties": values} if wire else values


SECRET = "${{azureml://connections/c/credentials/key}}"
REFUSED: tuple[tuple[Schema, dict[str, Any], dict[str, Any] | None], ...] = (
    (ENDPOINT, {"public_network_access": "disabled"}, {"publicNetworkAccess": "Disabled"}),
    (
        ENDPOINT,
        {"properties": {"enforce_access_to_default_secret_stores": "enabled"}},
        {"properties": {"enforce_access_to_default_secret_stores": "enabled"}},
    ),
    (
        DEPLOYMENT,
        {"egress_public_network_access": "disabled"},
        {"egressPublicNetworkAccess": "Disabled"},
    ),
    (DEPLOYMENT, {"environment_variables": {"K": SECRET}}, {"environmentVariables": {"K": SECRET}}),
    (
        DEPLOYMENT,
        {"environment_variables": {"K": "${{keyvault:https://v/s}}"}},
        {"environmentVariables": {"K": "x${{KeyVault:https://v/s}}"}},
    ),
    (DEPLOYMENT, {"code_configuration": {}}, {"codeConfiguration": None}),
    (DEPLOYMENT, {"environment": {"build": {"path": "."}}}, None),
    (ENVIRONMENT, {"build": {"path": "."}}, {"build": {"contextUri": "https://x"}}),
    (
        ENVIRONMENT,
        {"inference_config": {"scoring_route": {}}},
        {"inferenceConfig": {"scoringRoute": {"port": 1, "path": "/"}}},
    ),
    (COMPUTE, {"network_settings": {"subnet": "s"}}, {"properties": {"subnet": {"id": "s"}}}),
    (SCHEDULE, {"trigger": {}}, {"trigger": {}}),
    (SCHEDULE, {"is_enabled": True}, {"isEnabled": True}),
    (
        SCHEDULE,
        {"is_enabled": False, "create_monitor": {"compute": {}, "x": 1}},
        {"isEnabled": False, "action": {"monitorDefinition": {"x": 1}}},
    ),
    (
        WORKSPACE,
        {"customer_managed_key": {"key_uri": "u"}},
        {"encryption": {"status": "Enabled"}},
    ),
    (WORKSPACE, {"public_network_access": "Disabled"}, {"publicNetworkAccess": "Disabled"}),
    (WORKSPACE, {"hbi_workspace": True}, {"hbiWorkspace": True}),
)


@pytest.mark.parametrize(("schema", "file", "properties"), REFUSED)
def test_what_protects_and_does_not_work_is_refused_in_a_file_and_on_the_wire(
    schema: Schema, file: dict[str, Any], properties: dict[str, Any] | None
) -> None:
    (fault,) = refusals(schema, whole(schema, file, wire=False), wire=False)
    assert fault.key[0] in (*file, "is_enabled")
    if properties is not None:
        with pytest.raises(InvalidInput) as caught:
            require_allowed(schema, whole(schema, properties, wire=True))
        assert fault.text.rpartition(": ")[2] in caught.value.message
    for secret in (SECRET, "https://v/s"):
        assert secret not in fault.text


WARNED: tuple[tuple[Schema, dict[str, Any], dict[str, Any]], ...] = (
    (DEPLOYMENT, {"app_insights_enabled": True}, {"appInsightsEnabled": True}),
    (
        DEPLOYMENT,
        {"data_collector": {"collections": {"request": {"enabled": "True"}}}},
        {"dataCollector": {"collections": {"request": {"dataCollectionMode": "Enabled"}}}},
    ),
    (DEPLOYMENT, {"startup_probe": {"period": 1}}, {"startupProbe": {"period": "PT1S"}}),
    (DEPLOYMENT, {"model_mount_path": "/m"}, {"modelMountPath": "/m"}),
    (
        DEPLOYMENT,
        {"readiness_probe": {"success_threshold": 3}},
        {"readinessProbe": {"successThreshold": 3}},
    ),
    (MODEL, {"properties": {"azureml.unpack": "true"}}, {"properties": {"AzureML.unpack": True}}),
    (
        ENVIRONMENT,
        {"image": "i", "conda_file": "c.yml"},
        {"image": "i", "condaFile": "dependencies: []"},
    ),
    (COMPUTE, {"size": "s"}, {"properties": {"vmSize": "s"}}),
)


@pytest.mark.parametrize(("schema", "file", "properties"), WARNED)
def test_what_informs_and_does_nothing_is_warned_of(
    schema: Schema, file: dict[str, Any], properties: dict[str, Any]
) -> None:
    (of_file,) = warnings_of(schema, file, wire=False)
    (of_body,) = warnings_of(schema, {"properties": properties}, wire=True)
    assert of_file.rpartition(": ")[2] == of_body.rpartition(": ")[2]
    assert refusals(schema, file, wire=False) in ([], refusals(schema, {}, wire=False))


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        (ENDPOINT, {"public_network_access": "Enabled", "identity": None, "compute": ""}),
        (
            DEPLOYMENT,
            {
                "app_insights_enabled": False,
                "egress_public_network_access": "enabled",
                "environment_variables": {"A": "$KEY", "B": ""},
                "readiness_probe": {"success_threshold": 1},
                "scale_settings": {"type": "default"},
                "type": "Managed",
            },
        ),
        (MODEL, {"properties": {"azureml.unpack": "false"}}),
        (ENVIRONMENT, {"conda_file": "c.yml", "os_type": "Linux"}),
        (SCHEDULE, {"is_enabled": False}),
        (WORKSPACE, {"hbi_workspace": False, "public_network_access": "enabled"}),
    ],
)
def test_what_asks_for_nothing_that_is_missing_passes_in_silence(
    schema: Schema, file: dict[str, Any]
) -> None:
    assert remarks(schema, whole(schema, file, wire=False), wire=False) == ()


def test_a_key_that_the_table_lacks_names_its_neighbour() -> None:
    faults = unknown_keys(SCHEDULE, {"triger": {}, "trigger": {"any": 1}, "tags": {"a": "b"}})
    assert [(key_text(one.key), one.text) for one in faults] == [
        ("triger", "is not a key of this block; did you mean 'trigger'?")
    ]
