"""An ingress on a real server, with small instances behind it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from headrace_api.home import Home
from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.routing.edge.gateway import GatewaySettings
from headrace_bus.store.bucket import Bucket
from headrace_bus.wire.heartbeat import IngressHeartbeat
from headrace_bus.wire.route_record import DeploymentRoute, Route, route_key
from headrace_bus.wire.subjects import InstanceAddress, all_ingress_heartbeats, changed
from headrace_services.ingress.app import Listening, run
from headrace_services.ingress.settings import IngressSettings
from support.echo_instance import EchoInstance
from support.nats_server import NatsServer
from support.pulling_instance import PullingInstance

KEY = "a key for tests"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()
AUTH = {"authorization": f"Bearer {KEY}"}
BOUND_S = 30.0


def make_route(
    traffic: dict[str, int] | None = None,
    *,
    auth_mode: str = "key",
    token_public_key: str = "",
    mirror: dict[str, int] | None = None,
    kubernetes: bool = False,
    **deployment: int,
) -> Route:
    """Endpoint `houses` with `blue` and `green`; `deployment` are fields of both."""
    settings = {"max_concurrent": 4} | deployment
    names = ("blue", "green")
    return Route(
        endpoint="houses",
        auth_mode=auth_mode,
        key_digests=(DIGEST,),
        token_public_key=token_public_key,
        traffic={"blue": 100} if traffic is None else traffic,
        mirror=mirror or {},
        deployments={name: DeploymentRoute(name=name, **settings) for name in names},  # type: ignore[arg-type]  # all given are numbers
        kubernetes=kubernetes,
    )


@dataclass
class World:
    """What a test works with."""

    server: NatsServer
    bus: Bus
    state: Bucket
    home: Home
    http: aiohttp.ClientSession
    applied: dict[str, dict[str, int]] = field(default_factory=dict)
    live: dict[str, dict[str, int]] = field(default_factory=dict)
    in_flight: dict[str, dict[str, int]] = field(default_factory=dict)
    waiting: dict[str, dict[str, int]] = field(default_factory=dict)
    beats: dict[str, int] = field(default_factory=dict)
    """How often each ingress was heard."""
    instances: list[EchoInstance] = field(default_factory=list)
    stops: list[tuple[asyncio.Event, asyncio.Task[None]]] = field(default_factory=list)
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, data: bytes) -> None:
        beat = IngressHeartbeat.decode(data)
        self.applied[beat.ingress_id] = beat.applied
        self.live[beat.ingress_id] = beat.live
        self.in_flight[beat.ingress_id] = beat.in_flight
        self.waiting[beat.ingress_id] = beat.waiting
        self.beats[beat.ingress_id] = self.beats.get(beat.ingress_id, 0) + 1
        self._heard.set()

    async def route(self, route: Route) -> int:
        """Store a route and wait until every ingress has applied it."""
        key = route_key(route.endpoint)
        known = await self.state.get(key)
        if known is None:
            revision = await self.state.create(key, route.encode())
        else:
            revision = await self.state.update(key, route.encode(), known.revision)
        self.bus.publish(changed(route.endpoint), b"")
        await self.until(
            lambda: all(one.get(route.endpoint) == revision for one in self.applied.values())
        )
        return revision

    async def unroute(self, endpoint: str) -> None:
        """Delete a route and wait until every ingress has forgotten it."""
        key = route_key(endpoint)
        known = await self.state.get(key)
        assert known is not None
        await self.state.delete(key, known.revision)
        self.bus.publish(changed(endpoint), b"")
        await self.until(lambda: all(endpoint not in one for one in self.applied.values()))

    async def instance(
        self, deployment: str = "blue", iid: str = "one", slots: int = 4, *, way: str = ""
    ) -> EchoInstance:
        """Start an instance, by its `way` to the server, and wait until all ingresses see it."""
        address = InstanceAddress("houses", deployment, iid)
        one = EchoInstance(way or self.server.url, address, slots)
        await self._seen(one)
        return one

    async def pulling(self) -> PullingInstance:
        """The same with one that pulls large bodies."""
        address = InstanceAddress("houses", "blue", "one")
        one = PullingInstance(self.server.url, address, 4)
        await self._seen(one)
        return one

    async def _seen(self, one: EchoInstance) -> None:
        await one.start()
        self.instances.append(one)
        deployment = one.address.deployment
        count = sum(each.address.deployment == deployment for each in self.instances)
        name = f"houses.{deployment}"
        await self.until(lambda: all(each.get(name) == count for each in self.live.values()))

    async def spare(self, endpoint: str, deployment: str, iid: str) -> EchoInstance:
        """Start an instance, wait for nobody."""
        address = InstanceAddress(endpoint, deployment, iid)
        one = EchoInstance(self.server.url, address, 4)
        await one.start()
        self.instances.append(one)
        return one

    async def ingress(
        self,
        name: str = "in-one",
        *,
        gateway: GatewaySettings | None = None,
        heard: bool = True,
        **settings: object,
    ) -> Listening:
        """Start an ingress; wait until it listens, and unless told otherwise until it is heard."""
        stop = asyncio.Event()
        ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
        options = {"nats_url": self.server.url, "home": self.home, "port": None, "http_port": 0}
        task = asyncio.create_task(
            run(
                IngressSettings(**options | settings),  # type: ignore[arg-type]  # a test's own choice
                stop,
                on_ready=ready,
                gateway=gateway or GatewaySettings(ingress_id=name),
            )
        )
        self.stops.append((stop, task))
        done, _ = await asyncio.wait((ready, task), return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            await task
        if heard:
            await self.until(lambda: name in self.applied)
        return await ready

    async def until(self, condition: object) -> None:
        """Wait for a condition that heartbeats of ingresses bring about."""
        assert callable(condition)
        async with asyncio.timeout(BOUND_S):
            while not condition():
                self._heard.clear()
                await self._heard.wait()


def url(listening: Listening, path: str = "/endpoints/houses/score") -> str:
    return f"http://127.0.0.1:{listening.http_port}{path}"


@asynccontextmanager
async def running_world(server: NatsServer, folder: Path) -> AsyncIterator[World]:
    """A control world on this server; whatever it started has ended afterwards."""
    bus = await Bus.connect(BusSettings(url=server.url, name="test"))
    state = await Bucket.open(bus, "state")
    async with aiohttp.ClientSession() as http:
        one = World(server, bus, state, Home(folder / "home"), http)
        await bus.subscribe(all_ingress_heartbeats(), lambda message: one.hear(message.data))
        await bus.flush()
        yield one
    for stop, _ in one.stops:
        stop.set()
    await asyncio.gather(*(task for _, task in one.stops), return_exceptions=True)
    for instance in one.instances:
        await instance.stop()
    await bus.close()
