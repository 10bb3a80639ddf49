"""What the heartbeats of instances and ingresses say, heard once in a process for all who ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog

from headrace_bus.client.connection import Bus
from headrace_bus.client.message import Message
from headrace_bus.errors import MalformedEnvelope
from headrace_bus.wire import subjects
from headrace_bus.wire.heartbeat import IngressHeartbeat, InstanceHeartbeat, InstanceState
from headrace_bus.wire.liveness_bounds import FORGOTTEN_S, INGRESS_LIVE_S, INSTANCE_LIVE_S
from headrace_telemetry.clock import monotonic

log = structlog.get_logger(__name__)

PHASE_READY: Final = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedInstance:
    """The last heartbeat of one instance, and since when it says so; times are monotonic."""

    address: subjects.InstanceAddress
    beat: InstanceHeartbeat
    heard_s: float
    """When the last heartbeat came."""
    since_s: float
    """When the first one in this state came."""
    was_ready: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedIngress:
    """The last heartbeat of one ingress or router, and the monotonic time at which it came."""

    beat: IngressHeartbeat
    heard_s: float


class FleetView:
    """Instances and ingresses as they were last heard.

    Readers that act on a change register before `listen`; the others ask when they want to know.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._instances: dict[str, ObservedInstance] = {}
        self._ingresses: dict[str, ObservedIngress] = {}
        self._kept: Container[str] = ()
        self._listening_s = now()
        self._next_ingress_beat = asyncio.Event()
        self._on_change: list[Callable[[], None]] = []
        self._on_first_ready: list[Callable[[ObservedInstance], None]] = []
        self._on_ingress: list[Callable[[IngressHeartbeat], None]] = []

    def on_change(self, tell: Callable[[], None]) -> None:
        """Called when an instance enters another state or phase, or an ingress moves on."""
        self._on_change.append(tell)

    def on_first_ready(self, tell: Callable[[ObservedInstance], None]) -> None:
        """Called with each instance that is ready for the first time."""
        self._on_first_ready.append(tell)

    def on_ingress(self, tell: Callable[[IngressHeartbeat], None]) -> None:
        """Called with every heartbeat of an ingress."""
        self._on_ingress.append(tell)

    async def listen(self, bus: Bus) -> None:
        """Subscribe. What is lost while the bus is cut off is nobody's silence.

        Raises BusDisconnected.
        """
        bus.on_reconnect(self._listen_anew)
        await bus.subscribe(subjects.all_heartbeats(), self._hear_instance)
        await bus.subscribe(subjects.all_ingress_heartbeats(), self._hear_ingress)
        self._listen_anew()

    @property
    def is_new(self) -> bool:
        """Whether an ingress may live that had no time yet to say so."""
        return self._now() - self._listening_s <= INGRESS_LIVE_S

    def instance(self, iid: str) -> ObservedInstance | None:
        """The last word of an instance, however long ago."""
        return self._instances.get(iid)

    def live_instances(self) -> Iterator[ObservedInstance]:
        """Those that spoke within INSTANCE_LIVE_S."""
        now_s = self._now()
        for one in self._instances.values():
            if now_s - one.heard_s <= INSTANCE_LIVE_S:
                yield one

    def silent_s(self, iid: str, known_s: float) -> float:
        """Seconds without a heartbeat while one could have come; `known_s` is the earliest."""
        seen = self._instances.get(iid)
        heard_s = seen.heard_s if seen else known_s
        return max(0.0, self._now() - max(heard_s, self._listening_s))

    def attached(self, endpoint: str, deployment: str, own: Container[str]) -> int:
        """Ready instances of a deployment that are none of `own`: somebody started them."""
        return sum(
            (one.address.endpoint, one.address.deployment) == (endpoint, deployment)
            and one.address.iid not in own
            and one.beat.state is InstanceState.READY
            for one in self.live_instances()
        )

    def forget(self, iid: str) -> None:
        """Drop what an instance said."""
        self._instances.pop(iid, None)

    def keep(self, own: Container[str]) -> None:
        """Ids of the instances that are remembered however long they are silent."""
        self._kept = own

    def live_ingresses(self) -> dict[str, ObservedIngress]:
        """Those that spoke within INGRESS_LIVE_S, by id."""
        now_s = self._now()
        return {
            name: one
            for name, one in self._ingresses.items()
            if now_s - one.heard_s <= INGRESS_LIVE_S
        }

    def applied_everywhere(self, endpoint: str, revision: int) -> bool:
        """Whether every live ingress has applied this revision of a route, or a later one."""
        live = self.live_ingresses().values()
        return all(one.beat.applied.get(endpoint, 0) >= revision for one in live)

    async def await_ingress(self) -> int:
        """How many ingresses live; where none does, one is waited for up to INGRESS_LIVE_S."""
        if not self.live_ingresses():
            with suppress(TimeoutError):
                async with asyncio.timeout(INGRESS_LIVE_S):
                    await self._next_ingress_beat.wait()
        return len(self.live_ingresses())

    async def await_all_ingresses(self) -> None:
        """Returns once each live ingress has spoken after the call, or after INGRESS_LIVE_S.

        While the view is new it is not known who lives, so that long is waited for others.
        """
        since_s = self._now()
        expected = self.live_ingresses().keys()
        with suppress(TimeoutError):
            async with asyncio.timeout(INGRESS_LIVE_S):
                while self.is_new or any(self._silent_since(one, since_s) for one in expected):
                    await self._next_ingress_beat.wait()

    def _silent_since(self, ingress_id: str, since_s: float) -> bool:
        one = self._ingresses.get(ingress_id)
        return one is None or one.heard_s <= since_s

    def _listen_anew(self) -> None:
        self._listening_s = self._now()

    def _hear_instance(self, message: Message) -> None:
        try:
            beat = InstanceHeartbeat.decode(message.data)
            address = subjects.parse_heartbeat(message.subject)
        except (MalformedEnvelope, ValueError) as error:
            _log_malformed(message, error)
            return
        if address.iid == beat.iid:
            self._take(address, beat)

    def _take(self, address: subjects.InstanceAddress, beat: InstanceHeartbeat) -> None:
        now_s = self._now()
        old = self._instances.get(beat.iid)
        ready = beat.state is InstanceState.READY or PHASE_READY in beat.phases
        was_ready = old is not None and old.was_ready
        if old is not None and _in_same_state(old.beat, beat):
            self._instances[beat.iid] = replace(old, beat=beat, heard_s=now_s)
            if len(old.beat.phases) != len(beat.phases):
                self._tell_change()
            return
        if old is None:
            self._forget_silent()
        one = ObservedInstance(
            address=address, beat=beat, heard_s=now_s, since_s=now_s, was_ready=ready or was_ready
        )
        self._instances[beat.iid] = one
        if ready and not was_ready:
            for tell in self._on_first_ready:
                tell(one)
        self._tell_change()

    def _hear_ingress(self, message: Message) -> None:
        try:
            beat = IngressHeartbeat.decode(message.data)
        except MalformedEnvelope as error:
            _log_malformed(message, error)
            return
        old = self._ingresses.get(beat.ingress_id)
        if old is None:
            self._forget_silent()
        self._ingresses[beat.ingress_id] = ObservedIngress(beat=beat, heard_s=self._now())
        for tell in self._on_ingress:
            tell(beat)
        self._next_ingress_beat.set()
        self._next_ingress_beat = asyncio.Event()
        if old is None or (old.beat.applied, old.beat.live) != (beat.applied, beat.live):
            self._tell_change()

    def _forget_silent(self) -> None:
        """Whenever somebody new speaks, so that what is remembered is bounded by who lives."""
        since_s = self._now() - FORGOTTEN_S
        self._instances = {
            iid: one
            for iid, one in self._instances.items()
            if iid in self._kept or one.heard_s >= since_s
        }
        self._ingresses = {
            name: one for name, one in self._ingresses.items() if one.heard_s >= since_s
        }

    def _tell_change(self) -> None:
        for tell in self._on_change:
            tell()


def _in_same_state(old: InstanceHeartbeat, new: InstanceHeartbeat) -> bool:
    return (old.epoch, old.state) == (new.epoch, new.state)


def _log_malformed(message: Message, error: Exception) -> None:
    log.warning("heartbeat is malformed", subject=message.subject, reason=str(error))
