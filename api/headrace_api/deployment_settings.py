"""The blocks of a deployment: requests, probes, scale, data collection.

Source: azure_behaviour.md 1.5 and 1.6. Each knows its ARM form;
durations are ISO-8601 there and milliseconds or seconds here.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from headrace_api.durations import format_ms, parse_ms
from headrace_api.errors import InvalidInput
from headrace_api.resource import Resource, Text, TextDict, lower_case

MAX_REQUEST_TIMEOUT_MS: Final = 180_000  # managed endpoints
MAX_CONCURRENT: Final = 10_000  # requests an instance
MAX_PROBE_S: Final = 86_400
MAX_THRESHOLD: Final = 10_000
MAX_COLLECTIONS: Final = 5
MAX_BODY_BYTES: Final = 1024 * 1024 * 1024
OPTION_PREFIX: Final = "headrace."
DEFAULT_WAKE_TIMEOUT_MS: Final = 300_000
_SWITCHES: Final = {"true": True, "false": False}

Seconds = Annotated[float, Field(ge=1, le=MAX_PROBE_S, allow_inf_nan=False)]
Threshold = Annotated[int, Field(ge=1, le=MAX_THRESHOLD)]


class RequestSettings(Resource):
    """How many requests at once, and how long each may take and wait."""

    request_timeout_ms: Annotated[int, Field(ge=1, le=MAX_REQUEST_TIMEOUT_MS)] = 5_000
    max_concurrent_requests_per_instance: Annotated[int, Field(ge=1, le=MAX_CONCURRENT)] = 1
    max_queue_wait_ms: Annotated[int, Field(ge=0, le=MAX_REQUEST_TIMEOUT_MS)] = 500

    def to_arm(self) -> dict[str, Any]:
        return {
            "requestTimeout": format_ms(self.request_timeout_ms),
            "maxConcurrentRequestsPerInstance": self.max_concurrent_requests_per_instance,
            "maxQueueWait": format_ms(self.max_queue_wait_ms),
        }


class Probe(Resource):
    """When an instance counts as ready; times in seconds."""

    initial_delay: Seconds = 10.0
    period: Seconds = 10.0
    timeout: Seconds = 2.0
    success_threshold: Threshold = 1
    failure_threshold: Threshold = 30

    def to_arm(self) -> dict[str, Any]:
        return {
            "initialDelay": format_ms(round(self.initial_delay * 1_000)),
            "period": format_ms(round(self.period * 1_000)),
            "timeout": format_ms(round(self.timeout * 1_000)),
            "successThreshold": self.success_threshold,
            "failureThreshold": self.failure_threshold,
        }


class LivenessProbe(Probe):
    """When an instance is restarted; one success is enough."""

    success_threshold: Annotated[int, Field(ge=1, le=1)] = 1


class ScaleSettings(Resource):
    """`default` keeps instance_count; rules are a resource of their own."""

    type: Annotated[Literal["default"], BeforeValidator(lower_case)] = "default"

    def to_arm(self) -> dict[str, Any]:
        return {"scaleType": "Default"}


class CollectionData(Resource):
    """Where a collection is written."""

    name: Text | None = None
    path: Text | None = None
    version: Text | None = None


def _switch(value: object) -> object:
    return str(value) if isinstance(value, bool) else value


class Collection(Resource):
    """One stream of collected data."""

    enabled: Annotated[Literal["True", "False", "true", "false"], BeforeValidator(_switch)] = (
        "False"
    )
    data: CollectionData | None = None
    client_id: Text | None = None

    @property
    def is_enabled(self) -> bool:
        return self.enabled.lower() == "true"

    def to_arm(self, sampling_rate: float) -> dict[str, Any]:
        data = self.data or CollectionData()
        arm = {
            "clientId": self.client_id,
            "dataCollectionMode": "Enabled" if self.is_enabled else "Disabled",
            "samplingRate": sampling_rate,
            "dataName": data.name,
            "dataPath": data.path,
            "dataVersion": data.version,
        }
        return {key: value for key, value in arm.items() if value is not None}


class RequestLogging(Resource):
    """What payload logging keeps beside the body."""

    capture_headers: list[Text] = Field(default_factory=list, max_length=100)


def _rate(value: object) -> object:
    return value.capitalize() if isinstance(value, str) else value


class DataCollector(Resource):
    """Sampled copies of requests and answers."""

    sampling_rate: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    rolling_rate: Annotated[
        Literal["Minute", "Hour", "Day", "Month", "Year"], BeforeValidator(_rate)
    ] = "Hour"
    collections: dict[str, Collection] = Field(default_factory=dict, max_length=MAX_COLLECTIONS)
    request_logging: RequestLogging | None = None

    def to_arm(self) -> dict[str, Any]:
        arm: dict[str, Any] = {
            "rollingRate": self.rolling_rate,
            "collections": {
                name: one.to_arm(self.sampling_rate) for name, one in self.collections.items()
            },
        }
        if self.request_logging and self.request_logging.capture_headers:
            arm["requestLogging"] = {"captureHeaders": list(self.request_logging.capture_headers)}
        return arm


class HeadraceOptions(Resource):
    """Our options inside Azure's YAML: text values of `properties`."""

    idempotent: bool = True
    hedge: bool = False
    wake_timeout_ms: int = DEFAULT_WAKE_TIMEOUT_MS
    max_body_bytes: int | None = None
    """None takes the platform's."""


def read_options(properties: TextDict) -> HeadraceOptions:
    """Read `headrace.*`. Raises InvalidInput naming the key, the value and what is allowed."""
    found: dict[str, Any] = {}
    for key, text in properties.items():
        if not key.lower().startswith(OPTION_PREFIX):
            continue
        match key[len(OPTION_PREFIX) :]:
            case "idempotent" | "hedge" as name:
                found[name] = _boolean(key, text)
            case "wakeTimeout":
                found["wake_timeout_ms"] = _duration(key, text)
            case "maxBodyBytes":
                found["max_body_bytes"] = _size(key, text)
            case _:
                raise InvalidInput(
                    f"properties.{key} is not an option: allowed are headrace.idempotent, "
                    "headrace.hedge, headrace.wakeTimeout and headrace.maxBodyBytes",
                    target=f"properties.{key}",
                )
    return HeadraceOptions(**found)


def _boolean(key: str, text: str) -> bool:
    try:
        return _SWITCHES[text.lower()]
    except KeyError:
        raise _wrong(key, text, "'true' or 'false'") from None


def _duration(key: str, text: str) -> int:
    try:
        return parse_ms(text)
    except InvalidInput:
        raise _wrong(key, text, "a duration such as PT5M") from None


def _size(key: str, text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 12 and 0 < int(text) <= MAX_BODY_BYTES:
        return int(text)
    raise _wrong(key, text, f"a number of bytes up to {MAX_BODY_BYTES}")


def _wrong(key: str, text: str, allowed: str) -> InvalidInput:
    return InvalidInput(
        f"properties.{key} is {text[:80]!r}: {allowed} is allowed", target=f"properties.{key}"
    )
