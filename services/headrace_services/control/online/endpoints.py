"""Online endpoints on the wire: PUT, PATCH, GET, list, DELETE, keys and tokens."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from headrace_api import arm
from headrace_api.errors import Conflict, InvalidInput, NotFound
from headrace_api.names import check_endpoint_name
from headrace_api.online_endpoint import validate_endpoint_arm
from headrace_api.settings.judge import beyond, warnings_of_stored
from headrace_api.settings.online import ENDPOINT
from headrace_api.settings.told import with_warnings
from headrace_bus.errors import RevisionConflict
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.arm.merge_patch import merged
from headrace_services.control.arm.request import Answer, Call, listing, object_at
from headrace_services.control.assets.bodies import system_data
from headrace_services.control.identity.issuer import Issuer
from headrace_services.control.resources.change_log import audit
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
from headrace_state.endpoint_keys import (
    EndpointKeys,
    KeyPair,
    given_keys,
    key_type_of,
    new_pair,
)
from headrace_state.records import (
    Operation,
    ProvisioningState,
    Spec,
    Status,
    endpoint_key,
    endpoint_status_key,
)
from headrace_state.repository import Damaged, Stored
from headrace_telemetry.clock import timestamp

PATCHABLE: Final = ("tags", "identity", "properties", "location", "kind", "sku")
ENDPOINT_ID_PROPERTY: Final = "azureml.onlineendpointid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Handlers of online endpoints."""

    ids: ArmIds
    writes: ResourceWrites
    keys: EndpointKeys
    issuer: Issuer

    async def put(self, call: Call) -> Answer:
        """Create, or replace in full; 200 with `Succeeded` when nothing would change."""
        name = check_endpoint_name(call.path["endpoint"])
        return await self._write(call, await self._present(name), call.body)

    async def patch(self, call: Call) -> Answer:
        """Merge into what is there (azure_rest.md 4)."""
        old = await self.known(call)
        changes = {key: value for key, value in call.body.items() if key in PATCHABLE}
        for key in ("properties", "tags", "identity"):
            object_at(changes, key)
        return await self._write(call, old, merged(old.value.arm, changes))

    async def get(self, call: Call) -> Answer:
        stored = await self.known(call)
        return Answer(body=await self._shown(stored.value), headers=stored.etag)

    async def list_all(self, call: Call) -> Answer:
        statuses = {
            stored.key: stored.value
            for stored in await self.writes.statuses.list("status.endpoint.")
        }
        found = await self.writes.specs.list("endpoint.")
        return listing(
            self.body(one.value, observed(one.value, statuses.get(f"status.{one.key}")))
            for one in found
        )

    async def delete(self, call: Call) -> Answer:
        """Its deployments go with it, drained by the reconciler."""
        name = check_endpoint_name(call.path["endpoint"])
        old = await self._present(name)
        if old is None:
            return Answer(status=204)
        spec = leaving(call.path["endpoint"])
        if isinstance(old, Stored):
            running = await self.writes.operations.running(old.value)
            if old.value.deleting and running is not None:
                return self.writes.accepted(running, None, 202)
            spec = replace(old.value, deleting=True)
        change = self._change(spec, "delete", ProvisioningState.DELETING)
        operation = await self.writes.apply(call, old, change)
        await self._end_deployments(name)
        return self.writes.accepted(operation, None, 202)

    async def list_keys(self, call: Call) -> Answer:
        stored = await self.known(call)
        self._require_keys(stored.value)
        name = stored.value.name.lower()
        await self.keys.adopt(name, stored.value.operation)
        pair = await self.keys.read_or_create(name)
        audit(call, "listKeys", str(self.ids.endpoint(stored.value.name)), stored.revision)
        return Answer(body={"primaryKey": pair.primary, "secondaryKey": pair.secondary})

    async def regenerate_keys(self, call: Call) -> Answer:
        """One new key; done when every live ingress has applied it."""
        stored = await self.known(call)
        self._require_keys(stored.value)
        kind = key_type_of(call.body)
        identity = str(self.ids.endpoint(stored.value.name))
        await self.writes.operations.require_idle(identity, stored.value)
        pair = await self.keys.regenerated(stored.value.name.lower(), kind)
        change = self._change(stored.value, "regenerateKeys", ProvisioningState.UPDATING)
        operation = await self._apply(call, stored, change, pair)
        return self.writes.accepted(operation, None, 202)

    async def token(self, call: Call) -> Answer:
        stored = await self.known(call)
        if _auth_mode(stored.value) != "amltoken":
            raise InvalidInput(
                f"Endpoint '{stored.value.name}' does not use tokens for authentication.",
                target=stored.value.name,
            )
        issued = self.issuer.endpoint_token(
            stored.value.name.lower(),
            epoch=stored.value.created_at,
            subject=call.principal.name,
            now_s=int(time.time()),
        )
        audit(call, "token", str(self.ids.endpoint(stored.value.name)), stored.revision)
        body = {
            "accessToken": issued.text,
            "expiryTimeUtc": issued.expires_s,
            "refreshAfterTimeUtc": issued.refresh_after_s,
            "tokenType": "Bearer",
        }
        return Answer(body=body)

    async def find(self, name: str) -> Stored[Spec] | None:
        return await self.writes.specs.get(endpoint_key(name))

    async def _present(self, name: str) -> Stored[Spec] | Damaged | None:
        return await self.writes.specs.present(endpoint_key(name))

    async def known(self, call: Call) -> Stored[Spec]:
        """The endpoint in the path. Raises NotFound."""
        name = check_endpoint_name(call.path["endpoint"])
        stored = await self.find(name)
        if stored is None:
            raise NotFound(f"endpoint {call.path['endpoint']!r} does not exist", target=name)
        return stored

    def body(self, spec: Spec, status: Status) -> dict[str, Any]:
        """The resource as ARM carries it; what the SDK crashes on when null is an object."""
        identity = self.ids.endpoint(spec.name)
        lowered = spec.name.lower()
        properties = {
            "traffic": {},
            "mirrorTraffic": {},
            "publicNetworkAccess": "Enabled",
            **spec.arm["properties"],
            "scoringUri": self.ids.scoring(lowered),
            "swaggerUri": self.ids.swagger(lowered),
            "provisioningState": str(status.provisioning_state),
        }
        named = {ENDPOINT_ID_PROPERTY: str(identity)}
        properties["properties"] = {**properties.get("properties", {}), **named}
        told = (*warnings_of_stored(ENDPOINT, spec.arm), *spec.warnings)
        tracked = {
            key: spec.arm[key] for key in ("location", "tags", "identity") if key in spec.arm
        }
        return arm.resource(
            identity,
            with_warnings(properties, told),
            **tracked,
            kind="Managed",
            systemData=system_data(spec),
        )

    async def _shown(self, spec: Spec) -> dict[str, Any]:
        status = await self.writes.state(spec, endpoint_status_key(spec.name.lower()))
        return self.body(spec, status)

    async def _write(
        self, call: Call, old: Stored[Spec] | Damaged | None, given: dict[str, Any]
    ) -> Answer:
        name = call.path["endpoint"]
        require_match(call, old)
        if not isinstance(old, Stored):
            return await self._create(call, old, given)
        if old.value.deleting:
            raise Conflict(f"endpoint {name!r} is being deleted", target=name)
        wanted = self._validated(given, name, old.value.deployments)
        identity = str(self.ids.endpoint(old.value.name))
        await self.writes.operations.require_idle(identity, old.value)
        status = await self.writes.state_before(old.value, endpoint_status_key(name.lower()))
        failed = status.provisioning_state is ProvisioningState.FAILED
        if wanted == old.value.arm and not failed:
            return Answer(body=self.body(old.value, status), headers=old.etag)
        if is_create_only(call) and not failed:
            raise AlreadyExists(identity)
        more = beyond(ENDPOINT, given, wanted)
        spec = replace(old.value, arm=wanted, warnings=more, modified_at=timestamp())
        change = self._change(spec, "update", ProvisioningState.UPDATING)
        operation = await self.writes.apply(call, old, change)
        return self.writes.accepted(operation, await self._shown(spec), 200)

    async def _create(self, call: Call, old: Damaged | None, given: dict[str, Any]) -> Answer:
        """Also over what cannot be read, whose deployments and keys stay."""
        name = call.path["endpoint"]
        if old is not None and is_create_only(call):
            raise AlreadyExists(str(self.ids.endpoint(name)))
        has = await self._staying(name.lower()) if old else ()
        now = timestamp()
        wanted = self._validated(given, name, has)
        spec = Spec(
            name=name,
            arm=wanted,
            warnings=beyond(ENDPOINT, given, wanted),
            created_at=now,
            modified_at=now,
            created_by=call.principal.name,
            deployments=has,
        )
        kept = await self.keys.read(name.lower()) if old else None
        pair = given_keys(object_at(given, "properties")) or kept or new_pair()
        change = self._change(spec, "create", ProvisioningState.CREATING)
        operation = await self._apply(call, old, change, pair)
        return self.writes.accepted(operation, await self._shown(spec), 201)

    async def _staying(self, name: str) -> tuple[str, ...]:
        """The deployments of an endpoint, where its own set cannot be read."""
        found = await self.writes.specs.look(f"deployment.{name}.")
        whole = [one.value.name.lower() for one in found.whole if not one.value.deleting]
        return tuple(sorted([*whole, *(one.key.rpartition(".")[2] for one in found.damaged)]))

    async def _apply(
        self, call: Call, old: Stored[Spec] | Damaged | None, change: Change, pair: KeyPair
    ) -> Operation:
        """Store a change and the keys that come with it, both or none."""
        name = change.spec.name.lower()
        operation = await self.writes.open(old, change)
        # Before the spec: the operation must not be closed by a round that still saw the old keys.
        await self.keys.stage(name, operation.id, pair)
        try:
            await self.writes.apply(call, old, change, operation)
        except ChangedMeanwhile:
            await self.keys.unstage(name, operation.id)
            raise
        await self.keys.adopt(name, operation.id)
        return operation

    def _validated(
        self, given: dict[str, Any], name: str, deployments: tuple[str, ...]
    ) -> dict[str, Any]:
        properties = object_at(given, "properties")
        # Null means none here: the SDK sends it for a table that nobody set.
        for block in ("traffic", "mirrorTraffic", "properties"):
            if properties.get(block) is not None:
                object_at(properties, block)
        endpoint = validate_endpoint_arm(given, name=name, deployments=deployments)
        wanted = endpoint.to_arm(location=self.ids.location)
        wanted["properties"]["properties"].pop(ENDPOINT_ID_PROPERTY, None)
        return wanted

    def _change(self, spec: Spec, verb: str, state: ProvisioningState) -> Change:
        name = spec.name.lower()
        return Change(
            resource=str(self.ids.endpoint(spec.name)),
            key=endpoint_key(name),
            status_key=endpoint_status_key(name),
            verb=verb,
            state=state,
            spec=spec,
        )

    async def _end_deployments(self, name: str) -> None:
        """What they were doing is overtaken, but for a delete; what cannot be read goes too."""
        found = await self.writes.specs.look(f"deployment.{name}.")
        for stored in found.whole:
            running = await self.writes.operations.running(stored.value)
            if running is not None and not stored.value.deleting:
                await self.writes.operations.cancel(running, by="the delete of the endpoint")
        for lost in found.damaged:
            with suppress(RevisionConflict):  # somebody put it right or deleted it meanwhile
                await self.writes.specs.put(lost, lost.key, leaving(lost.key.rpartition(".")[2]))

    def _require_keys(self, spec: Spec) -> None:
        if _auth_mode(spec) != "key":
            raise InvalidInput(
                f"Endpoint '{spec.name}' does not use keys for authentication.", target=spec.name
            )


def _auth_mode(spec: Spec) -> str:
    return str(spec.arm["properties"].get("authMode", "Key")).lower()
