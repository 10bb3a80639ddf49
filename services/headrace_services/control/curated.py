"""Azure's curated environments by name, as the packages that a process needs in their place.

The packages follow what each name promises; versions are held to a series, not to Azure's image.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any, Final

from headrace_api.errors import NotFound

REGISTRY: Final = "azureml"
VERSION: Final = "1"
_COMMON: Final = ("numpy", "pandas", "joblib", "inference-schema")
_SKLEARN: Final = (*_COMMON, "scipy", "scikit-learn")
PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "minimal-py39-inference": ("inference-schema",),
    "minimal-py311-inference": ("inference-schema",),
    "minimal-py312-inference": ("inference-schema",),
    "minimal-ubuntu20.04-py38-cpu-inference": ("inference-schema",),
    "minimal-ubuntu22.04-py39-cpu-inference": ("inference-schema",),
    "sklearn-1.0": _SKLEARN,
    "sklearn-1.1": _SKLEARN,
    "sklearn-1.5": _SKLEARN,
    "sklearn-0.24-ubuntu18.04-py37-cpu-inference": _SKLEARN,
    "sklearn-1.0-ubuntu20.04-py38-cpu": _SKLEARN,
    "lightgbm-3.2-ubuntu18.04-py37-cpu": (*_SKLEARN, "lightgbm"),
    "lightgbm-3.3": (*_SKLEARN, "lightgbm"),
    "xgboost-0.9-ubuntu18.04-py37-cpu-inference": (*_SKLEARN, "xgboost"),
    "onnxruntime-1.6-ubuntu18.04-py37-cpu-inference": (*_COMMON, "onnxruntime"),
    "pytorch-1.10-ubuntu18.04-py38-cuda11-gpu": (*_COMMON, "torch"),
    "pytorch-1.13-ubuntu20.04-py38-cuda11-gpu": (*_COMMON, "torch"),
    "acpt-pytorch-2.2-cuda12.1": (*_COMMON, "torch", "transformers"),
    "acpt-pytorch-2.8-cuda12.6": (*_COMMON, "torch", "transformers"),
    "tensorflow-2.4-ubuntu18.04-py37-cuda11-gpu": (*_COMMON, "tensorflow"),
    "tensorflow-2.16-cuda11": (*_COMMON, "tensorflow"),
    "mlflow-py39-inference": (*_SKLEARN, "mlflow"),
    "mlflow-py312-inference": (*_SKLEARN, "mlflow"),
}
_PREFIX: Final = "azureml-"


def is_curated(name: str) -> bool:
    """Whether a name of the workspace's can only be one of Azure's."""
    return name.lower().startswith(_PREFIX)


def packages_of(name: str) -> tuple[str, ...]:
    """What stands in for a curated environment, with or without the prefix `AzureML-`.

    Raises NotFound with the nearest names.
    """
    wanted = name.lower().removeprefix(_PREFIX)
    if wanted in PACKAGES:
        return PACKAGES[wanted]
    near = difflib.get_close_matches(wanted, PACKAGES, n=5, cutoff=0.3) or sorted(PACKAGES)
    raise NotFound(
        f"curated environment {name!r} is not in the table; near it are {', '.join(near)}",
        hint="use one of them, or register an environment with a conda file",
        target=name,
    )


def properties_of(name: str) -> dict[str, Any]:
    """Properties of its version. Raises NotFound as `packages_of` does."""
    conda = {"dependencies": ["python", "pip", {"pip": list(packages_of(name))}]}
    return {
        "condaFile": json.dumps(conda),
        "osType": "Linux",
        "environmentType": "Curated",
        "description": f"stands in for Azure's curated {name}",
        "tags": {},
        "properties": {"headrace.curated": "true"},
    }
