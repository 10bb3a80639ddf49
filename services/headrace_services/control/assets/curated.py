"""Azure's curated environments as versions of the workspace."""

from __future__ import annotations

import json
from typing import Any, Final

from headrace_api.curated import PREFIX, stand_in
from headrace_api.settings.told import WARNING

REGISTRY: Final = "azureml"
VERSION: Final = "1"


def is_curated(name: str) -> bool:
    """Whether a name of the workspace's can only be one of Azure's."""
    return name.lower().startswith(PREFIX)


def properties_of(name: str) -> dict[str, Any]:
    """Properties of its version. Raises NotFound as `stand_in` does."""
    found = stand_in(name)
    conda = {"dependencies": ["python", "pip", {"pip": list(found.packages)}]}
    return {
        "condaFile": json.dumps(conda),
        "osType": "Linux",
        "environmentType": "Curated",
        "description": f"stands in for Azure's curated {name}",
        "tags": {},
        "properties": {"headrace.curated": "true"}
        | ({WARNING: found.warning} if found.warning else {}),
    }
