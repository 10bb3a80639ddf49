"""What both edges share: routes, instances and limits kept up to date, requests sent and answered.

edge -> router(endpoint).choose -> submit -> Channel (one a deployment) -> instance
edge <- call.future: the model's Answer, or a Refusal
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from contextlib import suppress
from dataclasses import asdict, dataclass, field

import structlog

from headrace_bus.client.connection import Bus, Message
from headrace_bus.errors import BusDisconnected, MalformedEnvelope
from headrace_bus.routing.bodies.shared_file import Bodies
from headrace_bus.routing.edge.route import RouteDecision, Router
from headrace_bus.routing.edge.routes import RouteReader, RouteTable
from headrace_bus.routing.exchange.accounting import Tally
from headrace_bus.routing.exchange.call import Call, Deliver, Incoming
from headrace_bus.routing.exchange.channel import Channel
from headrace_bus.routing.exchange.metrics import ChannelMetrics, GatewayMetrics
from headrace_bus.routing.exchange.refusals import Refusal
from headrace_bus.routing.exchange.remote_body import FarBodies
from headrace_bus.routing.queueing.dispatch import SWEEP_S, MakeDispatch, plain_dispatch
from headrace_bus.routing.queueing.limits import Peers
from headrace_bus.routing.queueing.liveness import Judge, Verdict
from headrace_bus.wire.conservation import Terms
from headrace_bus.wire.heartbeat import (
    DEPLOYMENT,
    HEARTBEAT_INTERVAL_S,
    IngressHeartbeat,
    InstanceHeartbeat,
)
from headrace_bus.wire.liveness_bounds import DUE_S
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
        self._channels: dict[str, Channel] = {}
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
        self._applied()  # who spoke before the routes were read has a channel without its numbers
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
        return sum(channel.dispatch.pending for channel in self._channels.values())

    @property
    def terms(self) -> Terms:
        """What became of every request this edge accepted."""
        return self.tally.terms(sum(channel.unended for channel in self._channels.values()))

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
        channel = self._channel(endpoint, decision.deployment)
        if (refusal := channel.overload()) is not None:
            channel.metrics.rejected(refusal.reason)
            return refusal
        call = channel.start(incoming, deliver)
        if decision.mirror is not None:
            self._channel(endpoint, decision.mirror).mirror(incoming)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        return call

    def cancel(self, call: Call) -> None:
        """The caller has gone."""
        call.channel.cancel(call)

    def _channel(self, endpoint: str, route: DeploymentRoute) -> Channel:
        channel = self._channels.get(f"{endpoint}.{route.name}")
        return channel if channel is not None else self._add_channel(endpoint, route)

    def _add_channel(self, endpoint: str, route: DeploymentRoute) -> Channel:
        name = f"{endpoint}.{route.name}"
        known = self.router(endpoint)
        channel = self._channels[name] = Channel(
            self._bus,
            self._settings.ingress_id,
            route,
            (endpoint, route.name),
            dispatch=self._settings.make_dispatch(name, self._rng.randrange(2**32)),
            metrics=ChannelMetrics(self._metrics, endpoint, route.name),
            tally=self.tally,
            far=self._far,
            peers=self._peers,
            kubernetes=known.route.kubernetes if known is not None else False,
        )
        if not self._bus.connected:
            channel.cut_off()
        return channel

    async def _hear_instances(self) -> None:
        """Wait until every instance that is wanted has spoken, or would have.

        Requests that came before would wait in the queue, most of them for longer than they may.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(DUE_S):
                while self._unheard():
                    self._heard.clear()
                    await self._heard.wait()

    def _unheard(self) -> bool:
        return any(
            len(self._channel(endpoint, route).dispatch.instances) < route.desired_instances
            for endpoint, router in self.routes.routers.items()
            for route in router.route.deployments.values()
            if not route.failed
        )

    def _instance_beat(self, message: Message) -> None:
        address = parse_heartbeat(message.subject)
        try:
            heartbeat = InstanceHeartbeat.decode(message.data)
        except MalformedEnvelope as error:
            log.warning("a heartbeat could not be read", subject=message.subject, error=str(error))
            return
        if heartbeat.iid != address.iid:  # its credentials are for its own subject
            log.warning("an instance speaks for another", subject=message.subject)
            return
        if heartbeat.owner != DEPLOYMENT:
            return
        channel = self._channels.get(f"{address.endpoint}.{address.deployment}")
        if channel is None:
            channel = self._add_channel(address.endpoint, self._deployment(address))
        before = channel.dispatch.ready
        channel.beat(heartbeat, monotonic())
        if channel.dispatch.ready > before:
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
        for channel in self._channels.values():
            for iid in [
                iid for iid, one in channel.dispatch.instances.items() if one.client == client
            ]:
                if self.judge.disconnected(reason, now) is Verdict.DEAD:
                    channel.dead(iid, f"disconnected: {reason}", now)
                else:
                    channel.dispatch.suspect(iid)

    def _cut_off(self) -> None:
        self.judge.cut_off(monotonic())
        for channel in self._channels.values():
            channel.cut_off()

    def _reconnected(self) -> None:
        now = monotonic()
        cut_off_s = self.judge.reconnected(now)
        for channel in self._channels.values():
            channel.reconnected(cut_off_s, now)
        self.routes.changed(None)

    def _sweep(self) -> None:
        """The next one is due first: whatever fails in this one, no deadline is forgotten."""
        again = self.pending > 0
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep) if again else None
        now = monotonic()
        for channel in self._channels.values():
            if channel.dispatch.pending:
                channel.sweep(now)

    def _applied(self) -> None:
        """Give channels their deployment's newest numbers; drop those of deleted deployments."""
        for name, channel in list(self._channels.items()):
            router = self.router(channel.endpoint)
            route = router.route.deployments.get(channel.deployment) if router is not None else None
            if route is not None and router is not None:
                channel.update(route, kubernetes=router.route.kubernetes)
            elif not channel.dispatch.instances and not channel.dispatch.pending:
                channel.close()
                del self._channels[name]
        self._say()  # control waits for the applied revision

    async def _beat(self) -> None:
        while True:
            now = monotonic()
            self._peers.forget_silent(now)
            for channel in self._channels.values():
                self._strike_silent(channel, now)
                channel.wake()
            self._far.tick()
            self._say()
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    def _strike_silent(self, channel: Channel, now: float) -> None:
        dispatch = channel.dispatch
        silent = [
            iid
            for iid, one in dispatch.instances.items()
            if self.judge.silent(one.seen, now) is Verdict.DEAD
        ]
        if silent:
            dispatch.suspect_silent(now)
        for iid in silent:
            channel.dead(iid, "no heartbeat", now)

    def _say(self) -> None:
        channels = self._channels.values()
        heartbeat = IngressHeartbeat(
            ingress_id=self._settings.ingress_id,
            waiting={
                channel.name: len(channel.dispatch.queue)
                for channel in channels
                if channel.dispatch.queue
            },
            in_flight={
                channel.name: channel.dispatch.in_flight
                for channel in channels
                if channel.dispatch.in_flight
            },
            applied=self.routes.applied,
            live={channel.name: channel.dispatch.ready for channel in channels},
            online=asdict(self.terms),
        )
        try:
            self._bus.publish(ingress_heartbeat(self._settings.ingress_id), heartbeat.encode())
        except BusDisconnected:
            return  # the reconnect is on its way, and so is the next heartbeat

    def _refresh_gauges(self) -> None:
        now = monotonic()
        self._metrics.set_terms(asdict(self.terms))
        for channel in self._channels.values():
            dispatch, metrics = channel.dispatch, channel.metrics
            metrics.in_flight.set(dispatch.in_flight)
            metrics.waiting.set(len(dispatch.queue))
            metrics.ready.set(dispatch.ready)
            oldest = min((entry.arrived for entry in dispatch.queue), default=now)
            metrics.oldest_s.set(now - oldest)
