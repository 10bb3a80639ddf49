"""The bodies that the control API takes, as JSON Schemas for its OpenAPI document.

The pydantic models behind are of our YAML; the wire has ARM's names, so these are written by hand.
They tell the shape; a request that fits may still be refused (an asset that does not exist).
"""

from __future__ import annotations

from typing import Any, Final

from headrace_api.component import TYPES
from headrace_api.online_deployment import MAX_INSTANCES
from headrace_services.control.logs_view import CONTAINERS, MAX_LINES
from headrace_services.control.roles import Role

Schema = dict[str, Any]
TEXT: Final[Schema] = {"type": "string"}
WORDS: Final[Schema] = {"type": "object", "additionalProperties": TEXT}
SECONDS: Final[Schema] = {"type": "string", "examples": ["PT5S", "PT90S"]}
ADDRESS: Final[Schema] = {
    "type": "string",
    "examples": ["azureml://datastores/workspaceblobstore/paths/LocalUpload/some"],
}
ANYTHING: Final[Schema] = {"type": "object"}


def _object(required: tuple[str, ...] = (), /, **fields: Schema) -> Schema:
    found: Schema = {"type": "object", "properties": fields}
    return found | {"required": list(required)} if required else found


def _optional(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _count(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _percentages(most: int) -> Schema:
    return _optional({"type": "object", "additionalProperties": _count(0, most)})


_PROBE: Final = _optional(
    _object(
        initialDelay=SECONDS,
        period=SECONDS,
        timeout=SECONDS,
        successThreshold=_count(1, 1),
        failureThreshold=_count(1, 10_000),
    )
)
_ENDPOINT: Final = _object(
    authMode=_one_of("Key", "AMLToken", "AADToken"),
    description=_optional(TEXT),
    properties=_optional(WORDS),
    traffic=_percentages(100),
    mirrorTraffic=_percentages(50),
    publicNetworkAccess=_one_of("Enabled", "Disabled"),
)
_DEPLOYMENT: Final = _object(
    endpointComputeType=_one_of("Managed"),
    instanceType=TEXT,
    description=_optional(TEXT),
    model=_optional(TEXT),
    environmentId=_optional(TEXT),
    codeConfiguration=_optional(
        _object(("codeId", "scoringScript"), codeId=TEXT, scoringScript=TEXT)
    ),
    environmentVariables=_optional(WORDS),
    appInsightsEnabled={"type": "boolean"},
    requestSettings=_optional(
        _object(
            requestTimeout=SECONDS,
            maxQueueWait=SECONDS,
            maxConcurrentRequestsPerInstance=_count(1, 10_000),
        )
    ),
    livenessProbe=_PROBE,
    readinessProbe=_PROBE,
    scaleSettings=_optional(_object(scaleType=_one_of("Default"))),
    properties=_optional(WORDS),
)
_COMMON: Final[dict[str, Schema]] = {
    "description": _optional(TEXT),
    "tags": _optional(WORDS),
    "properties": _optional(WORDS),
    "isAnonymous": {"type": "boolean"},
    "isArchived": {"type": "boolean"},
}
_VERSIONS: Final[dict[str, Schema]] = {
    "models": _object(
        ("modelUri",),
        modelUri=ADDRESS,
        modelType=_one_of("custom_model", "mlflow_model", "triton_model"),
        **_COMMON,
    ),
    "environments": _object(
        image=_optional(TEXT),
        condaFile=_optional(TEXT | {"examples": ["dependencies:\n  - python=3.11\n"]}),
        osType=_one_of("Linux"),
        **_COMMON,
    ),
    "codes": _object(("codeUri",), codeUri=ADDRESS, **_COMMON),
    "data": _object(
        ("dataUri",),
        dataUri=ADDRESS,
        dataType=_one_of("uri_file", "uri_folder", "mltable"),
        **_COMMON,
    ),
    "components": _object(
        ("componentSpec",), componentSpec=_object(type=_one_of(*sorted(TYPES))), **_COMMON
    ),
}
_CATALOG: Final[dict[str, Schema]] = {
    "datastores": _object(
        ("containerName",),
        datastoreType=_one_of("AzureBlob"),
        containerName={"type": "string", "pattern": "^[a-z0-9]{3,20}$"},
        description=_optional(TEXT),
    ),
    "computes": _object(
        ("computeType", "properties"),
        computeType=_one_of("AmlCompute"),
        properties=_object(
            ("vmSize",),
            vmSize={"type": "string", "minLength": 1},
            scaleSettings=_object(minNodeCount=_count(0, 1), maxNodeCount=_count(1, 9)),
        ),
    ),
    "schedules": _object(
        ("trigger", "action"),
        trigger=_object(
            ("triggerType", "expression"),
            triggerType=_one_of("Cron"),
            expression={"type": "string", "examples": ["0 8 * * *"]},
        ),
        action=_object(("actionType",), actionType=_one_of("CreateJob", "InvokeBatchEndpoint")),
        isEnabled={"type": "boolean"},
    ),
    "clients": _object(
        ("role",), role=_one_of(*(str(one) for one in Role)), displayName=_optional(TEXT)
    ),
}
_POSTS: Final[dict[str, Schema]] = {
    "regeneratekeys": _object(keyType=_one_of("Primary", "Secondary")),
    "getlogs": _object(
        containerType=_one_of(*sorted(CONTAINERS)), tail=_optional(_count(1, MAX_LINES))
    ),
    "listsecrets": _object(expirableSecret={"type": "boolean"}, expireAfterHours=_count(1, 24)),
}


def body_of(method: str, template: str) -> Schema:
    """What a write of this route takes; any object where nothing more is told."""
    parts = template.lower().strip("/").split("/")
    if method == "POST":
        return _POSTS.get(parts[-1], ANYTHING)
    properties = _properties(parts)
    required = ("properties",) if method == "PUT" else ()
    fields = {"properties": properties, "tags": WORDS, "location": TEXT}
    if parts[-2] == "deployments":
        fields["sku"] = _object(capacity=_count(1, MAX_INSTANCES), name=TEXT)
    return _object(required, **fields) if properties is not ANYTHING else ANYTHING


def _properties(parts: list[str]) -> Schema:
    kind = parts[-2]
    if kind == "versions":
        return _VERSIONS.get(parts[-4], ANYTHING)
    if kind in _VERSIONS:
        return _object(**_COMMON)
    known = {"onlineendpoints": _ENDPOINT, "deployments": _DEPLOYMENT, **_CATALOG}
    return known.get(kind, ANYTHING)
