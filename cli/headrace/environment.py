"""Verbs of `headrace environment`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace import assets, edit
from headrace.call import Call
from headrace.errors import BadUsage
from headrace_api.settings.told import warnings_in
from headrace_api.views import environment_view

if TYPE_CHECKING:
    from headrace_api.environment import Environment

KIND: Final = "environments"
_CURATED: Final = "AzureML-"
_CURATED_REGISTRY: Final = "azureml"
_CURATED_VERSION: Final = "1"  # versions of Azure's images mean nothing here
_MAY_CHANGE: Final = frozenset({"description", "tags"})
_FIELDS: Final = ("name", "version", "image", "conda_file", "os_type", "description")


def create(call: Call) -> Any:
    """Register an environment from a file, or from --name with --image and --conda-file."""
    from headrace_api.environment import Environment

    values = assets.given(call, _FIELDS)
    if call.text("file"):
        environment = edit.from_file(Environment, call, values)
    else:
        environment = Environment.from_values(edit.edited(values, call), base=Path.cwd())
    if not environment.name:
        raise BadUsage("an environment needs a name", hint="--file, or --name and --image")
    return environment_view(register(call, environment))


def register(call: Call, environment: Environment) -> dict[str, Any]:
    """Put the version; returns its ARM resource. Without a name it is anonymous."""
    if not environment.name:
        return anonymous(call, environment)
    path = assets.path_to_make(call.client, KIND, environment.name, environment.version)
    arm: dict[str, Any] = call.client.put(path, environment.to_arm()).json()
    return arm


def anonymous(call: Call, environment: Environment) -> dict[str, Any]:
    """One that has no name of its own: its version is the digest of its definition."""
    from headrace_api.environment import ANONYMOUS_NAME

    path = assets.version_path(KIND, ANONYMOUS_NAME, environment.digest())
    found: dict[str, Any] | None = call.client.find(path)
    if found is not None:
        return found
    arm: dict[str, Any] = call.client.put(path, environment.to_arm(anonymous=True)).json()
    return arm


def curated(call: Call, text: str) -> str:
    """The id of what stands in for one of Azure's curated environments; empty for any other.

    Warns where it has another series than its name promises. Raises ApiError for unknown names.
    """
    from headrace_api.references import parse_asset

    reference = parse_asset(text, kind=KIND)
    name, is_named = reference.name, reference.name.lower().startswith(_CURATED.lower())
    if reference.registry.lower() != _CURATED_REGISTRY and (reference.registry or not is_named):
        return ""
    path = assets.version_path(KIND, name if is_named else _CURATED + name, _CURATED_VERSION)
    arm: dict[str, Any] = call.client.get(path)
    for line in warnings_in(arm):
        call.warn(line)
    return str(arm["id"])


def show(call: Call) -> Any:
    return assets.show(call, KIND, environment_view)


def list_all(call: Call) -> Any:
    return assets.list_all(call, KIND, environment_view)


def update(call: Call) -> Any:
    return assets.update(call, KIND, environment_view, _MAY_CHANGE)
