"""One look at everything the reconciler decides about: specs, records, and what runs."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from headrace_api.errors import InvalidInput
from headrace_bus.store.bucket import Record
from headrace_bus.store.cache import BucketCache
from headrace_bus.wire.heartbeat import DEPLOYMENT
from headrace_scaler.compute.computes import Computes, Listing
from headrace_scaler.compute.port import Running
from headrace_services.control.identity.access import Access
from headrace_state.deployment_name import DeploymentName
from headrace_state.desired_count import desired_count
from headrace_state.records import (
    Client,
    Instance,
    IssuerKeys,
    OuterIssuer,
    Spec,
    Status,
    UnreadableRecord,
)
from headrace_state.repository import Stored

R = TypeVar("R", Spec, Status, Instance, Client, OuterIssuer, IssuerKeys)


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """Read once a round; what a round writes is kept up to date here too."""

    endpoints: dict[str, Stored[Spec]] = field(default_factory=dict)
    deployments: dict[DeploymentName, Stored[Spec]] = field(default_factory=dict)
    statuses: dict[str, Stored[Status]] = field(default_factory=dict)
    applied: dict[DeploymentName, Spec] = field(default_factory=dict)
    instances: dict[DeploymentName, list[Instance]] = field(
        default_factory=lambda: defaultdict(list)
    )
    listing: Listing = field(default_factory=Listing)
    access: Access = field(default_factory=Access)
    unreadable: dict[str, str] = field(default_factory=dict)
    """Why, by the keys of records that are not what is written there."""
    set_aside: set[str] = field(default_factory=set)
    """Endpoints that such a record is about: all there is of them stays as it is."""

    def deployments_of(self, endpoint: str) -> dict[DeploymentName, Stored[Spec]]:
        return {name: one for name, one in self.deployments.items() if name.endpoint == endpoint}

    @property
    def running(self) -> dict[str, Running]:
        """What the computes that answered run, by id."""
        return self.listing.running

    @property
    def own(self) -> set[str]:
        """Ids of all instances that are written down."""
        return {one.iid for several in self.instances.values() for one in several}

    def wanted(self) -> dict[tuple[str, str], int]:
        """How many instances each deployment that stays asks for."""
        counts: dict[tuple[str, str], int] = {}
        for name, one in self.deployments.items():
            if not self.is_leaving(name):
                with suppress(InvalidInput):  # its own step tells of it
                    counts[name.endpoint, name.deployment] = desired_count(one.value)
        return counts

    def status(self, key: str) -> Status | None:
        """The status under a key, if there is one that can be read."""
        stored = self.statuses.get(key)
        return None if stored is None else stored.value

    def unwanted(self) -> list[str]:
        """Ids that run for deployments and no record wants, as far as all can be read."""
        own = self.own
        return [
            iid
            for iid, one in self.running.items()
            if iid not in own and one.owner == DEPLOYMENT and one.endpoint not in self.set_aside
        ]

    def is_leaving(self, name: DeploymentName) -> bool:
        """Whether a deployment is to go, alone or with its endpoint."""
        endpoint = self.endpoints.get(name.endpoint)
        gone = endpoint is None or endpoint.value.deleting
        own = self.deployments.get(name)
        return gone or own is None or own.value.deleting


async def look(
    specs: BucketCache,
    state: BucketCache,
    computes: Computes,
    fixed_access: Access | None = None,
) -> Snapshot:
    """Specs and records as the copies have them now, then what runs.

    `fixed_access` holds what of access is no record.
    """
    snapshot = Snapshot()
    snapshot.access = _access(snapshot, specs, state, fixed_access or Access())
    for key, record, spec in _read(snapshot, specs.list("endpoint"), Spec):
        name = key.removeprefix("endpoint.")
        snapshot.endpoints[name] = Stored(key=key, value=spec, revision=record.revision)
    for key, record, spec in _read(snapshot, specs.list("deployment"), Spec):
        snapshot.deployments[_name(key)] = Stored(key=key, value=spec, revision=record.revision)
    for key, record, status in _read(snapshot, state.list("status"), Status):
        snapshot.statuses[key] = Stored(key=key, revision=record.revision, value=status)
    for key, _, spec in _read(snapshot, state.list("applied"), Spec):
        snapshot.applied[_name(key)] = spec
    for _, _, instance in _read(snapshot, state.list("instance"), Instance):
        if instance.owner != DEPLOYMENT:
            continue
        snapshot.instances[DeploymentName(instance.endpoint, instance.deployment)].append(instance)
    snapshot.listing = await computes.list()
    snapshot.set_aside = {name for key in snapshot.unreadable if (name := _endpoint(key))}
    return snapshot


def _access(snapshot: Snapshot, specs: BucketCache, state: BucketCache, fixed: Access) -> Access:
    """A client or an issuer that cannot be read has no rights."""
    clients = _read(snapshot, specs.list("client"), Client)
    issuers = sorted(_read(snapshot, specs.list("issuer"), OuterIssuer))
    keys = _read(snapshot, state.list("jwks") if issuers else {}, IssuerKeys)
    return replace(
        fixed,
        clients=tuple(client for _, _, client in clients),
        issuers=tuple(issuer for _, _, issuer in issuers),
        keys={key.removeprefix("jwks."): one for key, _, one in keys},
    )


def _read(
    snapshot: Snapshot, records: dict[str, Record], kind: type[R]
) -> list[tuple[str, Record, R]]:
    """Key, record and value of each that can be read; the others are told to the snapshot."""
    found = []
    for key, record in records.items():
        try:
            found.append((key, record, kind.decode(record.value, key)))
        except UnreadableRecord as error:
            snapshot.unreadable[key] = error.why
    return found


def _name(key: str) -> DeploymentName:
    endpoint, deployment = key.split(".")[-2:]
    return DeploymentName(endpoint, deployment)


def _endpoint(key: str) -> str:
    """The endpoint that a record is about; empty for one of access."""
    before, *names = key.removeprefix("status.").removeprefix("applied.").split(".")
    return names[0] if before in ("endpoint", "deployment", "instance") else ""
