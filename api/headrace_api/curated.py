"""Azure's curated environments by name, as the packages that a process needs in their place. Pure.

The library in a name is held to the series that the name promises. Where that has no wheel for the
Python that runs here, the next series that has one takes its place, and a warning says so. The
Python, CUDA and Ubuntu in a name are not followed: a model runs on this machine's.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import Specifier
from packaging.utils import canonicalize_name
from packaging.version import Version

from headrace_api.errors import NotFound

PREFIX: Final = "azureml-"
_MINOR: Final = sys.version_info.minor


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series of a library, and what its wheels go with."""

    version: str
    newest: int
    """The newest Python, 3.<newest>, that it has wheels for (PyPI, Linux on x86-64)."""
    beside: tuple[str, ...] = ()
    """Requirements that it does not state itself: it was built before they changed."""


_NUMPY_1: Final = ("numpy<2", "pandas<3", "scipy<1.12")
_NUMPY_123: Final = ("numpy<1.24", "pandas<2.3", "scipy<1.12")
# Oldest first; one that has no wheel is taken over by the next.
SERIES: Final[Mapping[str, tuple[Series, ...]]] = {
    "scikit-learn": (
        Series(version="0.24", newest=9, beside=_NUMPY_1),
        Series(version="1.0", newest=10, beside=_NUMPY_1),
        Series(version="1.1", newest=11, beside=_NUMPY_1),
        Series(version="1.3", newest=12, beside=_NUMPY_1),
        Series(version="1.5", newest=13),
    ),
    "lightgbm": (
        Series(version="3.2", newest=11, beside=(*_NUMPY_123, "scikit-learn==1.1.*")),
        Series(version="3.3", newest=11, beside=(*_NUMPY_123, "scikit-learn==1.1.*")),
        Series(version="4.5", newest=13, beside=("scikit-learn==1.5.*",)),
    ),
    "xgboost": (
        Series(version="0.90", newest=11, beside=(*_NUMPY_123, "scikit-learn==1.1.*")),
        Series(version="2.1", newest=13, beside=("scikit-learn==1.5.*",)),
    ),
    "onnxruntime": (
        Series(version="1.6", newest=8),
        Series(version="1.15", newest=11, beside=_NUMPY_1),
        Series(version="1.20", newest=13),
    ),
    "torch": (
        Series(version="1.10", newest=10, beside=_NUMPY_1),
        Series(version="1.13", newest=11, beside=_NUMPY_1),
        Series(version="2.2", newest=12, beside=_NUMPY_1),
        Series(version="2.8", newest=13),
    ),
    "tensorflow": (
        Series(version="2.4", newest=8),
        Series(version="2.12", newest=11),
        Series(version="2.16", newest=12),
        Series(version="2.20", newest=13),
    ),
}
_COMMON: Final = ("numpy", "pandas", "joblib", "inference-schema")
_SKLEARN: Final = (*_COMMON, "scipy", "scikit-learn")
# `library==series` is what the name promises; the rest goes with it, in any version that fits.
PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "minimal-py39-inference": ("inference-schema",),
    "minimal-py311-inference": ("inference-schema",),
    "minimal-py312-inference": ("inference-schema",),
    "minimal-ubuntu20.04-py38-cpu-inference": ("inference-schema",),
    "minimal-ubuntu22.04-py39-cpu-inference": ("inference-schema",),
    "minimal-ubuntu18.04-py37-cpu-inference": ("inference-schema",),
    "minimal-ubuntu20.04-py38-cuda11.6.2-gpu-inference": ("inference-schema",),
    "minimal-py311-cuda12.4-inference": ("inference-schema",),
    "minimal-py312-cuda12.4-inference": ("inference-schema",),
    "sklearn-1.0": (*_COMMON, "scipy", "scikit-learn==1.0"),
    "sklearn-1.1": (*_COMMON, "scipy", "scikit-learn==1.1"),
    "sklearn-1.5": (*_COMMON, "scipy", "scikit-learn==1.5"),
    "sklearn-0.24-ubuntu18.04-py37-cpu-inference": (*_COMMON, "scipy", "scikit-learn==0.24"),
    "sklearn-1.0-ubuntu20.04-py38-cpu": (*_COMMON, "scipy", "scikit-learn==1.0"),
    "lightgbm-3.2-ubuntu18.04-py37-cpu": (*_SKLEARN, "lightgbm==3.2"),
    "lightgbm-3.3": (*_SKLEARN, "lightgbm==3.3"),
    "xgboost-0.9-ubuntu18.04-py37-cpu-inference": (*_SKLEARN, "xgboost==0.90"),
    "onnxruntime-1.6-ubuntu18.04-py37-cpu-inference": (*_COMMON, "onnxruntime==1.6"),
    "pytorch-1.10-ubuntu18.04-py38-cuda11-gpu": (*_COMMON, "torch==1.10"),
    "pytorch-1.13-ubuntu20.04-py38-cuda11-gpu": (*_COMMON, "torch==1.13"),
    "acpt-pytorch-1.13-py38-cuda11.7-gpu": (*_COMMON, "transformers<5", "torch==1.13"),
    "acpt-pytorch-1.13-cuda11.7": (*_COMMON, "transformers<5", "torch==1.13"),
    "acpt-pytorch-2.0-cuda11.7": (*_COMMON, "transformers<5", "torch==2.2"),
    "acpt-pytorch-2.2-cuda12.1": (*_COMMON, "transformers<5", "torch==2.2"),
    "acpt-pytorch-2.8-cuda12.6": (*_COMMON, "transformers", "torch==2.8"),
    "tensorflow-2.4-ubuntu18.04-py37-cuda11-gpu": (*_COMMON, "tensorflow==2.4"),
    "tensorflow-2.12-cuda11": (*_COMMON, "tensorflow==2.12"),
    "tensorflow-2.16-cuda11": (*_COMMON, "tensorflow==2.16"),
    "tensorflow-2.16-cuda12": (*_COMMON, "tensorflow==2.16"),
    "mlflow-ubuntu18.04-py37-cpu-inference": (*_SKLEARN, "mlflow"),
    "mlflow-ubuntu20.04-py38-cpu-inference": (*_SKLEARN, "mlflow"),
    "mlflow-py39-inference": (*_SKLEARN, "mlflow"),
    "mlflow-py312-inference": (*_SKLEARN, "mlflow"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """What stands in for a curated environment."""

    packages: tuple[str, ...]
    warning: str = ""
    """Told to who names it; empty when the name keeps its promise."""


def stand_in(name: str, *, minor: int = _MINOR) -> StandIn:
    """What Python 3.<minor> installs for a name, with or without the prefix `AzureML-`. Pure.

    Raises NotFound with the nearest names.
    """
    *beside, last = _packages_of(name)
    library, _, wanted = last.partition("==")
    if not wanted:
        return StandIn(packages=(*beside, last))
    series = _installable(library, wanted, minor)
    stated = {_library(one) for one in series.beside}
    packages = [one for one in beside if _library(one) not in stated]
    return StandIn(
        packages=(*packages, *series.beside, f"{library}=={series.version}.*"),
        warning="" if series.version == wanted else _replaced(name, library, wanted, series, minor),
    )


def caps(packages: Iterable[str]) -> tuple[str, ...]:
    """Bounds that pinned libraries need beside them and do not state themselves; pure.

    `packages` are requirement lines. A wheel of scikit-learn 1.2 was built before numpy 2 and
    crashes beside it, but the resolver knows of no bound. What a line bounds itself stays its own.
    """
    pinned: dict[str, Specifier] = {}
    bounded: set[str] = set()
    for line in packages:
        if (one := _requirement(line)) is not None and one.specifier:
            bounded.add(canonicalize_name(one.name))
            if (clause := _upper(one)) is not None:
                pinned[canonicalize_name(one.name)] = clause
    found = [bound for name, clause in pinned.items() for bound in _beside(name, clause)]
    return tuple(dict.fromkeys(one for one in found if _library(one) not in bounded))


def _requirement(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _upper(requirement: Requirement) -> Specifier | None:
    """The clause that says how new a library may be."""
    found = [one for one in requirement.specifier if one.operator in ("==", "~=", "<=", "<")]
    return found[0] if found else None


def _beside(library: str, clause: Specifier) -> tuple[str, ...]:
    """The bounds of the newest known series that the clause allows."""
    most = Version(clause.version.removesuffix(".*"))
    series = [(Version(one.version), one) for one in SERIES.get(library, ())]
    older = [
        one
        for version, one in series
        if version < most or (version == most and clause.operator != "<")
    ]
    bounds = older[-1].beside if older else ()
    return tuple(one for one in bounds if "<" in one)


def _packages_of(name: str) -> tuple[str, ...]:
    wanted = name.lower().removeprefix(PREFIX)
    if wanted in PACKAGES:
        return PACKAGES[wanted]
    near = difflib.get_close_matches(wanted, PACKAGES, n=5, cutoff=0.3) or sorted(PACKAGES)
    raise NotFound(
        f"curated environment {name!r} is not in the table; near it are {', '.join(near)}",
        hint="use one of them, or register an environment with a conda file",
        target=name,
    )


def _installable(library: str, wanted: str, minor: int) -> Series:
    """The wanted series or the next with a wheel; the newest there is when none has one."""
    known = SERIES[library]
    at = next(index for index, one in enumerate(known) if one.version == wanted)
    return next((one for one in known[at:] if one.newest >= minor), known[-1])


def _library(requirement: str) -> str:
    return requirement.partition("<")[0].partition("=")[0]


def _replaced(name: str, library: str, wanted: str, series: Series, minor: int) -> str:
    return (
        f"environment {name} has {library} {series.version}, not {wanted}: "
        f"there is no wheel of {wanted} for Python 3.{minor}"
    )
