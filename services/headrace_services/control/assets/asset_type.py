"""What a kind of asset is: where its bytes are, what never changes of it, what its body holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace_api.settings.setting import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetType:
    """One kind of asset, as the wire has it."""

    kind: str
    """Segment of the path, and of the key."""
    schema: Schema
    """What becomes of its settings."""
    frozen: tuple[str, ...]
    """Properties that never change once a version exists."""
    uri: str = ""
    """The property that says where the bytes are; empty when the version holds all itself."""
    points_anywhere: bool = False
    """Whether the address may be empty yet, or lie outside of this installation."""
    newest_in_container: tuple[str, ...] = ()
    """Properties that the container shows of its newest version."""
    check: Callable[[Mapping[str, Any]], object] = lambda _: None
    """Raises InvalidInput on properties that cannot be right; takes the whole ARM body."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    complete: Callable[[dict[str, Any], str, str], dict[str, Any]] = lambda given, *_: given
    """Adds to the properties what name and version, given here, say of them."""
    is_stand_in: Callable[[str], bool] = lambda _: False
    """Whether a name belongs to a registry of Azure's."""
    stand_in: Callable[[str], dict[str, Any]] = lambda _: {}
    """The properties that stand in for it. Raises NotFound."""
