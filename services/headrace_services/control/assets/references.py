"""What a deployment refers to, looked up and pinned to versions when its spec is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace_api.errors import InvalidInput, NotFound
from headrace_api.online_deployment import OnlineDeployment
from headrace_api.references import AssetReference, parse_asset
from headrace_api.settings.judge import warnings_of
from headrace_api.settings.told import lines_of
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.assets.asset_store import AssetStore
from headrace_services.control.assets.curated import REGISTRY, VERSION
from headrace_state.blob_location import BlobLocation, located
from headrace_state.records import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A deployment that refers to versions only."""

    arm: dict[str, Any]
    warnings: tuple[str, ...]
    """Of the assets; one line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetReferences:
    """Finds models, environments and code by any form of reference."""

    ids: ArmIds
    assets: Mapping[str, AssetStore]
    """By kind."""
    has_bytes: Callable[[BlobLocation], Awaitable[bool]]
    find: Callable[[str], Awaitable[Spec | None]]
    """A spec by its key."""

    async def pinned(self, deployment: OnlineDeployment) -> Pinned:
        """The body to store: every reference is the id of a version that exists.

        Raises InvalidInput that names the field whose asset, or whose script, is missing.
        """
        code = deployment.code_configuration
        model_id, model = await self._pin("model", "models", deployment.model)
        environment_id, environment = await self._pin(
            "environmentId", "environments", deployment.environment
        )
        code_id, found = await self._pin(
            "codeConfiguration.codeId", "codes", code.code if code else None
        )
        if found is not None and code is not None:
            await self._require_script(found, str(code.scoring_script))
        body = deployment.to_arm(
            self.ids.workspace,
            model_id=model_id,
            environment_id=environment_id,
            code_id=code_id,
            location=self.ids.location,
        )
        of_assets = (*self._told("models", model), *self._told("environments", environment))
        return Pinned(arm=body, warnings=of_assets)

    def _told(self, kind: str, asset: Spec | None) -> tuple[str, ...]:
        """What an asset warns of, under the deployment's key for it."""
        if asset is None:
            return ()
        properties = asset.arm["properties"]
        schema = self.assets[kind].type.schema
        lines = warnings_of(schema, {"properties": properties}, wire=True)
        own = (f"{kind[:-1]}: {line}" for line in lines_of(properties))
        return (*own, *(f"{kind[:-1]}.{line}" for line in lines))

    async def _pin(self, field: str, kind: str, value: object) -> tuple[str, Spec | None]:
        if value is None:
            return "", None
        target = f"properties.{field}"
        reference = parse_asset(str(value), kind=kind)
        curated_here = kind == "environments" and reference.registry.lower() == REGISTRY
        if reference.registry and not curated_here:
            raise InvalidInput(
                f"{field} names {kind} of registry {reference.registry!r}: only curated "
                f"environments of registry {REGISTRY!r} are supported",
                target=target,
            )
        try:
            spec = await self._resolved(kind, reference)
        except NotFound as error:
            raise InvalidInput(
                f"{field} refers to something that does not exist: {error.message}",
                hint="register it first",
                target=target,
            ) from None
        return str(self.ids.version(kind, spec.name, str(spec.arm["version"]))), spec

    async def _resolved(self, kind: str, reference: AssetReference) -> Spec:
        if reference.registry:
            # Versions of Azure's images mean nothing here: each is the same set of packages.
            return await self.assets[kind].provide(reference.name, reference.version or VERSION)
        return await self.assets[kind].resolve(
            reference.name, version=reference.version, label=reference.label
        )

    async def _require_script(self, code: Spec, script: str) -> None:
        folder = await located(str(code.arm["properties"]["codeUri"]), self.find)
        path = f"{folder.path}/{script}" if folder.path else script
        if not await self.has_bytes(BlobLocation(container=folder.container, path=path)):
            raise InvalidInput(
                f"scoringScript {script!r} is not in the uploaded code folder",
                target="properties.codeConfiguration.scoringScript",
            )
