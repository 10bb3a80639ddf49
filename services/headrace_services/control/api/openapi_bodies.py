"""The bodies that the control API takes, as JSON Schemas for its OpenAPI document.

The pydantic models behind are of our YAML; the wire has ARM's names, so these are written by hand.
They tell the shape; a request that fits may still be refused (an asset that does not exist).
"""

from __future__ import annotations

from typing import Final

from headrace_api.component import TYPES
from headrace_api.online_deployment import MAX_INSTANCES
from headrace_api.trusted_issuer import ALGORITHMS
from headrace_services.control.api.openapi_parts import (
    TEXT,
    WORDS,
    Schema,
    count,
    object_of,
    one_of,
    optional,
)
from headrace_services.control.identity.issuers import MAX_CA_CHARS, MAX_TEXT_CHARS
from headrace_services.control.online.logs_view import CONTAINERS, MAX_LINES
from headrace_state.roles import Role

ADDRESS: Final[Schema] = {
    "type": "string",
    "examples": ["azureml://datastores/workspaceblobstore/paths/LocalUpload/some"],
}
ANYTHING: Final[Schema] = {"type": "object"}
SECONDS: Final[Schema] = {"type": "string", "examples": ["PT5S", "PT90S"]}


def _percentages(most: int) -> Schema:
    return optional({"type": "object", "additionalProperties": count(0, most)})


_PROBE: Final = optional(
    object_of(
        initialDelay=SECONDS,
        period=SECONDS,
        timeout=SECONDS,
        successThreshold=count(1, 1),
        failureThreshold=count(1, 10_000),
    )
)
_ENDPOINT: Final = object_of(
    authMode=one_of("Key", "AMLToken", "AADToken"),
    description=optional(TEXT),
    properties=optional(WORDS),
    traffic=_percentages(100),
    mirrorTraffic=_percentages(50),
    publicNetworkAccess=one_of("Enabled"),
)
_DEPLOYMENT: Final = object_of(
    endpointComputeType=one_of("Managed"),
    instanceType=TEXT,
    description=optional(TEXT),
    model=optional(TEXT),
    environmentId=optional(TEXT),
    codeConfiguration=optional(
        object_of(("codeId", "scoringScript"), codeId=TEXT, scoringScript=TEXT)
    ),
    environmentVariables=optional(WORDS),
    appInsightsEnabled={"type": "boolean"},
    requestSettings=optional(
        object_of(
            requestTimeout=SECONDS,
            maxQueueWait=SECONDS,
            maxConcurrentRequestsPerInstance=count(1, 10_000),
        )
    ),
    livenessProbe=_PROBE,
    readinessProbe=_PROBE,
    scaleSettings=optional(object_of(scaleType=one_of("Default"))),
    properties=optional(WORDS),
)
_COMMON: Final[dict[str, Schema]] = {
    "description": optional(TEXT),
    "tags": optional(WORDS),
    "properties": optional(WORDS),
    "isAnonymous": {"type": "boolean"},
    "isArchived": {"type": "boolean"},
}
_VERSIONS: Final[dict[str, Schema]] = {
    "models": object_of(
        ("modelUri",),
        modelUri=ADDRESS,
        modelType=one_of("custom_model", "mlflow_model", "triton_model"),
        **_COMMON,
    ),
    "environments": object_of(
        image=optional(TEXT),
        condaFile=optional(TEXT | {"examples": ["dependencies:\n  - python=3.11\n"]}),
        osType=one_of("Linux"),
        **_COMMON,
    ),
    "codes": object_of(("codeUri",), codeUri=ADDRESS, **_COMMON),
    "data": object_of(
        ("dataUri",),
        dataUri=ADDRESS,
        dataType=one_of("uri_file", "uri_folder", "mltable"),
        **_COMMON,
    ),
    "components": object_of(
        ("componentSpec",), componentSpec=object_of(type=one_of(*sorted(TYPES))), **_COMMON
    ),
}
_ROLE: Final = one_of(*(str(one) for one in Role))
_CATALOG: Final[dict[str, Schema]] = {
    "datastores": object_of(
        ("containerName",),
        datastoreType=one_of("AzureBlob"),
        containerName={"type": "string", "pattern": "^[a-z0-9]{3,20}$"},
        description=optional(TEXT),
    ),
    "computes": object_of(
        ("computeType", "properties"),
        computeType=one_of("AmlCompute"),
        properties=object_of(
            ("vmSize",),
            vmSize={"type": "string", "minLength": 1},
            scaleSettings=object_of(minNodeCount=count(0, 1), maxNodeCount=count(1, 9)),
        ),
    ),
    "schedules": object_of(
        ("trigger", "action", "isEnabled"),
        trigger=object_of(
            ("triggerType", "expression"),
            triggerType=one_of("Cron"),
            expression={"type": "string", "examples": ["0 8 * * *"]},
        ),
        action=object_of(("actionType",), actionType=one_of("CreateJob", "InvokeBatchEndpoint")),
        isEnabled={"type": "boolean", "const": False},
    ),
    "clients": object_of(
        ("role",), role=_ROLE, displayName=optional(TEXT), endpoint=optional(TEXT)
    ),
    "issuers": object_of(
        ("issuer", "audience"),
        issuer={"type": "string", "pattern": "^https://", "maxLength": MAX_TEXT_CHARS},
        audience={"type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARS},
        algorithms={"type": "array", "items": one_of(*ALGORITHMS), "minItems": 1},
        role=_ROLE,
        endpoint=optional(TEXT),
        subject=optional(TEXT | {"maxLength": MAX_TEXT_CHARS}),
        caCertificate=optional(TEXT | {"maxLength": MAX_CA_CHARS}),
    ),
}
_POSTS: Final[dict[str, Schema]] = {
    "attach": ANYTHING | {"description": "nothing is read of it"},
    "regeneratekeys": object_of(keyType=one_of("Primary", "Secondary")),
    "getlogs": object_of(
        containerType=one_of(*sorted(CONTAINERS)), tail=optional(count(1, MAX_LINES))
    ),
    "listsecrets": object_of(expirableSecret={"type": "boolean"}, expireAfterHours=count(1, 24)),
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
        fields["sku"] = object_of(capacity=count(1, MAX_INSTANCES), name=TEXT)
    return object_of(required, **fields) if properties is not ANYTHING else ANYTHING


def _properties(parts: list[str]) -> Schema:
    kind = parts[-2]
    if kind == "versions":
        return _VERSIONS.get(parts[-4], ANYTHING)
    if kind in _VERSIONS:
        return object_of(**_COMMON)
    known = {"onlineendpoints": _ENDPOINT, "deployments": _DEPLOYMENT, **_CATALOG}
    return known.get(kind, ANYTHING)
