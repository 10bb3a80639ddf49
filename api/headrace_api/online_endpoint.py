"""The online endpoint: YAML of azure_behaviour.md 1.2, ARM JSON of azure_rest.md 3.5."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from headrace_api.errors import InvalidInput
from headrace_api.ids import LOCATION
from headrace_api.names import check_endpoint_name
from headrace_api.resource import (
    EndpointName,
    FileResource,
    Resource,
    Text,
    TextDict,
    keyed,
    lower_case,
)
from headrace_api.settings.judge import require_allowed
from headrace_api.settings.online import ENDPOINT
from headrace_api.settings.setting import Schema
from headrace_api.views import endpoint_view

MAX_MIRROR_PERCENT: Final = 50
MAX_DEPLOYMENTS: Final = 20  # an endpoint, azure_behaviour.md 13.2
_AUTH_WIRE: Final = {"key": "Key", "aml_token": "AMLToken", "aad_token": "AADToken"}
_AUTH_READ: Final = {"amltoken": "aml_token", "aadtoken": "aad_token"}
_IDENTITY_WIRE: Final = {
    "system_assigned": "SystemAssigned",
    "user_assigned": "UserAssigned",
    "system_assigned,user_assigned": "SystemAssigned,UserAssigned",
    "none": "None",
}


def _auth_mode(value: object) -> object:
    lower = lower_case(value)
    return _AUTH_READ.get(lower, lower) if isinstance(lower, str) else lower


def _percentages(value: object) -> object:
    if value is None:
        return {}
    if not isinstance(value, dict):
        return value
    table: dict[str, object] = {}
    for name, percent in value.items():
        key = check_endpoint_name(str(name), kind="deployment")
        if key in table:
            raise ValueError(f"{name!r} is given twice; names are compared without case")
        table[key] = percent
    # The SDK strips zero entries too, so a deployment without weight is one that is not listed.
    return {name: percent for name, percent in table.items() if percent != 0}


Percent = Annotated[int, Field(ge=0, le=100)]
Percentages = Annotated[dict[str, Percent], BeforeValidator(_percentages)]
AuthMode = Annotated[Literal["key", "aml_token", "aad_token"], BeforeValidator(_auth_mode)]
Switch = Annotated[Literal["enabled", "disabled"], BeforeValidator(lower_case)]


class AssignedIdentity(Resource):
    """One user-assigned identity."""

    resource_id: Text


def _assigned(value: object) -> object:
    return {"resource_id": value} if isinstance(value, str) else value


class Identity(Resource):
    """Who the endpoint is to others."""

    type: Annotated[
        Literal["system_assigned", "user_assigned", "system_assigned,user_assigned", "none"],
        BeforeValidator(lower_case),
    ] = "system_assigned"
    user_assigned_identities: list[Annotated[AssignedIdentity, BeforeValidator(_assigned)]] = Field(
        default_factory=list, max_length=50
    )

    def to_arm(self) -> dict[str, Any]:
        arm: dict[str, Any] = {"type": _IDENTITY_WIRE[self.type]}
        if self.user_assigned_identities:
            arm["userAssignedIdentities"] = {
                one.resource_id: {} for one in self.user_assigned_identities
            }
        return arm


class OnlineEndpoint(FileResource):
    """A stable name with traffic over its deployments. Percentages never hold zero entries."""

    SCHEMA: ClassVar[Schema | None] = ENDPOINT

    name: EndpointName
    description: Text | None = None
    tags: TextDict = Field(default_factory=dict)
    properties: TextDict = Field(default_factory=dict)
    auth_mode: AuthMode = "key"
    identity: Identity | None = None
    traffic: Percentages = Field(default_factory=dict, max_length=MAX_DEPLOYMENTS)
    mirror_traffic: Percentages = Field(default_factory=dict)
    public_network_access: Switch = "enabled"
    location: Text | None = None
    compute: None = None

    @field_validator("traffic")
    @classmethod
    def _sums_to_all_or_nothing(cls, traffic: dict[str, int]) -> dict[str, int]:
        if (total := sum(traffic.values())) not in (0, 100):
            raise ValueError(f"the percentages sum to {total}; they must sum to 100, or to 0")
        return traffic

    @field_validator("mirror_traffic")
    @classmethod
    def _mirrors_one(cls, mirror: dict[str, int]) -> dict[str, int]:
        if len(mirror) > 1:
            raise ValueError("only one deployment can receive mirrored traffic")
        if any(percent > MAX_MIRROR_PERCENT for percent in mirror.values()):
            raise ValueError(f"at most {MAX_MIRROR_PERCENT} percent can be mirrored")
        return mirror

    @model_validator(mode="after")
    def _mirror_has_no_live_weight(self) -> Self:
        for name in self.mirror_traffic:
            if weight := self.traffic.get(name):
                raise keyed(
                    "mirror_traffic",
                    f"names {name!r}, which has {weight} percent of the live traffic; "
                    "a deployment takes either live or mirrored traffic",
                )
        return self

    def to_arm(self, *, location: str = "") -> dict[str, Any]:
        """The body of a PUT."""
        properties: dict[str, Any] = {
            "authMode": _AUTH_WIRE[self.auth_mode],
            "properties": dict(self.properties),
            "traffic": dict(self.traffic),
            "mirrorTraffic": dict(self.mirror_traffic),
            "publicNetworkAccess": self.public_network_access.capitalize(),
        }
        if self.description is not None:
            properties["description"] = self.description
        arm: dict[str, Any] = {
            "location": self.location or location or LOCATION,
            "tags": dict(self.tags),
            "properties": properties,
        }
        if self.identity is not None:
            arm["identity"] = self.identity.to_arm()
        return arm

    @classmethod
    def from_arm(cls, arm: Mapping[str, Any], *, name: str = "") -> Self:
        """Read a resource or the body of a PUT; fields it does not know are ignored.

        Raises InvalidInput.
        """
        view = endpoint_view(arm)
        if name:
            view["name"] = name
        return cls.from_values(view)


def validate_endpoint_arm(
    arm: Mapping[str, Any], *, name: str, deployments: Collection[str] | None = None
) -> OnlineEndpoint:
    """Read the body of a PUT; `deployments` are the lower-case names the endpoint has.

    Raises InvalidInput, also when traffic or mirror name a deployment that does not exist.
    """
    require_allowed(ENDPOINT, arm)
    endpoint = OnlineEndpoint.from_arm(arm, name=name)
    if deployments is None:
        return endpoint
    for field in ("traffic", "mirror_traffic"):
        for target in getattr(endpoint, field):
            if target not in deployments:
                raise _unknown_deployment(field, target, deployments)
    return endpoint


def _unknown_deployment(field: str, name: str, known: Collection[str]) -> InvalidInput:
    has = f"it has {', '.join(sorted(known))}" if known else "it has none yet"
    return InvalidInput(
        f"{field} names {name!r}, which is not a deployment of this endpoint; {has}",
        hint="create the deployment first, then shift traffic to it",
        target=field,
    )
