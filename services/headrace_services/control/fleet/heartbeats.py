"""What heartbeats say: of instances, for rollouts; of ingresses, for when a route is applied."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from typing import Final

import structlog

from headrace_bus.client.connection import Bus
from headrace_bus.client.message import Message
from headrace_bus.errors import MalformedEnvelope
from headrace_bus.wire import subjects
from headrace_bus.wire.heartbeat import (
    HEARTBEAT_INTERVAL_S,
    MISSED_HEARTBEATS,
    IngressHeartbeat,
    InstanceHeartbeat,
    InstanceState,
)
from headrace_telemetry.clock import monotonic

log = structlog.get_logger(__name__)

INGRESS_LIVE_S: Final = 2.0  # since its last heartbeat; after that nobody waits for it
INSTANCE_LIVE_S: Final = MISSED_HEARTBEATS * HEARTBEAT_INTERVAL_S
FORGOTTEN_S: Final = 60.0  # without a word, for an instance that no record knows
PHASE_READY: Final = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The last heartbeat of one instance, and since when it says so."""

    address: subjects.InstanceAddress
    beat: InstanceHeartbeat
    heard_s: float
    """Monotonic time of the last heartbeat."""
    since_s: float
    """Monotonic time of the first one in this state."""
    was_ready: bool


class Observations:
    """Everything heard, forgotten when its owner is."""

    def __init__(
        self,
        changed: Callable[[], None],
        on_start: Callable[[subjects.InstanceAddress, InstanceHeartbeat], None] | None = None,
    ) -> None:
        """`changed` is called when an instance enters another state or an ingress moves on.

        `on_start` gets each instance that is ready for the first time.
        """
        self._changed = changed
        self._on_start = on_start
        self._instances: dict[str, Observed] = {}
        self._ingresses: dict[str, tuple[IngressHeartbeat, float]] = {}
        self._connected_s = monotonic()

    async def listen(self, bus: Bus) -> None:
        """Subscribe; what the bus lost while it was cut off is nobody's silence."""
        bus.on_reconnect(self._reconnected)
        await bus.subscribe(subjects.all_heartbeats(), self._hear_instance)
        await bus.subscribe(subjects.all_ingress_heartbeats(), self._hear_ingress)
        self._connected_s = monotonic()

    def of(self, iid: str) -> Observed | None:
        return self._instances.get(iid)

    def silent_s(self, iid: str, known_s: float) -> float:
        """Seconds without a heartbeat while one could have come; `known_s` is the earliest."""
        seen = self._instances.get(iid)
        heard_s = seen.heard_s if seen else known_s
        return max(0.0, monotonic() - max(heard_s, self._connected_s))

    def forget(self, iid: str) -> None:
        self._instances.pop(iid, None)

    def live(self) -> Iterator[tuple[subjects.InstanceAddress, str]]:
        """Address and state of every instance that spoke within the last heartbeats."""
        now_s = monotonic()
        for one in self._instances.values():
            if now_s - one.heard_s <= INSTANCE_LIVE_S:
                yield one.address, str(one.beat.state)

    def attached(self, endpoint: str, deployment: str, own: Container[str]) -> int:
        """Ready instances of a deployment that are none of `own`: somebody started them."""
        return sum(
            at.endpoint == endpoint
            and at.deployment == deployment
            and at.iid not in own
            and state == InstanceState.READY
            for at, state in self.live()
        )

    def prune(self, own: Container[str]) -> None:
        """Forget foreign instances that have been silent for long."""
        now_s = monotonic()
        self._instances = {
            iid: one
            for iid, one in self._instances.items()
            if iid in own or now_s - one.heard_s <= FORGOTTEN_S
        }

    def applied_everywhere(self, endpoint: str, revision: int) -> bool:
        """Whether every live ingress has applied this revision of a route, or a later one."""
        return all(beat.applied.get(endpoint, 0) >= revision for beat in self._live())

    def seen_everywhere(self, endpoint: str, deployment: str, ready: int) -> bool:
        """Whether every live ingress sees so many ready instances."""
        key = f"{endpoint}.{deployment}"
        return all(beat.live.get(key, 0) >= ready for beat in self._live())

    def _live(self) -> list[IngressHeartbeat]:
        now_s = monotonic()
        self._ingresses = {
            name: (beat, heard_s)
            for name, (beat, heard_s) in self._ingresses.items()
            if now_s - heard_s <= INGRESS_LIVE_S
        }
        return [beat for beat, _ in self._ingresses.values()]

    def _hear_instance(self, message: Message) -> None:
        try:
            beat = InstanceHeartbeat.decode(message.data)
            address = subjects.parse_heartbeat(message.subject)
        except (MalformedEnvelope, ValueError) as error:
            log.warning("heartbeat is malformed", subject=message.subject, reason=str(error))
            return
        if address.iid == beat.iid:
            self._take(address, beat)

    def _take(self, address: subjects.InstanceAddress, beat: InstanceHeartbeat) -> None:
        now_s = monotonic()
        ready = beat.state is InstanceState.READY or PHASE_READY in beat.phases
        old = self._instances.get(beat.iid)
        if old is None or old.beat.epoch != beat.epoch or old.beat.state is not beat.state:
            self._instances[beat.iid] = Observed(
                address=address,
                beat=beat,
                heard_s=now_s,
                since_s=now_s,
                was_ready=ready or (old is not None and old.was_ready),
            )
            if ready and not (old is not None and old.was_ready) and self._on_start is not None:
                self._on_start(address, beat)
            self._changed()
            return
        grown = len(old.beat.phases) != len(beat.phases)
        self._instances[beat.iid] = replace(old, beat=beat, heard_s=now_s)
        if grown:
            self._changed()

    def _hear_ingress(self, message: Message) -> None:
        try:
            beat = IngressHeartbeat.decode(message.data)
        except MalformedEnvelope as error:
            log.warning("heartbeat is malformed", subject=message.subject, reason=str(error))
            return
        old = self._ingresses.get(beat.ingress_id)
        self._ingresses[beat.ingress_id] = (beat, monotonic())
        if old is None or (old[0].applied, old[0].live) != (beat.applied, beat.live):
            self._changed()

    def _reconnected(self) -> None:
        self._connected_s = monotonic()
