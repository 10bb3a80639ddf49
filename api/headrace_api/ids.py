"""ARM resource ids: built in one place, read without regard to case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from headrace_api.errors import InvalidInput

SUBSCRIPTION: Final = "00000000-0000-0000-0000-000000000001"
RESOURCE_GROUP: Final = "local"
WORKSPACE: Final = "default"
LOCATION: Final = "local"
PROVIDER: Final = "Microsoft.MachineLearningServices"
MAX_ID_CHARS: Final = 2_048
_PREFIX: Final = ("subscriptions", "resourcegroups", "providers", "workspaces")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceId:
    """`/subscriptions/{sub}/resourceGroups/{rg}/providers/{PROVIDER}/workspaces/{ws}/...`."""

    subscription: str = SUBSCRIPTION
    resource_group: str = RESOURCE_GROUP
    workspace: str = WORKSPACE
    segments: tuple[tuple[str, str], ...] = ()
    """Type and name of each level below the workspace, outermost first."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidInput when the text is not the id of something in a workspace."""
        parts = text.strip("/").split("/") if len(text) <= MAX_ID_CHARS else []
        found = tuple(part.lower() for part in (*parts[0:4:2], *parts[4:5], *parts[6:7]))
        if len(parts) % 2 or found != _PREFIX or parts[5].lower() != PROVIDER.lower():
            raise InvalidInput(f"{text[:200]!r} is not an ARM id of a workspace's resource")
        if not all(parts):
            raise InvalidInput(f"{text[:200]!r} has an empty part")
        below = tuple(zip(parts[8::2], parts[9::2], strict=True))
        return cls(
            subscription=parts[1], resource_group=parts[3], workspace=parts[7], segments=below
        )

    def child(self, kind: str, name: str) -> ResourceId:
        """The id one level below."""
        return ResourceId(
            subscription=self.subscription,
            resource_group=self.resource_group,
            workspace=self.workspace,
            segments=(*self.segments, (kind, name)),
        )

    @property
    def name(self) -> str:
        return self.segments[-1][1] if self.segments else self.workspace

    @property
    def type(self) -> str:
        """`Microsoft.MachineLearningServices/workspaces/onlineEndpoints`."""
        return "/".join((PROVIDER, "workspaces", *(kind for kind, _ in self.segments)))

    def names_of(self, kinds: Sequence[str]) -> tuple[str, ...] | None:
        """The names when the levels are of these kinds (any case), else None."""
        found = [kind.lower() for kind, _ in self.segments]
        if found != [kind.lower() for kind in kinds]:
            return None
        return tuple(name for _, name in self.segments)

    def __str__(self) -> str:
        below = "".join(f"/{kind}/{name}" for kind, name in self.segments)
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/{PROVIDER}/workspaces/{self.workspace}{below}"
        )


def endpoint_id(workspace: ResourceId, endpoint: str) -> ResourceId:
    return workspace.child("onlineEndpoints", endpoint)


def deployment_id(workspace: ResourceId, endpoint: str, deployment: str) -> ResourceId:
    return endpoint_id(workspace, endpoint).child("deployments", deployment)


def asset_id(workspace: ResourceId, kind: str, name: str, version: str) -> ResourceId:
    """Kind as in the path: models, environments, codes, data, components."""
    return workspace.child(kind, name).child("versions", version)
