"""Settings of models, environments, code, data and components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace_api.settings.common import asset_rows
from headrace_api.settings.setting import (
    Schema,
    When,
    one_of,
    refusal,
    refused,
    row,
    shown,
    warned,
    warning,
)

UNPACK: Final = "azureml.unpack"


def _asks_to_unpack(value: Any, _: Mapping[str, Any]) -> bool:
    if not isinstance(value, Mapping):
        return False
    asked = {str(key).lower(): str(one).lower() for key, one in value.items()}
    return asked.get(UNPACK) == "true"


_UNPACKS: Final = When(
    words=f"with `{UNPACK}: true`", found=f"asks for {UNPACK}", holds=_asks_to_unpack
)
_KEPT_PACKED: Final = (
    "an archive is not unpacked here; register the folder that it holds, or unpack it in init"
)


def _is_beside_conda(value: Any, block: Mapping[str, Any]) -> bool:
    return bool(value) and bool(block.get("conda_file") or block.get("condaFile"))


def _is_alone(value: Any, block: Mapping[str, Any]) -> bool:
    return bool(value) and not _is_beside_conda(value, block)


MODEL: Final = Schema(
    name="model",
    settings=(
        *asset_rows(),
        row("path", "properties.modelUri", "The file or folder; what is local is uploaded."),
        row(
            "type",
            "properties.modelType",
            "Stored and shown: a deployment of any type needs code_configuration.",
        ),
        row(
            "properties",
            "properties.properties",
            "Stored and shown.",
            warned(_UNPACKS, _KEPT_PACKED),
            whole=True,
        ),
        row("flavors", "properties.flavors", "Stored and shown.", whole=True),
        row("stage", "properties.stage", "Stored and shown; lists find by it."),
        row("job_name", "properties.jobName", "Stored and shown."),
        *(
            warning(key, wire, "deployment templates are not supported; nothing is read of it")
            for key, wire in (
                ("allowed_deployment_templates", "properties.allowedDeploymentTemplates"),
                ("default_deployment_template", "properties.defaultDeploymentTemplate"),
            )
        ),
        warning("system_metadata", "properties.systemMetadata", "nothing is read of it"),
        *shown(("utc_time_created", "")),
        row("", "properties.datasets", "Stored.", whole=True),
    ),
)

ENVIRONMENT: Final = Schema(
    name="environment",
    settings=(
        *asset_rows(),
        row("conda_file", "properties.condaFile", "The packages, built with uv.", whole=True),
        row(
            "image",
            "properties.image",
            "Where instances are processes, an environment stands in for it.",
            warned(
                When(words="alone", found="is given without conda_file", holds=_is_alone),
                "the image is not run: instances get an environment with the Python its name "
                "speaks of, and the packages of a curated image; add a conda_file with what it "
                "brings",
            ),
            warned(
                When(
                    words="beside `conda_file`",
                    found="is given beside conda_file",
                    holds=_is_beside_conda,
                ),
                "only the conda file is built; what the image brings beside (system packages, "
                "its own Python) is missing",
            ),
        ),
        refusal(
            "build",
            "properties.build",
            "images are not built here yet; use conda_file, with what the Dockerfile installs",
        ),
        refusal(
            "inference_config",
            "properties.inferenceConfig",
            "the server of an image is not run here yet; use conda_file and a scoring script",
        ),
        row(
            "os_type",
            "properties.osType",
            "`linux`.",
            refused(one_of("windows"), "instances run on the host's Linux; leave it out"),
        ),
        row("", "properties.properties", "Stored and shown.", whole=True),
        *shown(("properties", ""), ("", "properties.environmentType")),
        warning(
            "",
            "properties.autoRebuild",
            "an environment is built once, when the first instance needs it",
        ),
        row("", "properties.stage", "Stored and shown."),
    ),
)

CODE: Final = Schema(
    name="code",
    note="On the wire only: files give it as `code_configuration.code`.",
    settings=(
        *asset_rows(),
        row("", "properties.codeUri", "The folder."),
        row("", "properties.properties", "Stored; uploads are found by `hash_sha256`.", whole=True),
    ),
)

DATA: Final = Schema(
    name="data",
    settings=(
        *asset_rows(),
        row("path", "properties.dataUri", "The address; what is local is uploaded."),
        row("type", "properties.dataType", "Stored and shown."),
        row("properties", "properties.properties", "Stored and shown.", whole=True),
        row("", "properties.referencedUris", "Stored and shown.", whole=True),
        row("", "properties.stage", "Stored and shown."),
    ),
)

COMPONENT: Final = Schema(
    name="component",
    note="The definition is kept word for word, each key of it. No job runs it yet.",
    is_open=True,
    settings=(
        *asset_rows(),
        row("type", "properties.componentSpec", "The definition.", whole=True),
        row("code", "", "A local folder is uploaded."),
        row("", "properties.properties", "Stored and shown.", whole=True),
        row("", "properties.stage", "Stored and shown."),
    ),
)
