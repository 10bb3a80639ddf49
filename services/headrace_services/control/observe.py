"""What heartbeats say: of instances, for rollouts; of ingresses, for when a route is applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from headrace_bus.client.connection import Bus
from headrace_bus.client.message import Message
from headrace_bus.errors import MalformedEnvelope
from headrace_bus.wire import subjects
from headrace_bus.wire.heartbeat import IngressHeartbeat, InstanceHeartbeat, InstanceState
from headrace_telemetry.clock import monotonic

log = structlog.get_logger(__name__)

INGRESS_LIVE_S: Final = 2.0  # since its last heartbeat; after that nobody waits for it
PHASE_READY: Final = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The last heartbeat of one instance, and since when it says so."""

    beat: InstanceHeartbeat
    heard_s: float
    """Monotonic time of the last heartbeat."""
    since_s: float
    """Monotonic time of the first one in this state."""
    was_ready: bool


class Observations:
    """Everything heard, forgotten when its owner is."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called when an instance enters another state or an ingress moves on."""
        self._changed = changed
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
        # Attached scorers on other hosts are heard too; nobody asks for them by their id.
        if address.iid == beat.iid:
            self._take(beat)

    def _take(self, beat: InstanceHeartbeat) -> None:
        now_s = monotonic()
        ready = beat.state is InstanceState.READY or PHASE_READY in beat.phases
        old = self._instances.get(beat.iid)
        if old is None or old.beat.epoch != beat.epoch or old.beat.state is not beat.state:
            self._instances[beat.iid] = Observed(
                beat=beat,
                heard_s=now_s,
                since_s=now_s,
                was_ready=ready or (old is not None and old.was_ready),
            )
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
