"""What stands in for an image where instances are processes: a Python and known packages. Pure.

The image itself is not run: what it installs is unknown, unless it is one of Azure's curated ones.
"""

from __future__ import annotations

import re
from typing import Final

from headrace_api import curated
from headrace_api.errors import NotFound
from headrace_bus.wire.launch import EnvironmentSpec

# py38, py3.10, python3.9, python:3.11-slim
_PYTHON: Final = re.compile(r"(?<![a-z])py(?:thon)?[:_-]?3\.?(?P<minor>\d{1,2})(?!\d)")
_SUFFIX: Final = "-inference"


def stands_alone(environment: EnvironmentSpec) -> bool:
    """Whether nothing but an image says what is in the environment."""
    return bool(environment.image) and not (environment.conda or environment.requirements)


def python_of(image: str) -> str:
    """The series of Python that the name or the tag speaks of, as `==3.10.*`; else ''."""
    found = _PYTHON.search(image.lower())
    return f"==3.{int(found['minor'])}.*" if found else ""


def packages_of(image: str, minor: int) -> tuple[str, ...]:
    """Of a curated image, what Python 3.<minor> installs in its place; of another, nothing."""
    name = re.split(r"[:@]", image.rpartition("/")[2])[0]
    for one in (name, name.removesuffix(_SUFFIX), f"{name}{_SUFFIX}"):
        try:
            return curated.stand_in(one, minor=minor).packages
        except NotFound:
            continue
    return ()


def warning(image: str, python: str, packages: tuple[str, ...]) -> str:
    """What the log says of the stand-in."""
    held = f"Python {python}"
    held += f" with {', '.join(packages)}" if packages else " and no packages"
    return (
        f"image {image} is not run on process compute: an environment of {held} stands in for it; "
        "add a conda_file with what the image brings"
    )


def hint(environment: EnvironmentSpec) -> str:
    """What helps where a module is missing that the image may have brought; else ''."""
    if not stands_alone(environment):
        return ""
    return (
        f"image {environment.image} is not run on process compute; add a conda_file with the "
        "packages it brings"
    )
