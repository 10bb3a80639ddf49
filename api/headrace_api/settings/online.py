"""Settings of online endpoints and deployments."""

from __future__ import annotations

from typing import Final

from headrace_api.settings.assets import ENVIRONMENT, MODEL
from headrace_api.settings.common import (
    DESCRIPTION,
    IDENTITY,
    LOCATION,
    NAME,
    NO_SKU,
    READ_ONLY,
    SECRET_REFERENCE,
    TAGS,
)
from headrace_api.settings.setting import (
    LEFT_OUT,
    MISSING,
    Fate,
    Schema,
    Setting,
    one_of,
    other_than,
    refusal,
    refused,
    row,
    shown,
    warned,
    warning,
)

_KUBERNETES: Final = "Kubernetes is not supported yet; leave it out"
_NO_STORE: Final = (
    "no request, answer or collected row is stored yet; a script's Collector prints what it "
    "collects to the log"
)

ENDPOINT: Final = Schema(
    name="online endpoint",
    settings=(
        NAME,
        DESCRIPTION,
        TAGS,
        row(
            "properties",
            "properties.properties",
            "Stored and shown.",
            whole=True,
        ),
        row(
            "properties.enforce_access_to_default_secret_stores",
            "properties.properties.enforce_access_to_default_secret_stores",
            "`disabled`.",
            refused(
                one_of("enabled"),
                "secret stores are not read here, so no access to them is checked; leave it out",
            ),
        ),
        row("auth_mode", "properties.authMode", "Keys, tokens of ours, or tokens of an issuer."),
        row("", "properties.keys", "The keys of a new endpoint.", whole=True),
        row("traffic", "properties.traffic", "Percent by deployment.", whole=True),
        row(
            "mirror_traffic",
            "properties.mirrorTraffic",
            "Percent copied to one deployment.",
            whole=True,
        ),
        row(
            "public_network_access",
            "properties.publicNetworkAccess",
            "`enabled`.",
            refused(
                one_of("disabled"),
                "the ingress serves every caller that reaches its address, so nothing would be "
                "closed; leave it out, and close the way to the ingress (it listens on "
                "127.0.0.1, whatever publishes it decides)",
            ),
        ),
        refusal("compute", "properties.compute", _KUBERNETES),
        row(
            "kind",
            "kind",
            "`Managed`.",
            refused(other_than("managed"), "only Managed is supported yet"),
            fate=Fate.SHOWN,
        ),
        LOCATION,
        *IDENTITY,
        NO_SKU,
        *READ_ONLY,
        *shown(("scoring_uri", "properties.scoringUri"), ("openapi_uri", "properties.swaggerUri")),
    ),
)


_START: Final = "`init` may take initial_delay + period x failure_threshold + timeout."
_LIVENESS: Final = (
    row(
        "liveness_probe.initial_delay",
        "properties.livenessProbe.initialDelay",
        "How long a new worker is left alone.",
    ),
    row("liveness_probe.period", "properties.livenessProbe.period", "Time between two looks."),
    row("liveness_probe.timeout", "properties.livenessProbe.timeout", "How long one may take."),
    row(
        "liveness_probe.success_threshold",
        "properties.livenessProbe.successThreshold",
        "Answers in a row after which failures are forgotten; 1.",
    ),
    row(
        "liveness_probe.failure_threshold",
        "properties.livenessProbe.failureThreshold",
        "Failures after which the worker is replaced.",
    ),
)
_READINESS: Final = (
    *(
        row(f"readiness_probe.{key}", f"properties.readinessProbe.{wire}", _START)
        for key, wire in (
            ("initial_delay", "initialDelay"),
            ("period", "period"),
            ("timeout", "timeout"),
            ("failure_threshold", "failureThreshold"),
        )
    ),
    row(
        "readiness_probe.success_threshold",
        "properties.readinessProbe.successThreshold",
        "`1`.",
        warned(other_than(1), "an instance is ready when `init` has returned, whatever is given"),
    ),
)


def _below(key: str, schema: Schema) -> tuple[Setting, ...]:
    """The rows of a block in a file; on the wire it is a reference to an asset of its own."""
    return tuple(
        Setting(
            key=f"{key}.{one.key}",
            wire="",
            fate=one.fate,
            says=one.says,
            cases=one.cases,
            whole=one.whole,
        )
        for one in schema.settings
        if one.key
    )


DEPLOYMENT: Final = Schema(
    name="online deployment",
    settings=(
        NAME,
        row("endpoint_name", "", "The endpoint; on the wire the path has it."),
        DESCRIPTION,
        TAGS,
        row(
            "properties",
            "properties.properties",
            "Stored and shown. Options of ours are `headrace.idempotent`, `headrace.hedge`, "
            "`headrace.wakeTimeout` and `headrace.maxBodyBytes`; another `headrace.` name is "
            "refused.",
            whole=True,
        ),
        row(
            "type",
            "properties.endpointComputeType",
            "`managed`.",
            refused(other_than("managed"), _KUBERNETES),
        ),
        row("model", "properties.model", "The model's files, at AZUREML_MODEL_DIR."),
        *_below("model", MODEL),
        warning(
            "model_mount_path",
            "properties.modelMountPath",
            "nothing is mounted there; the script finds the model at AZUREML_MODEL_DIR",
        ),
        row(
            "code_configuration",
            "properties.codeConfiguration",
            "What runs.",
            refused(
                MISSING,
                "models without code (MLflow, Triton) are not supported yet; give code and "
                "scoring_script",
            ),
            default=LEFT_OUT,
        ),
        row(
            "code_configuration.code", "properties.codeConfiguration.codeId", "The script's folder."
        ),
        row(
            "code_configuration.scoring_script",
            "properties.codeConfiguration.scoringScript",
            "The script with `init` and `run`.",
        ),
        *shown(("code_configuration.$schema", "")),
        row("environment", "properties.environmentId", "The packages it runs with."),
        *_below("environment", ENVIRONMENT),
        row(
            "environment_variables",
            "properties.environmentVariables",
            "The script's environment.",
            whole=True,
        ),
        row(
            "environment_variables.*",
            "properties.environmentVariables.*",
            "The value, as it is.",
            refused(
                SECRET_REFERENCE,
                "nothing is looked up there, and the script would get the text of the "
                "reference; give the value itself, as in "
                '--set environment_variables.KEY="$KEY"',
            ),
        ),
        row(
            "instance_type",
            "properties.instanceType",
            "Stored and shown: an instance is a process that gets what its host has. A name that "
            "is not known, or that stands for a GPU on a host without one, is warned of.",
        ),
        row(
            "instance_count",
            "sku.capacity",
            "Instances that run. More than four for each CPU of the host are warned of.",
        ),
        row("", "sku.name", "`Default`: it stands for the count."),
        *(
            warning("", f"sku.{one}", "nothing is read of it; instance_type names a size")
            for one in ("tier", "size", "family")
        ),
        row(
            "scale_settings.type",
            "properties.scaleSettings.scaleType",
            "`default`: instance_count.",
            refused(
                one_of("target_utilization", "TargetUtilization"),
                "it belongs to Kubernetes, which is not supported yet; set instance_count",
            ),
        ),
        *(
            refusal(f"scale_settings.{key}", f"properties.scaleSettings.{wire}", _KUBERNETES)
            for key, wire in (
                ("min_instances", "minInstances"),
                ("max_instances", "maxInstances"),
                ("polling_interval", "pollingInterval"),
                ("target_utilization_percentage", "targetUtilizationPercentage"),
            )
        ),
        refusal("resources", "properties.containerResourceRequirements", _KUBERNETES),
        row(
            "app_insights_enabled",
            "properties.appInsightsEnabled",
            "`false`.",
            warned(
                one_of(True),
                "nothing is sent to Application Insights; logs are read with get-logs, and "
                "metrics are at /metrics of the console port",
            ),
        ),
        row(
            "egress_public_network_access",
            "properties.egressPublicNetworkAccess",
            "`enabled`.",
            refused(
                one_of("disabled"),
                "an instance is a process of the host and reaches whatever the host reaches; "
                "leave it out, and close the host's way out",
            ),
        ),
        row(
            "request_settings.request_timeout_ms",
            "properties.requestSettings.requestTimeout",
            "How long a request may take.",
        ),
        row(
            "request_settings.max_concurrent_requests_per_instance",
            "properties.requestSettings.maxConcurrentRequestsPerInstance",
            "Requests at once, and workers where `run` is not async.",
        ),
        row(
            "request_settings.max_queue_wait_ms",
            "properties.requestSettings.maxQueueWait",
            "How long a request beyond the concurrent ones may wait for a slot; those wait for a "
            "worker as long as the request timeout.",
        ),
        *_LIVENESS,
        *_READINESS,
        warning(
            "startup_probe",
            "properties.startupProbe",
            "no such probe is made; readiness_probe says how long a start may take",
        ),
        warning("data_collector", "properties.dataCollector", _NO_STORE),
        warning(
            "private_network_connection",
            "properties.privateNetworkConnection",
            "there is no private network; instances use the host's",
        ),
        LOCATION,
        *IDENTITY,
        row(
            "kind",
            "kind",
            "`Managed`.",
            refused(other_than("managed"), "only Managed is supported yet"),
            fate=Fate.SHOWN,
        ),
        *READ_ONLY,
        *shown(
            ("ready_instances", "properties.statusDetails"),
            ("attached_instances", ""),
        ),
    ),
)
