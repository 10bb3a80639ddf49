"""A deployment's spec and its assets to the launch record of one instance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace_api.deployment_settings import DataCollector
from headrace_api.deployment_settings import Probe as ProbeSettings
from headrace_api.environment import Environment
from headrace_api.errors import InvalidInput, NotFound
from headrace_api.online_deployment import OnlineDeployment
from headrace_api.references import parse_asset
from headrace_bus.store.blob_index import BlobEntry, BlobIndex
from headrace_bus.wire.launch import AssetFile, EnvironmentSpec, Launch, Probe
from headrace_state.blob_location import BlobLocation, located
from headrace_state.records import Instance, Spec, asset_key

REPORT_MARGIN_S: Final = 10.0  # the scorer keeps the same budget and knows better why
_OF_THE_SERVER: Final = frozenset({"request", "response"})  # collected without the script
_NOT_IN_TEMPLATE: Final = frozenset({"description", "properties", "scaleSettings"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchBuilder:
    """Reads what a deployment refers to."""

    find: Callable[[str], Awaitable[Spec | None]]
    """A spec by its key."""
    blobs: BlobIndex
    nats_url: str

    async def build(self, instance: Instance, spec: Spec) -> Launch:
        """Raises NotFound for an asset or its bytes, InvalidInput for a spec nobody can start.

        Raises UnreadableRecord, UnreadableName for what is damaged of them.
        """
        typed = read_deployment(instance.endpoint, spec)
        model = await self._asset("models", typed.model)
        code = typed.code_configuration
        return Launch(
            iid=instance.iid,
            owner=instance.owner,
            endpoint=instance.endpoint,
            deployment=instance.deployment,
            revision=instance.revision,
            model_name=model.name if model else "",
            model_version=str(model.arm.get("version", "")) if model else "",
            model_files=await self._model_files(model),
            model_mount_path=typed.model_mount_path or "",
            code_files=await self._code_files(typed),
            scoring_script=(code.scoring_script or "") if code else "",
            environment=await self._environment(typed),
            environment_variables={
                **collector_variables(typed.data_collector),
                **typed.environment_variables,
            },
            max_concurrent=typed.max_concurrent,
            request_timeout_ms=typed.request_settings.request_timeout_ms,
            liveness=_probe(typed.liveness_probe),
            readiness=_probe(typed.readiness_probe),
            idempotent=typed.options.idempotent,
            nats_url=self.nats_url,
        )

    async def _asset(self, kind: str, reference: object) -> Spec | None:
        if reference is None:
            return None
        if not isinstance(reference, str):
            raise InvalidInput(f"the deployment's {kind} is not a reference", target=kind)
        wanted = parse_asset(reference, kind=kind)
        found = await self.find(asset_key(kind, wanted.name, wanted.version))
        if found is None:
            raise NotFound(f"{kind} has no {wanted.name!r} of version {wanted.version!r}")
        return found

    async def _model_files(self, model: Spec | None) -> tuple[AssetFile, ...]:
        if model is None:
            return ()
        place = await located(str(model.arm["properties"]["modelUri"]), self.find)
        return await self._files(place, keep_name=True, what=f"model {model.name!r}")

    async def _code_files(self, typed: OnlineDeployment) -> tuple[AssetFile, ...]:
        code = typed.code_configuration
        found = await self._asset("codes", code.code if code else None)
        if found is None:
            return ()
        place = await located(str(found.arm["properties"]["codeUri"]), self.find)
        return await self._files(place, keep_name=False, what=f"code {found.name!r}")

    async def _environment(self, typed: OnlineDeployment) -> EnvironmentSpec:
        found = await self._asset("environments", typed.environment)
        if found is None:
            return EnvironmentSpec()
        environment = Environment.from_arm(found.arm)
        return EnvironmentSpec(
            conda=environment.conda_file or "", image=environment.image or "", name=found.name
        )

    async def _files(
        self, place: BlobLocation, *, keep_name: bool, what: str
    ) -> tuple[AssetFile, ...]:
        """The files of a folder, or the one file; a model's folder keeps its own name."""
        name = place.path.rpartition("/")[2]
        single = await self.blobs.get(place.container, place.path) if place.path else None
        if single is not None:
            return (AssetFile(path=name, digest=single.digest, size_bytes=single.size_bytes),)
        prefix = f"{place.path}/" if place.path else ""
        found = await self._below(place.container, prefix)
        if not found:
            raise NotFound(f"{what} is empty: there is nothing at {place.container}/{place.path}")
        above = f"{name}/" if keep_name and name else ""
        return tuple(
            AssetFile(
                path=above + blob.removeprefix(prefix),
                digest=entry.digest,
                size_bytes=entry.size_bytes,
            )
            for blob, entry in found
        )

    async def _below(self, container: str, prefix: str) -> list[tuple[str, BlobEntry]]:
        found: list[tuple[str, BlobEntry]] = []
        marker = ""
        while True:
            page = await self.blobs.list(container, prefix, marker=marker)
            if page.damaged:  # without one of its files it would be another model
                await self.blobs.get(container, page.damaged[0])
            found += page.entries
            if not page.next:
                return found
            marker = page.next


def collector_variables(collector: DataCollector | None) -> dict[str, str]:
    """So that Azure's Collector starts in a script and prints what it is given to the log.

    Without them it raises at its first line; nothing stores what it collects yet.
    """
    own = [one for one in (collector.collections if collector else {}).items() if one[1].is_enabled]
    if collector is None or all(name.lower() in _OF_THE_SERVER for name, _ in own):
        return {}
    return {
        "AZUREML_MDC_ENABLED": "true",
        "AZUREML_MDC_LOCAL_CAPTURE": "true",
        "AZUREML_MDC_SAMPLE_RATE": str(round(collector.sampling_rate * 100)),
    }


def read_deployment(endpoint: str, spec: Spec) -> OnlineDeployment:
    """Raises InvalidInput when the spec is not one that control wrote."""
    return OnlineDeployment.from_arm(spec.arm, endpoint=endpoint, name=spec.name)


def template_of(spec: Spec) -> str:
    """Digest of all that an instance is made from: not of count, words and routing options."""
    properties: Mapping[str, Any] = spec.arm.get("properties", {})
    made_of = {key: one for key, one in properties.items() if key not in _NOT_IN_TEMPLATE}
    made_of["options"] = properties.get("properties", {})
    text = json.dumps([made_of, spec.created_at], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def ready_budget_s(typed: OnlineDeployment) -> float:
    """From the begin of `init`: as long as the probe may fail (azure_behaviour.md 1.5)."""
    probe = typed.readiness_probe
    allowed_s = probe.initial_delay + probe.failure_threshold * probe.period + probe.timeout
    return allowed_s + REPORT_MARGIN_S


def _probe(settings: ProbeSettings) -> Probe:
    return Probe(
        initial_delay_s=settings.initial_delay,
        period_s=settings.period,
        timeout_s=settings.timeout,
        success_threshold=settings.success_threshold,
        failure_threshold=settings.failure_threshold,
    )
