"""The kinds of assets there are: where each keeps its bytes, and what of it never changes."""

from __future__ import annotations

from typing import Any, Final

from headrace_api.code import validate_code_arm
from headrace_api.component import validate_component_arm
from headrace_api.data import validate_data_arm
from headrace_api.environment import validate_environment_arm
from headrace_api.model import validate_model_arm
from headrace_api.settings.assets import CODE, COMPONENT, ENVIRONMENT, MODEL
from headrace_api.settings.assets import DATA as DATA_SETTINGS
from headrace_services.control.assets import curated
from headrace_services.control.assets.asset_type import AssetType

MODELS: Final = AssetType(
    kind="models",
    schema=MODEL,
    uri="modelUri",
    frozen=("modelUri",),
    check=validate_model_arm,
    # The SDK iterates over flavors and crashes on null (azure_rest.md 6.1).
    defaults={"modelType": "custom_model", "flavors": {}},
)
ENVIRONMENTS: Final = AssetType(
    kind="environments",
    schema=ENVIRONMENT,
    frozen=("image", "condaFile", "build", "inferenceConfig"),
    check=validate_environment_arm,
    defaults={"osType": "Linux", "environmentType": "UserCreated"},
    is_stand_in=curated.is_curated,
    stand_in=curated.properties_of,
)
CODES: Final = AssetType(
    kind="codes", schema=CODE, uri="codeUri", frozen=("codeUri",), check=validate_code_arm
)
DATA: Final = AssetType(
    kind="data",
    schema=DATA_SETTINGS,
    uri="dataUri",
    frozen=("dataUri", "dataType"),
    points_anywhere=True,
    newest_in_container=("dataType",),
    check=validate_data_arm,
)

_READ_BACK: Final = ("id", "creation_context")  # the stock client sends with a change what it read


def _named_spec(properties: dict[str, Any], name: str, version: str) -> dict[str, Any]:
    """The stock client reads both from here; one that counts versions up has not sent any."""
    spec = {key: one for key, one in properties["componentSpec"].items() if key not in _READ_BACK}
    said = {"name": spec.get("name") or name, "version": spec.get("version") or version}
    return properties | {"componentSpec": spec | said}


COMPONENTS: Final = AssetType(
    kind="components",
    schema=COMPONENT,
    frozen=("componentSpec",),
    check=validate_component_arm,
    complete=_named_spec,
)
KINDS: Final = (MODELS, ENVIRONMENTS, CODES, DATA, COMPONENTS)
