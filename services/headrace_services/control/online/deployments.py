"""Online deployments on the wire: PUT, PATCH, GET, list, DELETE, logs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from headrace_api import arm
from headrace_api.errors import Conflict, HeadraceError, InvalidInput, NotFound
from headrace_api.names import check_endpoint_name
from headrace_api.online_deployment import (
    MAX_INSTANCES,
    SKU,
    OnlineDeployment,
    validate_deployment_arm,
)
from headrace_api.online_endpoint import MAX_DEPLOYMENTS
from headrace_api.settings.capacity import Host, capacity_warnings
from headrace_api.settings.judge import beyond, warnings_of_stored
from headrace_api.settings.online import DEPLOYMENT
from headrace_api.settings.told import with_warnings
from headrace_bus.errors import RevisionConflict
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.arm.merge_patch import merged
from headrace_services.control.arm.request import Answer, Call, listing, object_at
from headrace_services.control.assets.bodies import system_data
from headrace_services.control.assets.references import AssetReferences, Pinned
from headrace_services.control.online.endpoints import Endpoints
from headrace_services.control.online.logs_view import read_logs
from headrace_services.control.online.traffic_rules import require_no_traffic
from headrace_services.control.resources.ports import LogSource
from headrace_services.control.resources.writes import (
    AlreadyExists,
    Change,
    ChangedMeanwhile,
    ResourceWrites,
    is_create_only,
    leaving,
    observed,
    require_match,
)
from headrace_state.desired_count import differs_in_count_only
from headrace_state.records import (
    ProvisioningState,
    Spec,
    Status,
    deployment_key,
    deployment_status_key,
)
from headrace_state.repository import Damaged, Stored, readable
from headrace_telemetry.clock import timestamp

PATCHABLE: Final = ("tags", "identity", "properties", "location", "sku")
SET_TRIES: Final = 10  # of adding to or taking from an endpoint's set while others write it


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployments:
    """Handlers of online deployments."""

    ids: ArmIds
    writes: ResourceWrites
    endpoints: Endpoints
    references: AssetReferences
    logs: LogSource
    host: Host

    async def put(self, call: Call) -> Answer:
        """Create, or replace in full; 200 with `Succeeded` when nothing would change."""
        endpoint = await self.endpoints.known(call)
        old = await self._present(endpoint.value, call)
        return await self._write(call, endpoint, old, call.body)

    async def patch(self, call: Call) -> Answer:
        """Merge into what is there (azure_rest.md 4)."""
        endpoint = await self.endpoints.known(call)
        old = await self._known(endpoint.value, call)
        changes = {key: value for key, value in call.body.items() if key in PATCHABLE}
        for key in ("properties", "tags", "sku"):
            object_at(changes, key)
        return await self._write(call, endpoint, old, merged(old.value.arm, changes))

    async def get(self, call: Call) -> Answer:
        endpoint = await self.endpoints.known(call)
        stored = await self._known(endpoint.value, call)
        body = await self._shown(endpoint.value, stored.value)
        return Answer(body=body, headers=stored.etag)

    async def known(self, call: Call) -> tuple[Spec, Stored[Spec]]:
        """The endpoint and the deployment that a path names. Raises NotFound."""
        endpoint = (await self.endpoints.known(call)).value
        return endpoint, await self._known(endpoint, call)

    async def list_all(self, call: Call) -> Answer:
        endpoint = (await self.endpoints.known(call)).value
        lowered = endpoint.name.lower()
        found = await self.writes.specs.list(f"deployment.{lowered}.")
        statuses = {
            stored.key: stored.value
            for stored in await self.writes.statuses.list(f"status.deployment.{lowered}.")
        }
        return listing(
            self.body(endpoint, one.value, observed(one.value, statuses.get(f"status.{one.key}")))
            for one in found
        )

    async def list_skus(self, call: Call) -> Answer:
        """How its count may be set; the kind of machine is a property, so there is one SKU."""
        endpoint = await self.endpoints.known(call)
        stored = await self._known(endpoint.value, call)
        capacity = {"minimum": 1, "maximum": MAX_INSTANCES, "default": 1, "scaleType": "Manual"}
        sku = {
            "resourceType": self.ids.deployment(endpoint.value.name, stored.value.name).type,
            "sku": {"name": SKU, "tier": "Standard"},
            "capacity": capacity,
        }
        return listing([sku])

    async def delete(self, call: Call) -> Answer:
        """Refused while it has traffic; drained by the reconciler."""
        endpoint = await self.endpoints.known(call)
        old = await self._present(endpoint.value, call)
        if old is None:
            return Answer(status=204)
        spec = leaving(call.path["deployment"])
        if isinstance(old, Stored):
            running = await self.writes.operations.running(old.value)
            if old.value.deleting and running is not None:
                return self.writes.accepted(running, None, 202)
            spec = replace(old.value, deleting=True)
        change = self._change(endpoint.value, spec, "delete", ProvisioningState.DELETING)
        if isinstance(old, Stored):
            await self.writes.operations.require_idle(change.resource, old.value)
        await self._change_set(endpoint, spec.name.lower(), keep=False)
        try:
            operation = await self.writes.apply(call, old, change)
        except HeadraceError:
            await self._change_set(endpoint, spec.name.lower(), keep=True)
            raise
        return self.writes.accepted(operation, None, 202)

    async def get_logs(self, call: Call) -> Answer:
        endpoint = await self.endpoints.known(call)
        stored = await self._known(endpoint.value, call)
        names = endpoint.value.name.lower(), stored.value.name.lower()
        return Answer(body=await read_logs(self.logs, *names, call.body))

    def body(self, endpoint: Spec, spec: Spec, status: Status) -> dict[str, Any]:
        """The resource as ARM carries it, and beside it what is observed."""
        properties = {
            **spec.arm["properties"],
            "provisioningState": str(status.provisioning_state),
            "statusDetails": _details(status),
        }
        tracked = {key: spec.arm[key] for key in ("location", "tags", "sku") if key in spec.arm}
        identity = self.ids.deployment(endpoint.name, spec.name)
        return arm.resource(
            identity,
            with_warnings(properties, self._warnings(spec)),
            **tracked,
            kind="Managed",
            systemData=system_data(spec),
        )

    def _warnings(self, spec: Spec) -> tuple[str, ...]:
        """Of its settings, of what it refers to, and of what the host lacks."""
        given = spec.arm["properties"]
        lacks = capacity_warnings(
            self.host,
            instance_type=str(given.get("instanceType", "")),
            instance_count=int(spec.arm.get("sku", {}).get("capacity", 1)),
        )
        return (*warnings_of_stored(DEPLOYMENT, spec.arm), *spec.warnings, *lacks)

    async def _shown(self, endpoint: Spec, spec: Spec) -> dict[str, Any]:
        key = deployment_status_key(endpoint.name.lower(), spec.name.lower())
        return self.body(endpoint, spec, await self.writes.state(spec, key))

    async def _present(self, endpoint: Spec, call: Call) -> Stored[Spec] | Damaged | None:
        name = check_endpoint_name(call.path["deployment"], kind="deployment")
        return await self.writes.specs.present(deployment_key(endpoint.name.lower(), name))

    async def _known(self, endpoint: Spec, call: Call) -> Stored[Spec]:
        stored = await self._present(endpoint, call)
        if isinstance(stored, Damaged):
            raise stored.error
        if stored is None:
            name = call.path["deployment"]
            raise NotFound(
                f"deployment {name!r} does not exist in endpoint {endpoint.name!r}", target=name
            )
        return stored

    async def _write(
        self,
        call: Call,
        endpoint: Stored[Spec],
        old: Stored[Spec] | Damaged | None,
        given: dict[str, Any],
    ) -> Answer:
        require_match(call, old)
        known = readable(old)
        _require_alive(endpoint.value, known.value if known else None)
        typed = self._validated(call, given)
        if not isinstance(old, Stored):
            wanted = await self._pinned(typed, given)
            return await self._create(call, endpoint, old, wanted)
        resource = str(self.ids.deployment(endpoint.value.name, old.value.name))
        await self.writes.operations.require_idle(resource, old.value)
        wanted = await self._pinned(typed, given)
        key = deployment_status_key(endpoint.value.name.lower(), old.value.name.lower())
        status = await self.writes.state_before(old.value, key)
        failed = status.provisioning_state is ProvisioningState.FAILED
        if wanted.arm == old.value.arm and not failed:
            return Answer(body=self.body(endpoint.value, old.value, status))
        if is_create_only(call) and not failed:
            raise AlreadyExists(resource)
        spec = replace(old.value, arm=wanted.arm, warnings=wanted.warnings, modified_at=timestamp())
        state = _state_of_update(old.value.arm, wanted.arm)
        change = self._change(endpoint.value, spec, "update", state)
        operation = await self.writes.apply(call, old, change)
        return self.writes.accepted(operation, await self._shown(endpoint.value, spec), 200)

    async def _create(
        self, call: Call, endpoint: Stored[Spec], old: Damaged | None, wanted: Pinned
    ) -> Answer:
        """Also over what cannot be read."""
        if old is not None and is_create_only(call):
            raise AlreadyExists(
                str(self.ids.deployment(endpoint.value.name, call.path["deployment"]))
            )
        now = timestamp()
        spec = Spec(
            name=call.path["deployment"],
            arm=wanted.arm,
            warnings=wanted.warnings,
            created_at=now,
            modified_at=now,
            created_by=call.principal.name,
        )
        # Into the set first: a deployment outside of it is one that is on its way out.
        await self._change_set(endpoint, spec.name.lower(), keep=True)
        change = self._change(endpoint.value, spec, "create", ProvisioningState.CREATING)
        operation = await self.writes.apply(call, old, change)
        return self.writes.accepted(operation, await self._shown(endpoint.value, spec), 201)

    async def _pinned(self, typed: OnlineDeployment, given: dict[str, Any]) -> Pinned:
        """What to store, with what is said of the body beyond that."""
        found = await self.references.pinned(typed)
        more = beyond(DEPLOYMENT, given, found.arm)
        return replace(found, warnings=(*found.warnings, *more))

    def _validated(self, call: Call, given: dict[str, Any]) -> OnlineDeployment:
        for key in ("properties", "tags", "sku"):
            object_at(given, key)
        return validate_deployment_arm(
            given, endpoint=call.path["endpoint"], name=call.path["deployment"]
        )

    def _change(self, endpoint: Spec, spec: Spec, verb: str, state: ProvisioningState) -> Change:
        names = endpoint.name.lower(), spec.name.lower()
        return Change(
            resource=str(self.ids.deployment(endpoint.name, spec.name)),
            key=deployment_key(*names),
            status_key=deployment_status_key(*names),
            verb=verb,
            state=state,
            spec=spec,
        )

    async def _change_set(self, endpoint: Stored[Spec], name: str, *, keep: bool) -> None:
        """Put a deployment into its endpoint's set, or take it out, against other writers."""
        current: Stored[Spec] | None = endpoint
        for _ in range(SET_TRIES):
            if current is None:
                raise NotFound(f"endpoint {endpoint.value.name!r} is gone", target="endpoint")
            spec = current.value
            if (name in spec.deployments) == keep:
                return
            try:
                await self.writes.specs.update(current, _with_set(spec, name, keep=keep))
            except RevisionConflict:
                current = await self.endpoints.find(spec.name.lower())
            else:
                return
        raise ChangedMeanwhile(str(self.ids.endpoint(endpoint.value.name)))


def _with_set(endpoint: Spec, name: str, *, keep: bool) -> Spec:
    """Raises Conflict, InvalidInput when the endpoint cannot take it or let it go."""
    others = tuple(one for one in endpoint.deployments if one != name)
    if not keep:
        require_no_traffic(name, endpoint.arm["properties"])
        return replace(endpoint, deployments=others)
    _require_alive(endpoint, None)
    if len(others) >= MAX_DEPLOYMENTS:
        raise InvalidInput(
            f"endpoint {endpoint.name!r} already has {len(others)} deployments, the maximum",
            target=endpoint.name,
        )
    return replace(endpoint, deployments=tuple(sorted((*others, name))))


def _require_alive(endpoint: Spec, deployment: Spec | None) -> None:
    for kind, spec in (("endpoint", endpoint), ("deployment", deployment)):
        if spec is not None and spec.deleting:
            raise Conflict(f"{kind} {spec.name!r} is being deleted", target=spec.name)


def _state_of_update(old: dict[str, Any], new: dict[str, Any]) -> ProvisioningState:
    """Scaling when nothing but the count changes (azure_behaviour.md 7.1)."""
    scaling = differs_in_count_only(old, new)
    return ProvisioningState.SCALING if scaling else ProvisioningState.UPDATING


def _details(status: Status) -> dict[str, Any]:
    error = None
    if status.error_code:
        details = arm.hint_details(status.hint)
        error = arm.error_body(status.error_code, status.error, details=details)["error"]
    return {
        "readyInstances": status.ready,
        "attachedInstances": status.attached,
        "phases": dict(status.phases),
        "error": error,
    }
