"""What both edges share: routes, instances and limits kept up to date, requests sent and answered.

edge -> router(endpoint).choose -> submit -> Lane (one a deployment) -> instance
edge <- call.future: the model's Answer, or a Refusal
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Final

import structlog

from headrace_bus.client.connection import Bus, Message
from headrace_bus.errors import BusDisconnected, MalformedEnvelope
from headrace_bus.routing.call import Call, Deliver, Incoming
from headrace_bus.routing.dispatch import SWEEP_S, MakeDispatch, plain_dispatch
from headrace_bus.routing.far import FarBodies
from headrace_bus.routing.handed import Bodies
from headrace_bus.routing.lane import Lane
from headrace_bus.routing.limits import Peers
from headrace_bus.routing.liveness import Judge, Verdict
from headrace_bus.routing.metrics import GatewayMetrics, LaneMetrics
from headrace_bus.routing.outcome import Refusal, too_many_pending
from headrace_bus.routing.route import RouteDecision, Router
from headrace_bus.routing.routes import RouteReader, RouteTable
from headrace_bus.routing.tally import Tally
from headrace_bus.wire.conservation import Terms
from headrace_bus.wire.heartbeat import HEARTBEAT_INTERVAL_S, IngressHeartbeat, InstanceHeartbeat
from headrace_bus.wire.route_record import DeploymentRoute
from headrace_bus.wire.subjects import (
    SYSTEM_EVENTS,
    all_changed,
    all_heartbeats,
    all_ingress_heartbeats,
    ingress_heartbeat,
    parse_heartbeat,
)
from headrace_telemetry.clock import monotonic
from headrace_telemetry.metrics import Registry
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

HEARD_S: Final = 1.5 * HEARTBEAT_INTERVAL_S  # every instance that lives has spoken by then
_INGRESS: Final = "ingress"  # second token of an ingress' own heartbeat


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Who this gateway is."""

    ingress_id: str
    """One token of a subject, unique among all edges."""
    make_dispatch: MakeDispatch = plain_dispatch
    """A journal of the decisions takes its place (`routing.journal`)."""
    seed: int = field(default_factory=lambda: int.from_bytes(os.urandom(8)))


class Gateway:
    """One edge's half of the platform. `start` before use, `stop` at the end."""

    def __init__(
        self,
        bus: Bus,
        reader: RouteReader,
        registry: Registry,
        settings: GatewaySettings,
        bodies: Bodies | None = None,
    ) -> None:
        """`bodies`: where large answers go; without, they are refused."""
        self.routes = RouteTable(reader, settings.seed)
        self.judge = Judge()
        self.tally = Tally()
        self._bus = bus
        self._settings = settings
        self._rng = random.Random(settings.seed)
        self._metrics = GatewayMetrics(registry)
        self._peers = Peers(settings.ingress_id)
        self._lanes: dict[str, Lane] = {}
        self._far = FarBodies(bodies)
        self._tasks = Tasks("gateway")
        self._sweeper: asyncio.TimerHandle | None = None
        self._heard = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        registry.before_render(self._refresh_gauges)

    async def start(self) -> None:
        """Listen, read all routes, hear the instances, and say that this edge is here.

        Raises BusDisconnected when NATS does not answer; routes may still be unread (`ready`).
        """
        await self._bus.subscribe(all_heartbeats(), self._instance_beat)
        await self._bus.subscribe(all_ingress_heartbeats(), self._ingress_beat)
        await self._bus.subscribe(all_changed(), self._changed)
        await self._bus.subscribe(SYSTEM_EVENTS, self._system_event)
        self._bus.on_disconnect(self._cut_off)
        self._bus.on_reconnect(self._reconnected)
        await self._bus.flush()
        await self.routes.refresh()
        await self._hear_instances()
        self._applied()  # who spoke before the routes were read has a lane without its numbers
        self._tasks.forever(self.routes.keep_fresh(self._applied), "routes")
        self._tasks.forever(self._beat(), "heartbeat")

    async def stop(self) -> None:
        await self._tasks.stop()
        self._say()  # the last word of the books: nothing in flight after a drain
        if self._sweeper is not None:
            self._sweeper.cancel()

    @property
    def ready(self) -> bool:
        """Whether NATS is there and routes were read."""
        return self.routes.read and self._bus.connected

    @property
    def pending(self) -> int:
        """Requests waiting and running, over all deployments."""
        return sum(lane.dispatch.pending for lane in self._lanes.values())

    @property
    def terms(self) -> Terms:
        """What became of every request this edge accepted."""
        return self.tally.terms(sum(lane.unended for lane in self._lanes.values()))

    @property
    def cut_off_s(self) -> float:
        """Seconds without NATS, 0 with it."""
        return 0.0 if self.judge.connected else self.judge.cut_off_s(monotonic())

    def router(self, endpoint: str) -> Router | None:
        """The routing state of an endpoint; None when there is no such endpoint."""
        return self.routes.routers.get(endpoint)

    def submit(
        self, endpoint: str, decision: RouteDecision, incoming: Incoming, deliver: Deliver
    ) -> Call | Refusal:
        """Take a request for the deployment a router chose; `deliver` gets its result, once.

        A Refusal that is returned is not delivered as well.
        """
        lane = self._lane(endpoint, decision.deployment)
        pending = lane.dispatch.pending + self._peers.pending(lane.name)
        if pending >= lane.limit:
            refusal = too_many_pending(lane.limit)
            lane.metrics.rejected(refusal.reason)
            return refusal
        call = lane.start(incoming, deliver)
        if decision.mirror is not None:
            self._lane(endpoint, decision.mirror).mirror(incoming)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        return call

    def cancel(self, call: Call) -> None:
        """The caller has gone."""
        call.lane.cancel(call)

    def _lane(self, endpoint: str, route: DeploymentRoute) -> Lane:
        lane = self._lanes.get(f"{endpoint}.{route.name}")
        return lane if lane is not None else self._add_lane(endpoint, route)

    def _add_lane(self, endpoint: str, route: DeploymentRoute) -> Lane:
        name = f"{endpoint}.{route.name}"
        known = self.router(endpoint)
        lane = self._lanes[name] = Lane(
            self._bus,
            self._settings.ingress_id,
            route,
            (endpoint, route.name),
            dispatch=self._settings.make_dispatch(name, self._rng.randrange(2**32)),
            metrics=LaneMetrics(self._metrics, endpoint, route.name),
            tally=self.tally,
            far=self._far,
            kubernetes=known.route.kubernetes if known is not None else False,
        )
        if not self._bus.connected:
            lane.cut_off()
        return lane

    async def _hear_instances(self) -> None:
        """Wait until every instance that is wanted has spoken, or would have.

        Requests that came before would wait in the queue, most of them for longer than they may.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARD_S):
                while self._unheard():
                    self._heard.clear()
                    await self._heard.wait()

    def _unheard(self) -> bool:
        return any(
            len(self._lane(endpoint, route).dispatch.instances) < route.desired_instances
            for endpoint, router in self.routes.routers.items()
            for route in router.route.deployments.values()
            if not route.failed
        )

    def _instance_beat(self, message: Message) -> None:
        address = parse_heartbeat(message.subject)
        if address.endpoint == _INGRESS:
            return
        try:
            heartbeat = InstanceHeartbeat.decode(message.data)
        except MalformedEnvelope as error:
            log.warning("a heartbeat could not be read", subject=message.subject, error=str(error))
            return
        if heartbeat.iid != address.iid:  # its credentials are for its own subject
            log.warning("an instance speaks for another", subject=message.subject)
            return
        lane = self._lanes.get(f"{address.endpoint}.{address.deployment}")
        if lane is None:
            lane = self._add_lane(address.endpoint, self._deployment(address))
        before = lane.dispatch.ready
        lane.beat(heartbeat, monotonic())
        if lane.dispatch.ready > before:
            self._say()  # control waits for an edge that sees it
        self._heard.set()

    def _deployment(self, address: tuple[str, str, str]) -> DeploymentRoute:
        """What is known of a deployment whose heartbeat came before its route."""
        endpoint, deployment, _ = address
        router = self.router(endpoint)
        known = router.route.deployments.get(deployment) if router is not None else None
        return known or DeploymentRoute(name=deployment)

    def _ingress_beat(self, message: Message) -> None:
        try:
            heartbeat = IngressHeartbeat.decode(message.data)
            if heartbeat.ingress_id == self._settings.ingress_id:
                self.judge.heard_self(monotonic())
            self._peers.heard(heartbeat, monotonic())
        except MalformedEnvelope as error:
            log.warning("a heartbeat could not be read", subject=message.subject, error=str(error))

    def _changed(self, message: Message) -> None:
        self.routes.changed(message.subject.partition(".")[2])

    def _system_event(self, message: Message) -> None:
        """A connection ended: is it an instance's?"""
        if not message.subject.endswith("DISCONNECT"):
            return
        try:
            event = json.loads(message.data)
            client, reason = str(event["client"]["name"]), str(event.get("reason", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # a client without a name, or an event of another kind
        now = monotonic()
        for lane in self._lanes.values():
            for iid in [
                iid for iid, one in lane.dispatch.instances.items() if one.client == client
            ]:
                if self.judge.disconnected(reason, now) is Verdict.DEAD:
                    lane.dead(iid, f"disconnected: {reason}", now)
                else:
                    lane.dispatch.suspect(iid)

    def _cut_off(self) -> None:
        self.judge.cut_off(monotonic())
        for lane in self._lanes.values():
            lane.cut_off()

    def _reconnected(self) -> None:
        now = monotonic()
        cut_off_s = self.judge.reconnected(now)
        for lane in self._lanes.values():
            lane.reconnected(cut_off_s, now)
        self.routes.changed(None)

    def _sweep(self) -> None:
        """The next one is due first: whatever fails in this one, no deadline is forgotten."""
        again = self.pending > 0
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep) if again else None
        now = monotonic()
        for lane in self._lanes.values():
            if lane.dispatch.pending:
                lane.sweep(now)

    def _applied(self) -> None:
        """Give lanes their deployment's newest numbers, and drop those of deployments that went."""
        for name, lane in list(self._lanes.items()):
            router = self.router(lane.endpoint)
            route = router.route.deployments.get(lane.deployment) if router is not None else None
            if route is not None and router is not None:
                lane.update(route, kubernetes=router.route.kubernetes)
            elif not lane.dispatch.instances and not lane.dispatch.pending:
                lane.close()
                del self._lanes[name]
        self._say()  # control waits for the applied revision

    async def _beat(self) -> None:
        while True:
            now = monotonic()
            self._peers.forget_silent(now)
            for lane in self._lanes.values():
                self._strike_silent(lane, now)
                lane.wake()
            self._far.tick()
            self._say()
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    def _strike_silent(self, lane: Lane, now: float) -> None:
        dispatch = lane.dispatch
        silent = [
            iid
            for iid, one in dispatch.instances.items()
            if self.judge.silent(one.seen, now) is Verdict.DEAD
        ]
        if silent:
            dispatch.suspect_silent(now)
        for iid in silent:
            lane.dead(iid, "no heartbeat", now)

    def _say(self) -> None:
        lanes = self._lanes.values()
        heartbeat = IngressHeartbeat(
            ingress_id=self._settings.ingress_id,
            waiting={lane.name: len(lane.dispatch.queue) for lane in lanes if lane.dispatch.queue},
            in_flight={
                lane.name: lane.dispatch.in_flight for lane in lanes if lane.dispatch.in_flight
            },
            applied=self.routes.applied,
            live={lane.name: lane.dispatch.ready for lane in lanes},
            online=asdict(self.terms),
        )
        try:
            self._bus.publish(ingress_heartbeat(self._settings.ingress_id), heartbeat.encode())
        except BusDisconnected:
            return  # the reconnect is on its way, and so is the next heartbeat

    def _refresh_gauges(self) -> None:
        now = monotonic()
        self._metrics.set_terms(asdict(self.terms))
        for lane in self._lanes.values():
            dispatch, metrics = lane.dispatch, lane.metrics
            metrics.in_flight.set(dispatch.in_flight)
            metrics.waiting.set(len(dispatch.queue))
            metrics.ready.set(dispatch.ready)
            oldest = min((ticket.arrived for ticket in dispatch.queue), default=now)
            metrics.oldest_s.set(now - oldest)
