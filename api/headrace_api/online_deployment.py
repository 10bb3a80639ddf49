"""The managed online deployment: YAML of azure_behaviour.md 1.3, ARM JSON of azure_rest.md 3.5."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)

from headrace_api.code import CodeConfiguration
from headrace_api.deployment_settings import (
    DataCollector,
    HeadraceOptions,
    LivenessProbe,
    Probe,
    RequestSettings,
    ScaleSettings,
    read_options,
)
from headrace_api.environment import Environment
from headrace_api.errors import InvalidInput
from headrace_api.ids import LOCATION, ResourceId
from headrace_api.model import Model, local_tree
from headrace_api.names import check_endpoint_name
from headrace_api.references import is_reference, parse_asset
from headrace_api.resource import (
    TAG_MARK,
    DeploymentName,
    EndpointName,
    FileResource,
    Text,
    TextDict,
    base_of,
    existing_path,
    keyed,
    lower_case,
)
from headrace_api.settings.judge import require_allowed
from headrace_api.settings.online import DEPLOYMENT
from headrace_api.settings.setting import Schema
from headrace_api.views import deployment_view

MAX_INSTANCES: Final = 1_000
SKU: Final = "Default"  # the one there is: its capacity is the count of instances
DEFAULT_INSTANCE_TYPE: Final = "Standard_F4s_v2"  # the REST default
_TEXT: Final = f"{TAG_MARK}text"
_BLOCK: Final = f"{TAG_MARK}block"


def _branch(value: object) -> str | None:
    if isinstance(value, str):
        return _TEXT
    return _BLOCK if isinstance(value, dict | Model | Environment) else None


def _environment_file(value: object, info: ValidationInfo) -> object:
    """`file:env.yml` is read in place, so that the rest sees one form."""
    if isinstance(value, str) and value.startswith("file:") and base_of(info) is not None:
        return Environment.from_yaml(Path(existing_path(value, info)))
    return value


def _model_text(value: str, info: ValidationInfo) -> str:
    if not is_reference(value):
        return local_tree(value, info)
    if not value.startswith("azureml://") or "/datastores/" not in value:
        parse_asset(value, kind="models")
    return value


def _environment_text(value: str) -> str:
    if not is_reference(value):
        raise ValueError("azureml:<name>:<version>, file:<path> or a block is allowed")
    parse_asset(value, kind="environments")
    return value


class OnlineDeployment(FileResource):
    """One version of a model behind an endpoint, and how it is served."""

    SCHEMA: ClassVar[Schema | None] = DEPLOYMENT

    name: DeploymentName
    endpoint_name: EndpointName
    description: Text | None = None
    tags: TextDict = Field(default_factory=dict)
    properties: TextDict = Field(default_factory=dict)
    type: Annotated[Literal["managed"], BeforeValidator(lower_case)] = "managed"
    model: (
        Annotated[
            Annotated[str, Tag(_TEXT)] | Annotated[Model, Tag(_BLOCK)], Discriminator(_branch)
        ]
        | None
    ) = None
    model_mount_path: Text | None = None
    code_configuration: CodeConfiguration | None = None
    environment: Annotated[
        Annotated[
            Annotated[str, Tag(_TEXT)] | Annotated[Environment, Tag(_BLOCK)],
            Discriminator(_branch),
        ]
        | None,
        BeforeValidator(_environment_file),
    ] = None
    environment_variables: TextDict = Field(default_factory=dict)
    instance_type: Text
    instance_count: Annotated[int, Field(ge=1, le=MAX_INSTANCES)]
    scale_settings: ScaleSettings = Field(default_factory=ScaleSettings)
    app_insights_enabled: bool = False
    egress_public_network_access: Annotated[
        Literal["enabled", "disabled"], BeforeValidator(lower_case)
    ] = "enabled"
    request_settings: RequestSettings = Field(default_factory=RequestSettings)
    liveness_probe: LivenessProbe = Field(default_factory=LivenessProbe)
    readiness_probe: Probe = Field(default_factory=Probe)
    startup_probe: Probe | None = None
    data_collector: DataCollector | None = None
    private_network_connection: bool | None = None
    location: Text | None = None

    @field_validator("model")
    @classmethod
    def _check_model(cls, value: object, info: ValidationInfo) -> object:
        return _model_text(value, info) if isinstance(value, str) else value

    @field_validator("environment")
    @classmethod
    def _check_environment(cls, value: object) -> object:
        return _environment_text(value) if isinstance(value, str) else value

    @field_validator("model_mount_path")
    @classmethod
    def _mount_is_absolute(cls, path: str | None) -> str | None:
        if path is not None and (not path.startswith("/") or ".." in path.split("/")):
            raise ValueError("an absolute path without '..' is allowed")
        return path

    @field_validator("environment_variables")
    @classmethod
    def _a_process_can_have_them(cls, variables: dict[str, str]) -> dict[str, str]:
        for name, value in variables.items():
            if not name or "=" in name or "\0" in name + value:
                raise keyed(name, "cannot be a variable: a name without '=' is allowed, and no NUL")
        return variables

    @field_validator("properties")
    @classmethod
    def _check_options(cls, properties: dict[str, str]) -> dict[str, str]:
        read_options(properties)
        return properties

    @property
    def options(self) -> HeadraceOptions:
        """What the `headrace.*` properties say."""
        return read_options(self.properties)

    @property
    def max_concurrent(self) -> int:
        return self.request_settings.max_concurrent_requests_per_instance

    def to_arm(
        self,
        workspace: ResourceId,
        *,
        model_id: str = "",
        environment_id: str = "",
        code_id: str = "",
        location: str = "",
    ) -> dict[str, Any]:
        """The body of a PUT. Ids stand for what was inline, local or behind a label.

        Raises InvalidInput when a reference cannot become an id and none was given.
        """
        code = self.code_configuration
        properties = {
            "endpointComputeType": "Managed",
            "description": self.description,
            "model": model_id or _id_of(self.model, "models", workspace),
            "modelMountPath": self.model_mount_path,
            "environmentId": environment_id or _id_of(self.environment, "environments", workspace),
            "instanceType": self.instance_type,
            "environmentVariables": dict(self.environment_variables),
            "appInsightsEnabled": self.app_insights_enabled,
            "egressPublicNetworkAccess": self.egress_public_network_access.capitalize(),
            "properties": dict(self.properties),
            "requestSettings": self.request_settings.to_arm(),
            "livenessProbe": self.liveness_probe.to_arm(),
            "readinessProbe": self.readiness_probe.to_arm(),
            "startupProbe": self.startup_probe.to_arm() if self.startup_probe else None,
            "scaleSettings": self.scale_settings.to_arm(),
            "dataCollector": self.data_collector.to_arm() if self.data_collector else None,
        }
        if code and code.code:
            code_id = code_id or _id_of(code.code, "codes", workspace) or ""
            properties["codeConfiguration"] = {
                "codeId": code_id,
                "scoringScript": code.scoring_script,
            }
        return {
            "location": self.location or location or LOCATION,
            "tags": dict(self.tags),
            "sku": {"name": SKU, "capacity": self.instance_count},
            "properties": {key: one for key, one in properties.items() if one is not None},
        }

    def to_yaml(self) -> dict[str, Any]:
        """The YAML's shape, without what is empty."""
        values = super().to_yaml()
        if isinstance(self.environment, Environment):
            values["environment"] = self.environment.to_yaml()
        return values

    @classmethod
    def from_arm(cls, arm: Mapping[str, Any], *, endpoint: str = "", name: str = "") -> Self:
        """Read a resource or the body of a PUT; fields it does not know are ignored.

        Raises InvalidInput.
        """
        view = {"instance_type": DEFAULT_INSTANCE_TYPE, "instance_count": 1}
        view |= deployment_view(arm)
        if name:
            view["name"] = name
        if endpoint:
            view["endpoint_name"] = endpoint
        return cls.from_values(view)


def _id_of(value: object, kind: str, workspace: ResourceId) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and is_reference(value):
        return parse_asset(value, kind=kind).arm_id(workspace)
    raise InvalidInput(f"{kind}: the local or inline definition has not been registered yet")


def validate_deployment_arm(
    arm: Mapping[str, Any], *, endpoint: str, name: str
) -> OnlineDeployment:
    """Read the body of a PUT; whether its assets exist is the caller's to check.

    Raises InvalidInput.
    """
    check_endpoint_name(name, kind="deployment")
    require_allowed(DEPLOYMENT, arm)
    deployment = OnlineDeployment.from_arm(arm, endpoint=endpoint, name=name)
    _check_wire_references(deployment)
    return deployment


def _check_wire_references(deployment: OnlineDeployment) -> None:
    """On the wire everything is an id: nothing is local."""
    code = deployment.code_configuration
    found = {
        "model": (deployment.model, "models"),
        "environmentId": (deployment.environment, "environments"),
        "codeConfiguration.codeId": (code.code if code else None, "codes"),
    }
    for key, (value, kind) in found.items():
        if value is None:
            continue
        if not isinstance(value, str) or not is_reference(value):
            raise InvalidInput(f"{key} must be the id of one of {kind}", target=key)
        parse_asset(value, kind=kind)
