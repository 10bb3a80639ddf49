"""References to assets and to paths in datastores, in every form Azure's files use.

azureml:<name>:<version>   azureml:<name>@<label>   azureml:<ARM id>   <ARM id>
azureml://registries/<registry>/<kind>/<name>/versions/<v> (or /labels/<label>)
azureml://[subscriptions/../workspaces/<ws>/]datastores/<datastore>/paths/<path>
azureml://locations/<loc>/workspaces/<guid>/<kind>/<name>/versions/<v>
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from headrace_api.errors import InvalidInput
from headrace_api.ids import ResourceId, asset_id
from headrace_api.names import check_asset_name

SCHEME: Final = "azureml:"
MAX_REFERENCE_CHARS: Final = 2_048
KINDS: Final = ("models", "environments", "codes", "data", "components")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetReference:
    """One version of one asset, by version or by label."""

    kind: str
    """models, environments, codes, data or components."""
    name: str
    version: str = ""
    label: str = ""
    """`latest` and others; empty when the version is given."""
    registry: str = ""
    """Empty for the workspace's own."""

    def arm_id(self, workspace: ResourceId) -> str:
        """The ARM id. Raises InvalidInput for labels and registries, which need a look-up first."""
        if self.registry:
            raise InvalidInput(f"registry {self.registry!r} is not supported yet", target=self.name)
        if not self.version:
            raise InvalidInput(f"{self} names a label; look its version up first")
        return str(asset_id(workspace, self.kind, self.name, self.version))

    def __str__(self) -> str:
        if self.registry:
            pin = f"versions/{self.version}" if self.version else f"labels/{self.label}"
            return f"azureml://registries/{self.registry}/{self.kind}/{self.name}/{pin}"
        return f"azureml:{self.name}" + (f":{self.version}" if self.version else f"@{self.label}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastorePath:
    """A path in a datastore."""

    datastore: str
    path: str
    """Without a leading slash; never `..`."""
    workspace: ResourceId | None = None
    """Set by the long form."""

    def __str__(self) -> str:
        return f"azureml://datastores/{self.datastore}/paths/{self.path}"

    def long(self, workspace: ResourceId) -> str:
        """The form the SDK writes, with subscription, group and workspace."""
        return (
            f"azureml://subscriptions/{workspace.subscription}/resourcegroups/"
            f"{workspace.resource_group}/workspaces/{workspace.workspace}"
            f"/datastores/{self.datastore}/paths/{self.path}"
        )


def is_reference(text: str) -> bool:
    """Whether the text refers to the platform, and not to a local path."""
    return text.lower().startswith((SCHEME, "/subscriptions/"))


def parse_asset(text: str, *, kind: str) -> AssetReference:
    """Read a reference to an asset of this kind. Raises InvalidInput."""
    if len(text) > MAX_REFERENCE_CHARS:
        raise InvalidInput(f"a reference of {len(text)} characters is too long")
    rest = text[len(SCHEME) :] if text.lower().startswith(SCHEME) else text
    if rest.lower().startswith("/subscriptions/"):
        return _from_arm_id(rest, kind)
    if rest.startswith("//"):
        return _from_url(text, rest[2:], kind)
    if rest is text:
        raise _malformed(text, kind)
    return _short(text, rest, kind)


def parse_path(text: str) -> DatastorePath:
    """Read `azureml://[...]datastores/<datastore>/paths/<path>`, short or long.

    Raises InvalidInput, also on a path that leaves the datastore.
    """
    parts = text.removeprefix("azureml://").split("/")
    lower = [part.lower() for part in parts]
    if len(text) > MAX_REFERENCE_CHARS or not text.startswith("azureml://"):
        raise _malformed_path(text)
    workspace = None
    if lower[0:1] == ["subscriptions"]:
        workspace, parts, lower = _strip_workspace(text, parts, lower)
    if len(parts) < 4 or (lower[0], lower[2]) != ("datastores", "paths") or not parts[1]:
        raise _malformed_path(text)
    path = "/".join(parts[3:]).lstrip("/")
    if ".." in path.split("/"):
        raise InvalidInput(f"{text[:200]!r} leaves its datastore: '..' is not allowed")
    return DatastorePath(datastore=parts[1], path=path, workspace=workspace)


def _strip_workspace(
    text: str, parts: Sequence[str], lower: Sequence[str]
) -> tuple[ResourceId, list[str], list[str]]:
    if len(parts) < 6 or (lower[2], lower[4]) != ("resourcegroups", "workspaces"):
        raise _malformed_path(text)
    workspace = ResourceId(subscription=parts[1], resource_group=parts[3], workspace=parts[5])
    return workspace, list(parts[6:]), list(lower[6:])


def _short(text: str, rest: str, kind: str) -> AssetReference:
    name, colon, version = rest.partition(":")
    if colon:
        return _reference(kind, name, version=version)
    name, at, label = rest.partition("@")
    if not at or not label:
        raise _malformed(text, kind)
    return _reference(kind, name, label=label)


def _from_arm_id(text: str, kind: str) -> AssetReference:
    names = ResourceId.parse(text).names_of((kind, "versions"))
    if names is None:
        raise _malformed(text, kind)
    return _reference(kind, names[0], version=names[1])


def _from_url(text: str, rest: str, kind: str) -> AssetReference:
    parts = rest.split("/")
    registry = ""
    if parts[0].lower() == "registries" and len(parts) == 6:
        registry, parts = parts[1], parts[2:]
    elif parts[0].lower() == "locations" and len(parts) == 8:
        parts = parts[4:]
    if len(parts) != 4 or parts[0].lower() != kind:
        raise _malformed(text, kind)
    _, name, pin, value = parts
    if pin.lower() == "versions":
        return _reference(kind, name, version=value, registry=registry)
    if pin.lower() == "labels":
        return _reference(kind, name, label=value, registry=registry)
    raise _malformed(text, kind)


def _reference(
    kind: str, name: str, *, version: str = "", label: str = "", registry: str = ""
) -> AssetReference:
    check_asset_name(name, kind=f"name of {kind}")
    check_asset_name(version or label, kind=f"version of {kind}")
    return AssetReference(kind=kind, name=name, version=version, label=label, registry=registry)


def _malformed(text: str, kind: str) -> InvalidInput:
    return InvalidInput(
        f"{text[:200]!r} is not a reference to {kind}: use azureml:<name>:<version>, "
        "azureml:<name>@latest or an ARM id"
    )


def _malformed_path(text: str) -> InvalidInput:
    return InvalidInput(
        f"{text[:200]!r} is not a datastore path: use azureml://datastores/<name>/paths/<path>"
    )
