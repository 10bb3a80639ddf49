"""ARM JSON to the shape of the YAML files: what `show` prints and what the typed resources read.

Plain dictionaries only, because the command line shows resources without pydantic. Values keep
their wire type where they are wrong, so that the typed reading can name them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace_api.durations import parse_ms
from headrace_api.errors import InvalidInput
from headrace_api.settings.told import WARNING, warnings_in

DEFAULT_MAX_QUEUE_WAIT_MS: Final = 500
READ_BACK: Final = frozenset(
    {"createdby", "createdat", "lastmodifiedby", "lastmodifiedat", WARNING}
)
"""What a client finds in properties.properties, or the SDK copies there, and sends back."""
_AUTH_MODES: Final = {"key": "key", "amltoken": "aml_token", "aadtoken": "aad_token"}
_IDENTITIES: Final = {
    "systemassigned": "system_assigned",
    "userassigned": "user_assigned",
    "systemassigned,userassigned": "system_assigned,user_assigned",
    "none": "none",
}
_PROBE_TIMES: Final = {"initialDelay": "initial_delay", "period": "period", "timeout": "timeout"}
_PROBE_COUNTS: Final = {
    "successThreshold": "success_threshold",
    "failureThreshold": "failure_threshold",
}


def endpoint_view(arm: Mapping[str, Any]) -> dict[str, Any]:
    """An online endpoint as `az ml online-endpoint show` prints it."""
    properties = block(arm, "properties")
    view = _common(arm, properties) | {
        "auth_mode": _known(_AUTH_MODES, properties.get("authMode", "Key")),
        "kind": arm.get("kind"),
        "identity": _identity(arm),
        "traffic": properties.get("traffic") or {},
        "mirror_traffic": properties.get("mirrorTraffic") or {},
        "public_network_access": _lower(properties.get("publicNetworkAccess")),
        "compute": properties.get("compute"),
        "scoring_uri": properties.get("scoringUri"),
        "openapi_uri": properties.get("swaggerUri"),
    }
    return _present(view)


def deployment_view(arm: Mapping[str, Any]) -> dict[str, Any]:
    """A managed online deployment as `az ml online-deployment show` prints it."""
    properties = block(arm, "properties")
    sku = block(arm, "sku")
    code = block(properties, "codeConfiguration")
    details = block(properties, "statusDetails")
    view = _common(arm, properties) | {
        "endpoint_name": _endpoint_of(arm),
        "type": _lower(properties.get("endpointComputeType", "Managed")),
        "model": properties.get("model"),
        "model_mount_path": properties.get("modelMountPath"),
        "code_configuration": _present(
            {"code": code.get("codeId"), "scoring_script": code.get("scoringScript")}
        )
        or None,
        "environment": properties.get("environmentId"),
        "environment_variables": properties.get("environmentVariables") or {},
        "instance_type": properties.get("instanceType"),
        "instance_count": sku.get("capacity"),
        "ready_instances": details.get("readyInstances"),
        "attached_instances": details.get("attachedInstances") or None,
        "app_insights_enabled": properties.get("appInsightsEnabled"),
        "egress_public_network_access": _lower(properties.get("egressPublicNetworkAccess")),
        "scale_settings": _scale(properties),
        "request_settings": _requests(properties),
        "liveness_probe": _probe(properties, "livenessProbe"),
        "readiness_probe": _probe(properties, "readinessProbe"),
        "startup_probe": _probe(properties, "startupProbe"),
        "data_collector": _collector(properties),
    }
    return _present(view)


def model_view(arm: Mapping[str, Any]) -> dict[str, Any]:
    """A model version, or a model's container."""
    properties = block(arm, "properties")
    return _asset(arm, properties) | _present(
        {
            "path": properties.get("modelUri"),
            "type": properties.get("modelType"),
            "flavors": properties.get("flavors") or None,
            "stage": properties.get("stage"),
            "job_name": properties.get("jobName"),
        }
    )


def environment_view(arm: Mapping[str, Any]) -> dict[str, Any]:
    """An environment version, or an environment's container."""
    properties = block(arm, "properties")
    build = block(properties, "build")
    return _asset(arm, properties) | _present(
        {
            "image": properties.get("image"),
            "conda_file": properties.get("condaFile"),
            "build": _present(
                {"path": build.get("contextUri"), "dockerfile_path": build.get("dockerfilePath")}
            )
            or None,
            "os_type": _lower(properties.get("osType")),
            "inference_config": _routes(properties),
        }
    )


def data_view(arm: Mapping[str, Any]) -> dict[str, Any]:
    """A data version, or its container."""
    properties = block(arm, "properties")
    return _asset(arm, properties) | _present(
        {
            "path": properties.get("dataUri"),
            "type": _lower(properties.get("dataType")),
            "properties": clean_properties(properties) or None,
        }
    )


def component_view(arm: Mapping[str, Any]) -> dict[str, Any]:
    """A component version with its definition, or its container."""
    properties = block(arm, "properties")
    spec = block(properties, "componentSpec")
    return spec | _asset(arm, properties)


def block(arm: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A nested object, empty when missing or null. Raises InvalidInput on any other type."""
    found = arm.get(key)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise InvalidInput(f"{key} must be an object, found {type(found).__name__}", target=key)
    return dict(found)


def clean_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """properties.properties without what only a reader sees."""
    given = block(properties, "properties")
    return {key: value for key, value in given.items() if key.lower() not in READ_BACK}


def _common(arm: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": arm.get("id"),
        "name": arm.get("name"),
        "location": arm.get("location"),
        "tags": arm.get("tags") or {},
        "description": properties.get("description"),
        "properties": clean_properties(properties),
        "provisioning_state": properties.get("provisioningState"),
        "creation_context": _creation(arm),
        "warnings": warnings_in(arm) or None,
    }


def _asset(arm: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    parts = str(arm.get("id") or "").split("/")
    versioned = len(parts) > 3 and parts[-2].lower() == "versions"
    return _present(
        {
            "id": arm.get("id"),
            "name": parts[-3] if versioned else arm.get("name"),
            "version": parts[-1] if versioned else None,
            "latest_version": properties.get("latestVersion"),
            "description": properties.get("description"),
            "tags": properties.get("tags") or {},
            "properties": clean_properties(properties),
            "is_archived": properties.get("isArchived") or None,
            "creation_context": _creation(arm),
            "warnings": warnings_in(arm) or None,
        }
    )


def _creation(arm: Mapping[str, Any]) -> dict[str, Any] | None:
    data = block(arm, "systemData")
    names = {"createdAt": "created_at", "createdBy": "created_by"}
    names |= {"lastModifiedAt": "last_modified_at", "lastModifiedBy": "last_modified_by"}
    return _present({ours: data.get(theirs) for theirs, ours in names.items()}) or None


def _identity(arm: Mapping[str, Any]) -> dict[str, Any] | None:
    identity = block(arm, "identity")
    if not identity:
        return None
    kind = str(identity.get("type", "")).replace(" ", "")
    assigned = block(identity, "userAssignedIdentities")
    return _present(
        {
            "type": _known(_IDENTITIES, kind),
            "user_assigned_identities": [{"resource_id": one} for one in assigned] or None,
        }
    )


def _scale(properties: Mapping[str, Any]) -> dict[str, Any] | None:
    scale = block(properties, "scaleSettings")
    kind = scale.get("scaleType", "Default")
    return {"type": "target_utilization" if kind == "TargetUtilization" else _lower(kind)}


def _requests(properties: Mapping[str, Any]) -> dict[str, Any]:
    settings = block(properties, "requestSettings")
    # The SDK reads sub-second durations as nothing and drops them on its next write.
    wait = _milliseconds(settings, "maxQueueWait")
    return _present(
        {
            "request_timeout_ms": _milliseconds(settings, "requestTimeout"),
            "max_concurrent_requests_per_instance": settings.get(
                "maxConcurrentRequestsPerInstance"
            ),
            "max_queue_wait_ms": DEFAULT_MAX_QUEUE_WAIT_MS if wait is None else wait,
        }
    )


def _probe(properties: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    probe = block(properties, key)
    view: dict[str, Any] = {ours: probe.get(theirs) for theirs, ours in _PROBE_COUNTS.items()}
    for theirs, ours in _PROBE_TIMES.items():
        duration_ms = _milliseconds(probe, theirs)
        view[ours] = None if duration_ms is None else duration_ms / 1_000
    return _present(view) or None


def _collector(properties: Mapping[str, Any]) -> dict[str, Any] | None:
    collector = block(properties, "dataCollector")
    if not collector:
        return None
    collections = block(collector, "collections")
    rates = {one.get("samplingRate") for one in collections.values() if isinstance(one, Mapping)}
    logging = block(collector, "requestLogging")
    headers = logging.get("captureHeaders")
    return _present(
        {
            "sampling_rate": next((rate for rate in rates if rate is not None), None),
            "rolling_rate": collector.get("rollingRate"),
            "collections": {name: _collection(collections, name) for name in collections},
            "request_logging": {"capture_headers": headers} if headers else None,
        }
    )


def _collection(collections: Mapping[str, Any], name: str) -> dict[str, Any]:
    one = block(collections, name)
    data = _present(
        {
            "name": one.get("dataName"),
            "path": one.get("dataPath"),
            "version": one.get("dataVersion"),
        }
    )
    enabled = str(one.get("dataCollectionMode", "Disabled")).lower() == "enabled"
    return _present(
        {"enabled": str(enabled), "client_id": one.get("clientId"), "data": data or None}
    )


def _routes(properties: Mapping[str, Any]) -> dict[str, Any] | None:
    config = block(properties, "inferenceConfig")
    names = {
        "livenessRoute": "liveness_route",
        "readinessRoute": "readiness_route",
        "scoringRoute": "scoring_route",
    }
    return _present({ours: config.get(theirs) for theirs, ours in names.items()}) or None


def _endpoint_of(arm: Mapping[str, Any]) -> str | None:
    parts = str(arm.get("id") or "").split("/")
    lower = [part.lower() for part in parts]
    if "onlineendpoints" not in lower[:-1]:
        return None
    return parts[lower.index("onlineendpoints") + 1]


def _milliseconds(settings: Mapping[str, Any], key: str) -> int | None:
    found = settings.get(key)
    if found is None:
        return None
    if not isinstance(found, str):
        raise InvalidInput(f"{key} is {found!r}: a duration such as PT5S is allowed", target=key)
    try:
        return parse_ms(found)
    except InvalidInput as error:
        raise InvalidInput(f"{key}: {error.message}", target=key) from None


def _known(names: Mapping[str, str], value: object) -> object:
    return names.get(value.lower(), value) if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
