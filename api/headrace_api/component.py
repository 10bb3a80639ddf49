"""The component: its definition travels whole as `componentSpec` (azure_rest.md 3.8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace_api.errors import InvalidInput

TYPES: Final = (
    "command",
    "parallel",
    "pipeline",
    "sweep",
    "spark",
    "import",
    "automl",
    "datatransfer",
    "data_transfer",
    "flow_parallel",
)


def validate_component_arm(arm: Mapping[str, Any]) -> dict[str, Any]:
    """The componentSpec of a PUT. Raises InvalidInput when it is none."""
    properties = arm.get("properties")
    spec = properties.get("componentSpec") if isinstance(properties, Mapping) else None
    if not isinstance(spec, dict) or not spec:
        raise InvalidInput("componentSpec is required, and is an object", target="componentSpec")
    kind = spec.get("type", "command")
    if not isinstance(kind, str) or kind.partition("@")[0].lower() not in TYPES:
        raise InvalidInput(
            f"component type {str(kind)[:80]!r} is not supported: use one of {', '.join(TYPES)}",
            target="componentSpec.type",
        )
    return spec
