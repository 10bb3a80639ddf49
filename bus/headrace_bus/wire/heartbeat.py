"""What instances and ingresses say of themselves every HEARTBEAT_INTERVAL_S.

`wire.liveness_bounds` says how long each may be silent; a state is never guessed from a silence.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

import msgpack

from headrace_api.record import Unreadable, load
from headrace_bus.errors import MalformedEnvelope

HEARTBEAT_INTERVAL_S: Final = 0.5
DEPLOYMENT: Final = "deployment"
"""The kind of owner whose instances take requests from edges; a job's step is another."""
PULLS: Final = "pulls"
"""A feature: it asks for a large body that it cannot open (`routing.exchange.remote_body`)."""
BATCHES: Final = "batches"
"""A feature: it takes several requests in one message (`wire.batch`)."""
# Until 0.1 each feature was a field of its own; instances of then are read for one release more.
_FEATURES_BEFORE: Final = {"pulls": PULLS, "trains": BATCHES}


class InstanceState(StrEnum):
    """Where an instance is in its life. Only READY takes requests."""

    FETCHING = "fetching"  # model and code
    BUILDING = "building"  # environment
    LOADING = "loading"  # init()
    READY = "ready"
    UNREADY = (
        "unready"  # alive, out of rotation: readiness probe fails or a worker is being replaced
    )
    DRAINING = "draining"
    FAILED = "failed"  # will not become ready; `error` says why


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHeartbeat:
    """One instance, now. Sent at once on each change of state, else every half second."""

    iid: str
    epoch: int
    """Milliseconds at which the process started: a new one is a new instance life."""
    client: str
    """Name of its NATS connection, as DISCONNECT events carry it."""
    state: InstanceState
    slots: int
    """Requests that may be at the instance at once, look-ahead included."""
    in_flight: int
    served: int = 0
    """Requests answered since the epoch began."""
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds spent in fetch, environment, load, ready, as far as they are done."""
    workers: tuple[int, ...] = ()
    """Pids of the live workers."""
    error_code: str = ""
    """ImageBuildFailure, ResourceNotReady, BadArgument, ... (azure_behaviour.md 3.6)."""
    error: str = ""
    """The user's own traceback or the resolver's words."""
    hint: str = ""
    """What to do about the error."""
    cpu: float = 0.0
    """Cores in use by the scorer and its workers, over the last second."""
    memory_bytes: int = 0
    reach: str = ""
    """An ingress that says the same can hand over large bodies as files (`routing.handed`)."""
    standby: int = 0
    """Requests that may wait there beyond `slots`, each for the next slot (`routing.standby`)."""
    features: frozenset[str] = frozenset()
    """What it can do beyond the first version of the wire: PULLS, BATCHES."""
    owner: str = DEPLOYMENT
    """The kind of what it belongs to. Edges dispatch to instances of deployments alone."""
    links: int = 0
    """Connections to NATS that this life has had. One more: what was on its way may be lost."""

    def plain(self) -> dict[str, Any]:
        """Its fields as JSON and msgpack know them."""
        return asdict(self) | {"features": sorted(self.features)}

    def encode(self) -> bytes:
        before = {name: one in self.features for name, one in _FEATURES_BEFORE.items()}
        return msgpack.packb(before | self.plain())  # type: ignore[no-any-return]  # untyped in msgpack

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises MalformedEnvelope."""
        fields = _fields(data, "instance heartbeat")
        try:
            beat = load(cls, fields | _features_of_before(fields))
            _check_counts(beat)
            return beat
        except ValueError as error:
            raise MalformedEnvelope("instance heartbeat", str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressHeartbeat:
    """One ingress or router, now."""

    ingress_id: str
    waiting: dict[str, int] = field(default_factory=dict)
    """Requests without an instance, by `<ep>.<dep>`."""
    in_flight: dict[str, int] = field(default_factory=dict)
    """Requests at an instance, by `<ep>.<dep>`."""
    applied: dict[str, int] = field(default_factory=dict)
    """Revision of the route last applied, by endpoint."""
    live: dict[str, int] = field(default_factory=dict)
    """Ready instances it sees, by `<ep>.<dep>`."""
    online: dict[str, int] = field(default_factory=dict)
    """What became of the requests it accepted: the fields of `conservation.Terms`."""

    def encode(self) -> bytes:
        return msgpack.packb(asdict(self))  # type: ignore[no-any-return]  # untyped in msgpack

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises MalformedEnvelope."""
        fields = _fields(data, "ingress heartbeat")
        try:
            return load(cls, fields)
        except Unreadable as error:
            raise MalformedEnvelope("ingress heartbeat", str(error)) from error


def _check_counts(beat: InstanceHeartbeat) -> None:
    """What dispatch divides by and adds up. Raises ValueError."""
    for count in (beat.epoch, beat.slots, beat.standby, beat.in_flight, beat.links):
        if count < 0:
            raise ValueError(f"{count!r} is not a count")
    if beat.standby and not beat.slots:
        raise ValueError("nobody stands by where there is no slot")


def _features_of_before(fields: dict[str, Any]) -> dict[str, Any]:
    if "features" in fields:
        return {}
    return {"features": [one for name, one in _FEATURES_BEFORE.items() if fields.get(name) is True]}


def _fields(data: bytes, what: str) -> dict[str, Any]:
    try:
        fields = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise MalformedEnvelope(what, str(error)) from error
    if not isinstance(fields, dict):
        raise MalformedEnvelope(what, "not a map")
    return fields
