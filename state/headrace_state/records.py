"""What control keeps in NATS: specs in `spec`, everything observed in `state`.

    spec    endpoint.<ep>                   Spec, with the names of its deployments
            deployment.<ep>.<dep>           Spec
            asset.<kind>.<name>.<version>   Spec (names and versions as tokens)
            catalog.<kind>.<name>           Spec of a datastore, compute or schedule
            client.<id>                     Client
            issuer.<id>                     OuterIssuer
    state   status.endpoint.<ep>            Status
            status.deployment.<ep>.<dep>    Status
            applied.deployment.<ep>.<dep>   Spec, the last that became ready in full
            operation.<id>                  Operation
            instance.<ep>.<dep>.<iid>       Instance
            jwks.<id>                       IssuerKeys
            conservation.<lane>.<process>   headrace_bus.wire.conservation.Terms, the last heard
            condemned.<upload>              see headrace_services.control.gc.tombstones
            route.<ep>                      headrace_bus.wire.route_record.Route
            lease.<name>                    headrace_bus.store.lease; reconcile, collect
    secrets keys.<ep>                       KeyPair, encrypted
            keys.<ep>.<operation>           KeyPair that comes into force with the operation

A spec holds ARM JSON as the caller wrote it, completed with defaults; typed reading is the api's.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from headrace_api.errors import HeadraceError
from headrace_api.names import token
from headrace_api.record import load_json
from headrace_bus.wire.heartbeat import DEPLOYMENT
from headrace_state.record_shape import require_body, require_times
from headrace_state.roles import Role


class ProvisioningState(StrEnum):
    """azure_behaviour.md 7.1."""

    CREATING = "Creating"
    UPDATING = "Updating"
    SCALING = "Scaling"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DELETING = "Deleting"
    CANCELED = "Canceled"


class InstancePhase(StrEnum):
    """What control wants of an instance it has written down."""

    RUNNING = "running"
    DRAINING = "draining"


class UnreadableRecord(HeadraceError):
    """What lies under a key is not what control writes there: damaged, or of another version."""

    def __init__(self, kind: str, key: str, why: str) -> None:
        self.why = why
        super().__init__(
            f"the record {key} is not a readable {kind}: {why}",
            hint="The record and everything it describes stay untouched. Recreate the resource "
            "under the same name, delete it, or repair the key in NATS.",
        )


class _Record:
    """JSON in and out for the dataclasses below; `headrace_api.record` is the rule."""

    def encode(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()  # type: ignore[call-overload]

    @classmethod
    def decode(cls, data: bytes, key: str = "") -> Self:
        """`key` is where it lies, for the message. Raises UnreadableRecord."""
        try:
            record = load_json(cls, data)
            require_times(record)
            record._require_kind(key)
        except ValueError as error:
            raise UnreadableRecord(cls.__name__, key, str(error)) from error
        return record

    def _require_kind(self, key: str) -> None:
        """Raises ValueError when it is not what lies under such a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(_Record):
    """Desired state of one resource."""

    name: str
    """As the caller wrote it; keys carry it in lower case."""
    arm: dict[str, Any]
    """location, tags, identity, kind, sku and properties of the ARM resource."""
    operation: str = ""
    """Id of the operation that wrote this revision."""
    created_at: str = ""
    modified_at: str = ""
    created_by: str = ""
    deleting: bool = False
    deployments: tuple[str, ...] = ()
    """Endpoints only: the set of their deployments."""
    warnings: tuple[str, ...] = ()
    """What its write found that `arm` does not tell: in assets it refers to, in keys not kept."""

    def _require_kind(self, key: str) -> None:
        require_body(self.arm, key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(_Record):
    """Observed state of one endpoint or deployment."""

    provisioning_state: ProvisioningState
    applied_revision: int = 0
    """Revision of the spec that the instances serve; 0 when none does."""
    operation: str = ""
    """The operation that is open, or empty."""
    error_code: str = ""
    error: str = ""
    hint: str = ""
    """What to do about the error; empty where whoever failed did not say."""
    ready: int = 0
    attached: int = 0
    """Ready instances that somebody started by hand, beside those of ours."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds of the slowest instance's start: fetch, environment, load, ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(_Record):
    """One long-running operation (azure_rest.md 2.1); kept a day after its end."""

    id: str
    resource: str
    """ARM id of what it is about."""
    verb: str
    """create, update, delete, regenerateKeys."""
    status: str = "InProgress"
    """InProgress, Succeeded, Failed or Canceled."""
    started_at: str = ""
    ended_at: str = ""
    error_code: str = ""
    error: str = ""
    hint: str = ""
    """What to do about the error; empty where whoever failed did not say."""
    steps: tuple[tuple[str, float], ...] = ()
    """Phases done so far and their seconds, for progress display."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance(_Record):
    """One instance control wants; written before it is started."""

    iid: str
    endpoint: str
    deployment: str
    revision: int
    """Of the deployment spec it serves."""
    template: str = ""
    """Digest of what it was made from: a new revision that changes none of it keeps it."""
    phase: InstancePhase = InstancePhase.RUNNING
    created_at: str = ""
    owner: str = DEPLOYMENT
    """The kind of what it belongs to; the deployment reconciler leaves all others alone."""
    restarts: int = 0
    was_ready: bool = False
    """It has served: its end is no failed start, whoever remembers it."""
    compute: str = ""
    """Which of its host's computes runs it; empty in records of an older version."""
    host: str = ""
    """Where (`headrace_scaler.compute.computes.host_id`); empty in records of an older version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client(_Record):
    """Somebody with an id and a secret; the secret is random, so its plain digest tells nothing."""

    id: str
    name: str
    role: str
    endpoint: str = ""
    """Lower case; empty means the workspace."""
    secret_digest: str
    """SHA-256 in hex."""
    created_at: str = ""
    created_by: str = ""

    def _require_kind(self, key: str) -> None:
        Role(self.role)


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterIssuer(_Record):
    """An OIDC issuer whose tokens are good here, and the role of who brings one."""

    id: str
    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    role: str
    endpoint: str = ""
    subject: str = ""
    """Empty takes every subject of the issuer."""
    ca: str = ""
    """PEM of the CA its address is signed by; empty takes the system's."""
    created_at: str = ""
    created_by: str = ""

    def _require_kind(self, key: str) -> None:
        Role(self.role)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerKeys(_Record):
    """What an outer issuer last published."""

    keys: str
    """JSON array of JSON Web Keys."""
    fetched_s: float
    """Unix time."""


def client_key(client_id: str) -> str:
    return f"client.{client_id}"


def issuer_key(issuer_id: str) -> str:
    return f"issuer.{issuer_id}"


def issuer_keys_key(issuer_id: str) -> str:
    return f"jwks.{issuer_id}"


def endpoint_key(endpoint: str) -> str:
    return f"endpoint.{endpoint}"


def deployment_key(endpoint: str, deployment: str) -> str:
    return f"deployment.{endpoint}.{deployment}"


def asset_key(kind: str, name: str, version: str) -> str:
    """Key of a model, environment, code, data or component version."""
    return f"asset.{kind}.{token(name)}.{token(version)}"


def catalog_key(kind: str, name: str) -> str:
    """Key of a datastore, compute, schedule, or of the workspace's own words."""
    return f"catalog.{kind}.{token(name.lower())}"


def endpoint_status_key(endpoint: str) -> str:
    return f"status.{endpoint_key(endpoint)}"


def deployment_status_key(endpoint: str, deployment: str) -> str:
    return f"status.{deployment_key(endpoint, deployment)}"


def applied_key(endpoint: str, deployment: str) -> str:
    """Key of what a failed update falls back to."""
    return f"applied.{deployment_key(endpoint, deployment)}"


def conservation_key(lane: str, process: str = "") -> str:
    """Key of one process' terms of conservation; without it, the prefix of all."""
    return f"conservation.{lane}.{process}" if process else f"conservation.{lane}"


def operation_key(operation_id: str) -> str:
    return f"operation.{operation_id}"


def instance_key(endpoint: str, deployment: str, iid: str) -> str:
    return f"instance.{endpoint}.{deployment}.{iid}"
