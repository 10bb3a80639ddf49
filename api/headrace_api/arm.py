"""The ARM wire's envelopes: resources, collections and errors (azure_rest.md 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace_api.errors import HeadraceError
from headrace_api.ids import ResourceId

HINT: Final = "Hint"
"""Code of the detail that says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireError:
    """What an error body says."""

    code: str
    message: str
    target: str = ""
    details: tuple[tuple[str, str], ...] = ()
    """Code and message of each."""

    @property
    def hint(self) -> str:
        return "; ".join(text for code, text in self.details if code == HINT)

    @property
    def others(self) -> list[str]:
        """The details that are no hint, a line each."""
        return [f"{code}: {text}" for code, text in self.details if code != HINT]


def error_body(
    code: str, message: str, *, target: str = "", details: Iterable[tuple[str, str]] = ()
) -> dict[str, Any]:
    """`{"error": {"code", "message", "target"?, "details": [{"code", "message"}]}}`."""
    error: dict[str, Any] = {"code": code, "message": message}
    if target:
        error["target"] = target
    error["details"] = [{"code": one, "message": text} for one, text in details]
    return {"error": error}


def error_of(error: HeadraceError) -> dict[str, Any]:
    """The body that carries an error of ours; its hint travels as a detail."""
    details = hint_details(error.hint)
    return error_body(error.code, error.message, target=error.target, details=details)


def hint_details(hint: str) -> list[tuple[str, str]]:
    """The details that carry what to do about an error."""
    return [(HINT, hint)] if hint else []


def read_error(body: object) -> WireError | None:
    """What an error body says, or None when it is not one."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping) or not isinstance(error.get("code"), str):
        return None
    details = error.get("details") or ()
    return WireError(
        code=error["code"],
        message=str(error.get("message") or ""),
        target=str(error.get("target") or ""),
        details=tuple(
            (str(one.get("code") or ""), str(one.get("message") or ""))
            for one in details
            if isinstance(one, Mapping)
        ),
    )


def resource(
    resource_id: ResourceId, properties: Mapping[str, Any], **tracked: object
) -> dict[str, Any]:
    """One resource; `tracked` adds location, tags, identity, sku, kind, systemData."""
    return {
        "id": str(resource_id),
        "name": resource_id.name,
        "type": resource_id.type,
        **{key: value for key, value in tracked.items() if value is not None},
        "properties": dict(properties),
    }


def collection(values: Iterable[Mapping[str, Any]], next_link: str | None = None) -> dict[str, Any]:
    return {"value": list(values), "nextLink": next_link}
