"""How many instances a deployment wants. Pure, and the only place that reads the number.

The number is the spec's own today. An autoscaler that decides about it will write a record beside
the spec, and that record becomes one more argument of `desired_count`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace_api.errors import InvalidInput
from headrace_api.online_deployment import MAX_INSTANCES
from headrace_state.records import Spec

DEFAULT_COUNT: Final = 1  # of a deployment whose spec names none
_SKU: Final = "sku"  # the part of the ARM body that holds the count and nothing else


def desired_count(spec: Spec) -> int:
    """The number of instances that should serve `spec`, at least 1.

    Raises InvalidInput when the spec is not one that control wrote.
    """
    sku = spec.arm.get(_SKU) or {}
    count = sku.get("capacity") if isinstance(sku, Mapping) else sku
    if count is None:
        return DEFAULT_COUNT
    if type(count) is not int or not 1 <= count <= MAX_INSTANCES:
        raise InvalidInput(
            f"sku.capacity of deployment {spec.name!r} is {count!r}: "
            f"a whole number from 1 to {MAX_INSTANCES}",
            target=spec.name,
        )
    return count


def differs_in_count_only(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two ARM bodies of a deployment are alike but for the number of instances."""
    return {**old, _SKU: None} == {**new, _SKU: None}
