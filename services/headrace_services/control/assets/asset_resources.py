"""Versions and containers of assets as ARM resources."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headrace_api import arm
from headrace_api.settings.judge import warnings_of_stored
from headrace_api.settings.told import with_warnings
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.assets.asset_store import AssetStore
from headrace_services.control.assets.bodies import next_version, system_data
from headrace_state.records import Spec
from headrace_state.repository import Damaged


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetResources:
    """Of one kind."""

    store: AssetStore
    ids: ArmIds

    def id_of(self, spec: Spec) -> str:
        """The ARM id of a version."""
        return str(self.ids.version(self.store.type.kind, spec.name, str(spec.arm["version"])))

    def container_id(self, name: str) -> str:
        """The ARM id of a container."""
        return str(self.ids.container(self.store.type.kind, name))

    def properties(self, spec: Spec) -> dict[str, Any]:
        """Those of a version, of one that was written before they were completed too."""
        return self.store.type.complete(spec.arm["properties"], spec.name, str(spec.arm["version"]))

    def version(self, spec: Spec) -> dict[str, Any]:
        """The body of one version."""
        properties = {
            "description": None,
            "tags": {},
            "properties": {},
            "isAnonymous": False,
            "isArchived": False,
            **self.properties(spec),
            "provisioningState": "Succeeded",
        }
        identity = self.ids.version(self.store.type.kind, spec.name, str(spec.arm["version"]))
        told = warnings_of_stored(self.store.type.schema, {"properties": properties})
        shown = with_warnings(properties, told)
        return arm.resource(identity, shown, systemData=system_data(spec))

    def container(
        self, name: str, specs: list[Spec], container: Spec | None, damaged: Iterable[Damaged]
    ) -> dict[str, Any]:
        """`damaged` versions, of other names too: nobody should be told to write over one."""
        own = container.arm["properties"] if container else {}
        newest_properties = specs[0].arm["properties"] if specs else {}
        shared = {key: newest_properties.get(key) for key in self.store.type.newest_in_container}
        properties = {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": False,
            **shared,
            **own,
            "latestVersion": specs[0].arm["version"] if specs else None,
            "nextVersion": next_version(self._taken(name, specs, damaged)),
            "provisioningState": "Succeeded",
        }
        newest = specs[0] if specs else container
        data = system_data(newest) if newest else None
        identity = self.ids.container(self.store.type.kind, name)
        return arm.resource(identity, properties, systemData=data)

    def _taken(self, name: str, specs: Iterable[Spec], damaged: Iterable[Damaged]) -> list[str]:
        """Versions of a name, for the next number; the last word of a key is a number as it is."""
        prefix = self.store.version_prefix(name)
        lost = [one.key.removeprefix(prefix) for one in damaged if one.key.startswith(prefix)]
        return [*(str(spec.arm["version"]) for spec in specs), *lost]
