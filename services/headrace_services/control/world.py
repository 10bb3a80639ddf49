"""One look at everything the reconciler decides about: specs, records, and what runs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from headrace_bus.store.bucket import Bucket
from headrace_scaler.compute.port import Compute, Running
from headrace_services.control.access import Access
from headrace_services.control.records import (
    Client,
    Instance,
    IssuerKeys,
    OuterIssuer,
    Spec,
    Status,
)


class DeploymentName(NamedTuple):
    """A deployment, by the lower-case names that keys carry."""

    endpoint: str
    deployment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Versioned:
    """A spec with the revision it was read at."""

    spec: Spec
    revision: int


@dataclass(slots=True, kw_only=True)
class World:
    """Read once a round; what a round writes is kept up to date here too."""

    endpoints: dict[str, Versioned] = field(default_factory=dict)
    deployments: dict[DeploymentName, Versioned] = field(default_factory=dict)
    statuses: dict[str, Status] = field(default_factory=dict)
    status_revisions: dict[str, int] = field(default_factory=dict)
    applied: dict[DeploymentName, Spec] = field(default_factory=dict)
    instances: dict[DeploymentName, list[Instance]] = field(
        default_factory=lambda: defaultdict(list)
    )
    running: dict[str, Running] = field(default_factory=dict)
    access: Access = field(default_factory=Access)

    def deployments_of(self, endpoint: str) -> dict[DeploymentName, Versioned]:
        return {name: one for name, one in self.deployments.items() if name.endpoint == endpoint}

    @property
    def own(self) -> set[str]:
        """Ids of all instances that are written down."""
        return {one.iid for several in self.instances.values() for one in several}

    def wanted(self) -> dict[tuple[str, str], int]:
        """How many instances each deployment that stays asks for."""
        return {
            (name.endpoint, name.deployment): int(
                (one.spec.arm.get("sku") or {}).get("capacity") or 1
            )
            for name, one in self.deployments.items()
            if not self.is_leaving(name)
        }

    def is_leaving(self, name: DeploymentName) -> bool:
        """Whether a deployment is to go, alone or with its endpoint."""
        endpoint = self.endpoints.get(name.endpoint)
        gone = endpoint is None or endpoint.spec.deleting
        own = self.deployments.get(name)
        return gone or own is None or own.spec.deleting


async def look(
    specs: Bucket, state: Bucket, compute: Compute, fixed_access: Access | None = None
) -> World:
    """Specs before records, so that no record is judged by a spec older than itself.

    `fixed_access` holds what of access is no record. Raises BusDisconnected.
    """
    world = World(access=await _access(specs, state, fixed_access or Access()))
    for key, record in (await specs.list("endpoint")).items():
        world.endpoints[key.removeprefix("endpoint.")] = Versioned(
            spec=Spec.decode(record.value), revision=record.revision
        )
    for key, record in (await specs.list("deployment")).items():
        world.deployments[_name(key)] = Versioned(
            spec=Spec.decode(record.value), revision=record.revision
        )
    for key, record in (await state.list("status")).items():
        world.statuses[key] = Status.decode(record.value)
        world.status_revisions[key] = record.revision
    for key, record in (await state.list("applied")).items():
        world.applied[_name(key)] = Spec.decode(record.value)
    for record in (await state.list("instance")).values():
        instance = Instance.decode(record.value)
        world.instances[DeploymentName(instance.endpoint, instance.deployment)].append(instance)
    world.running = {one.iid: one for one in await compute.list()}
    return world


async def _access(specs: Bucket, state: Bucket, fixed: Access) -> Access:
    clients = await specs.list("client")
    issuers = await specs.list("issuer")
    keys = await state.list("jwks") if issuers else {}
    return replace(
        fixed,
        clients=tuple(Client.decode(one.value) for one in clients.values()),
        issuers=tuple(OuterIssuer.decode(issuers[key].value) for key in sorted(issuers)),
        keys={key.removeprefix("jwks."): IssuerKeys.decode(one.value) for key, one in keys.items()},
    )


def _name(key: str) -> DeploymentName:
    endpoint, deployment = key.split(".")[-2:]
    return DeploymentName(endpoint, deployment)
