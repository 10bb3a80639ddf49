"""`POST .../getLogs`: the last lines of a deployment's output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace_api.errors import InvalidInput
from headrace_scaler.compute.port import LOG_LINES_DEFAULT, Container
from headrace_services.control.resources.ports import LogSource

MAX_LINES: Final = 100_000
CONTAINERS: Final = {
    "inferenceserver": Container.INFERENCE_SERVER,
    "storageinitializer": Container.STORAGE_INITIALIZER,
}


async def read_logs(
    source: LogSource, endpoint: str, deployment: str, body: Mapping[str, Any]
) -> dict[str, str]:
    """`{"content": text}`. Raises InvalidInput on a wrong `tail` or `containerType`."""
    text = await source.logs(endpoint, deployment, container=_container(body), tail=_tail(body))
    return {"content": text}


def _container(body: Mapping[str, Any]) -> Container:
    given = body.get("containerType")
    if given is None:
        return Container.INFERENCE_SERVER
    found = CONTAINERS.get(given.lower()) if isinstance(given, str) else None
    if found is None:
        raise InvalidInput(
            f"containerType is {given!r}: use InferenceServer or StorageInitializer",
            target="containerType",
        )
    return found


def _tail(body: Mapping[str, Any]) -> int:
    given = body.get("tail")
    if given is None:
        return LOG_LINES_DEFAULT
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= MAX_LINES:
        raise InvalidInput(
            f"tail is {given!r}: use a whole number from 1 to {MAX_LINES}", target="tail"
        )
    return given
