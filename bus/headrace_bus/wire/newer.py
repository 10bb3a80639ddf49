"""Records of a newer version: what this one does not know is left out, what it knows is read.

While an installation is updated, processes of two versions hear one another; a name more must not
make an old one deaf.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any


def known(kind: type[Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the dataclass has. Raises TypeError for what is no map of names."""
    if not isinstance(found, Mapping):
        raise TypeError(f"{type(found).__name__} instead of a map")
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in found.items() if name in names}
