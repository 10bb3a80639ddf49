"""One endpoint a round: its route, and the end of operations that wait for ingresses."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from headrace_bus.client.connection import Bus
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.cache import BucketCache
from headrace_bus.wire import subjects
from headrace_bus.wire.route_record import route_key
from headrace_services.control.fleet.rollout import in_crash_loop
from headrace_services.control.fleet.route_compiler import compile_route
from headrace_services.control.fleet.snapshot import Snapshot
from headrace_state.deployment_name import DeploymentName
from headrace_state.endpoint_keys import EndpointKeys, keys_key
from headrace_state.fleet_view import FleetView
from headrace_state.records import (
    Instance,
    InstancePhase,
    Operation,
    ProvisioningState,
    Spec,
    Status,
    deployment_status_key,
    endpoint_key,
    endpoint_status_key,
)
from headrace_state.repository import Stored
from headrace_state.status_writer import StatusWriter, has_failed, is_open

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class EndpointReconciler:
    """Compiles routes and takes endpoints away."""

    bus: Bus
    specs: Bucket
    routes: BucketCache
    """Of `state`; routes are among what it holds."""
    secrets: BucketCache
    status_writer: StatusWriter
    keys: EndpointKeys
    view: FleetView
    token_public_key: str

    async def route(self, snapshot: Snapshot, endpoint: str) -> int:
        """Write the route if it changed and tell ingresses; returns its revision.

        Raises LeaseLost, BusDisconnected.
        """
        stored = snapshot.endpoints[endpoint]
        serving, failed = await self._serving(snapshot, endpoint)
        route = compile_route(
            stored.value,
            serving,
            await self._key_digests(endpoint, stored.value),
            self.token_public_key,
            snapshot.access,
            failed,
        ).encode()
        key = route_key(endpoint)
        known = self.routes.get(key)
        if known is not None and known.value == route:
            return known.revision
        written = await self.status_writer.write({key: route})
        self.bus.publish(subjects.changed(endpoint), b"")
        return written[key]

    async def step(self, snapshot: Snapshot, endpoint: str, revision: int) -> None:
        """Close what every live ingress has applied; remove an endpoint that is empty.

        Raises LeaseLost, BusDisconnected.
        """
        stored = snapshot.endpoints[endpoint]
        operation = await self.status_writer.operation(stored.value)
        if stored.value.deleting:
            if not snapshot.deployments_of(endpoint):
                await self._remove(snapshot, endpoint, stored, operation)
            return
        key = endpoint_status_key(endpoint)
        if is_open(operation):
            if self.view.applied_everywhere(endpoint, revision):
                status = _settled(revision=stored.revision)
                await self.status_writer.close(operation, {key: status.encode()})
            return
        before = snapshot.status(key)
        if before is None or before.provisioning_state is not ProvisioningState.SUCCEEDED:
            await self.status_writer.show(
                snapshot.statuses, key, _settled(revision=stored.revision)
            )

    async def _key_digests(self, endpoint: str, spec: Spec) -> tuple[str, ...]:
        """Read anew while the change that may have brought new keys is under way."""
        if not is_open(await self.status_writer.operation(spec)):
            return self.keys.digests_of(self.secrets.get(keys_key(endpoint)))
        # What its writer was killed before it could bring into force.
        await self.keys.adopt(endpoint, spec.operation)
        return await self.keys.digests(endpoint)

    async def _serving(self, snapshot: Snapshot, endpoint: str) -> tuple[list[Spec], set[str]]:
        """The specs to route by, and the names of those whose instances nobody should wait for.

        Their start failed with nothing to fall back to, or they die before they are ready. For a
        failed update it is the spec of the instances that still serve.
        """
        found: list[Spec] = []
        failed: set[str] = set()
        if snapshot.endpoints[endpoint].value.deleting:
            return found, failed
        for name, stored in snapshot.deployments_of(endpoint).items():
            spec = stored.value
            status = snapshot.status(deployment_status_key(*name))
            if has_failed(status, await self.status_writer.operation(spec)) and not spec.deleting:
                if name not in snapshot.applied:
                    failed.add(name.deployment)
                spec = snapshot.applied.get(name, spec)
            if in_crash_loop(self._restarts(snapshot, name)):
                failed.add(name.deployment)
            found.append(spec)
        return found, failed

    def _restarts(self, snapshot: Snapshot, name: DeploymentName) -> list[int]:
        return [
            0 if one.was_ready or self._has_served(one) else one.restarts
            for one in snapshot.instances[name]
            if one.phase is InstancePhase.RUNNING
        ]

    def _has_served(self, instance: Instance) -> bool:
        heard = self.view.instance(instance.iid)
        return heard is not None and heard.was_ready

    async def _remove(
        self, snapshot: Snapshot, endpoint: str, stored: Stored[Spec], operation: Operation | None
    ) -> None:
        await self.keys.forget(endpoint)
        await self.specs.delete(endpoint_key(endpoint), stored.revision)
        del snapshot.endpoints[endpoint]
        await self.status_writer.close(
            operation, {endpoint_status_key(endpoint): None, route_key(endpoint): None}
        )
        self.bus.publish(subjects.changed(endpoint), b"")
        log.info("endpoint is gone", endpoint=endpoint)


def _settled(*, revision: int) -> Status:
    return Status(provisioning_state=ProvisioningState.SUCCEEDED, applied_revision=revision)
