"""References to assets, paths in datastores and ARM ids, in every form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.errors import InvalidInput
from headrace_api.ids import ResourceId, asset_id, deployment_id
from headrace_api.references import AssetReference, parse_asset, parse_path

WORKSPACE = ResourceId()
NAMES = st.from_regex(r"[a-zA-Z0-9][-_.a-zA-Z0-9]{0,30}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("azureml:m:1", AssetReference(kind="models", name="m", version="1")),
        ("azureml:m@latest", AssetReference(kind="models", name="m", label="latest")),
        (
            f"azureml:{WORKSPACE}/models/m/versions/2",
            AssetReference(kind="models", name="m", version="2"),
        ),
        (
            f"{str(WORKSPACE).upper()}/MODELS/m/Versions/2",
            AssetReference(kind="models", name="m", version="2"),
        ),
        (
            "azureml://registries/r/models/m/versions/3",
            AssetReference(kind="models", name="m", version="3", registry="r"),
        ),
        (
            "azureml://registries/r/models/m/labels/latest",
            AssetReference(kind="models", name="m", label="latest", registry="r"),
        ),
        (
            "azureml://locations/local/workspaces/guid/models/m/versions/4",
            AssetReference(kind="models", name="m", version="4"),
        ),
    ],
)
def test_forms_of_an_asset(text: str, expected: AssetReference) -> None:
    assert parse_asset(text, kind="models") == expected


@pytest.mark.parametrize(
    "text",
    [
        "m:1",
        "azureml:m",
        "azureml:m@",
        "azureml:m:",
        "azureml:../m:1",
        "azureml:m:1:2",
        "azureml://registries/r/environments/m/versions/3",
        f"{WORKSPACE}/environments/m/versions/2",
        "azureml:" + "x" * 3_000 + ":1",
    ],
)
def test_what_is_no_reference_to_a_model(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_asset(text, kind="models")


@given(NAMES, NAMES)
def test_a_reference_and_its_arm_id_mean_the_same(name: str, version: str) -> None:
    reference = AssetReference(kind="models", name=name, version=version)
    assert parse_asset(str(reference), kind="models") == reference
    assert parse_asset(reference.arm_id(WORKSPACE), kind="models") == reference


def test_both_forms_of_a_datastore_path_are_the_same_place() -> None:
    short = parse_path("azureml://datastores/ds/paths/a/b.pkl")
    long = parse_path(short.long(WORKSPACE))
    assert (long.datastore, long.path) == (short.datastore, short.path) == ("ds", "a/b.pkl")
    assert long.workspace == WORKSPACE


@pytest.mark.parametrize(
    "text",
    [
        "azureml://datastores/ds/paths/../../etc",
        "azureml://datastores/ds",
        "azureml://datastores//paths/a",
        "https://x/y",
        "azureml://subscriptions/a",
    ],
)
def test_what_is_no_datastore_path(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_path(text)


@given(NAMES, NAMES)
def test_ids_are_read_back_whatever_their_case(endpoint: str, deployment: str) -> None:
    written = deployment_id(WORKSPACE, endpoint, deployment)
    found = ResourceId.parse(str(written).replace("onlineEndpoints", "ONLINEENDPOINTS"))
    assert found.names_of(("onlineEndpoints", "deployments")) == (endpoint, deployment)
    assert written.type.endswith("workspaces/onlineEndpoints/deployments")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/subscriptions/a",
        "/x/a/resourceGroups/b/providers/p/workspaces/w",
        f"{WORKSPACE}/a",
    ],
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(InvalidInput):
        ResourceId.parse(text)


def test_an_asset_id_has_the_shape_the_sdk_parses() -> None:
    assert str(asset_id(WORKSPACE, "models", "m", "1")).endswith(
        "/workspaces/default/models/m/versions/1"
    )
