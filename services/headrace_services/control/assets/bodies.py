"""What asset bodies carry beyond their own properties, and which of them a list shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from headrace_api.errors import InvalidInput
from headrace_api.views import clean_properties
from headrace_services.control.arm.request import Call
from headrace_state.records import Spec

ARCHIVED: Final = {"activeonly": {False}, "archivedonly": {True}, "all": {False, True}}


def clean_properties_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties without nulls, and `properties.properties` without what the SDK adds."""
    kept = {key: value for key, value in properties.items() if value is not None}
    kept.pop("provisioningState", None)
    if "properties" in kept:
        kept["properties"] = clean_properties(kept)
    return kept


def system_data(spec: Spec) -> dict[str, Any]:
    """Both times or nothing: the SDK formats both (azure_rest.md 2)."""
    return {
        "createdBy": spec.created_by,
        "createdByType": "User",
        "createdAt": spec.created_at,
        "lastModifiedBy": spec.created_by,
        "lastModifiedByType": "User",
        "lastModifiedAt": spec.modified_at,
    }


def next_version(versions: Iterable[str]) -> str:
    numbers = [int(version) for version in versions if version.isdecimal()]
    return str(max(numbers, default=0) + 1)


def hash_of(spec: Spec) -> str:
    return str(spec.arm["properties"].get("properties", {}).get("hash_sha256", ""))


def is_anonymous(spec: Spec) -> bool:
    return bool(spec.arm["properties"].get("isAnonymous"))


def view_of(call: Call) -> Callable[[Mapping[str, Any]], bool]:
    """What `listViewType` lets through. Raises InvalidInput."""
    view = call.query.get("listViewType", "ActiveOnly")
    wanted = ARCHIVED.get(view.lower())
    if wanted is None:
        raise InvalidInput(
            f"listViewType is {view!r}: use ActiveOnly, ArchivedOnly or All", target="listViewType"
        )
    return lambda properties: bool(properties.get("isArchived")) in wanted
