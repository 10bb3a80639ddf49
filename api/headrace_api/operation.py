"""Long-running operations as a client polls them (azure_rest.md 2.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace_api import arm

IN_PROGRESS: Final = "InProgress"
SUCCEEDED: Final = "Succeeded"
FAILED: Final = "Failed"
CANCELED: Final = "Canceled"
TERMINAL: Final = frozenset({SUCCEEDED, FAILED, CANCELED})


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationView:
    """What a poll says."""

    status: str
    error: arm.WireError | None = None
    steps: tuple[tuple[str, float], ...] = ()
    """Phases done so far and their seconds."""

    @property
    def done(self) -> bool:
        return self.status.lower() in {one.lower() for one in TERMINAL}

    @property
    def succeeded(self) -> bool:
        return self.status.lower() == SUCCEEDED.lower()


def operation_body(
    operation_id: str,
    *,
    path: str,
    status: str,
    started_at: str = "",
    ended_at: str = "",
    error: Mapping[str, Any] | None = None,
    steps: Iterable[tuple[str, float]] = (),
) -> dict[str, Any]:
    """The body of a poll; `error` is the inner object of `arm.error_body`."""
    body: dict[str, Any] = {"id": path, "name": operation_id, "status": status}
    if started_at:
        body["startTime"] = started_at
    if ended_at:
        body["endTime"] = ended_at
    if error:
        body["error"] = dict(error)
    body["properties"] = {"steps": [[name, seconds] for name, seconds in steps]}
    return body


def read_operation(body: Mapping[str, Any]) -> OperationView:
    """Read a poll's body; what it lacks is empty."""
    properties = body.get("properties")
    steps = properties.get("steps") if isinstance(properties, Mapping) else None
    return OperationView(
        status=str(body.get("status") or IN_PROGRESS),
        error=arm.read_error(body),
        steps=tuple(
            (str(one[0]), float(one[1]))
            for one in (steps if isinstance(steps, list) else ())
            if isinstance(one, list | tuple) and len(one) == 2
        ),
    )
