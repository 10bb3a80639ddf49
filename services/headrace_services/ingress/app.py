"""The ingress: HTTPS for callers, plain HTTP on loopback, one gateway behind both.

run(settings, stop): connect -> listen -> ready -> stop -> drain -> close
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
import uvloop

from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.routing.bodies.shared_file import Bodies
from headrace_bus.routing.edge.gateway import Gateway, GatewaySettings
from headrace_bus.routing.edge.routes import BucketRoutes
from headrace_bus.store.bucket import Bucket
from headrace_services import open_files
from headrace_services.certificates import ensure_certificates
from headrace_services.ingress.connection import Connection
from headrace_services.ingress.exchange import Reply
from headrace_services.ingress.large import LargeBodies
from headrace_services.ingress.metrics import EdgeMetrics
from headrace_services.ingress.replies import text
from headrace_services.ingress.scoring import ScoringEdge
from headrace_services.ingress.settings import IngressSettings
from headrace_services.listening import BACKLOG, TlsListener, listen
from headrace_telemetry import logs
from headrace_telemetry.metrics import CONTENT_TYPE, Registry
from headrace_telemetry.signals import asked_to_stop
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

LOOPBACK: Final = "127.0.0.1"
TICK_S: Final = 1.0
CONNECTIONS_SHARE: Final = 3 / 8  # of the open files, for each port; the rest is for bodies
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a running ingress answers."""

    https_port: int | None
    http_port: int | None


class Ingress:
    """One running ingress; made by `start`, ended by `stop`."""

    def __init__(self, settings: IngressSettings, bus: Bus, *, gateway: GatewaySettings) -> None:
        registry = Registry()
        self._settings = settings
        self._bus = bus
        self._registry = registry
        bodies = Bodies.below(settings.home, settings.max_spool_bytes)
        routes = BucketRoutes(Bucket(bus, "state"))
        self.gateway = Gateway(bus, routes, registry, gateway, bodies)
        make_edge = partial(
            ScoringEdge,
            self.gateway,
            EdgeMetrics(registry),
            LargeBodies(bodies),
            max_body_bytes=settings.max_body_bytes,
            max_connections=open_files.share(CONNECTIONS_SHARE, settings.max_connections),
            domain=settings.domain,
        )
        self._public: ScoringEdge = make_edge()
        self._loopback: ScoringEdge = make_edge(
            pages={"/healthz": self._health, "/readyz": self._readiness, "/metrics": self._metrics}
        )
        self._servers: list[asyncio.Server | TlsListener] = []
        self._tasks = Tasks("ingress")
        self._draining = False

    async def start(self) -> Listening:
        """Listen on both ports. Raises Conflict for one that is taken, BusDisconnected."""
        settings = self._settings
        await self.gateway.start()
        listening = Listening(
            https_port=await self._listen_tls(settings.port, settings.host, self._public),
            http_port=await self._listen(settings.http_port, LOOPBACK, self._loopback),
        )
        self._tasks.forever(self._tick(), "tick")
        return listening

    async def stop(self) -> None:
        """Readiness off, take nothing more, let open requests end, close."""
        self._draining = True
        for server in self._servers:
            server.close()
        log.info("the ingress is draining", open_requests=self.gateway.pending)
        for edge in (self._public, self._loopback):
            for connection in list(edge.connections):
                connection.drain()
        await self._drained()
        for edge in (self._public, self._loopback):
            for connection in list(edge.connections):
                connection.abort()
            await edge.stop()
        await self._tasks.stop()
        await self.gateway.stop()

    async def _listen_tls(self, port: int | None, host: str, edge: ScoringEdge) -> int | None:
        if port is None:
            return None
        context = self._tls()
        listener = listen(host, port)
        accepting = TlsListener(listener, context, partial(Connection, edge), edge.has_room)
        accepting.start()
        self._servers.append(accepting)
        return int(listener.getsockname()[1])

    async def _listen(self, port: int | None, host: str, edge: ScoringEdge) -> int | None:
        if port is None:
            return None
        listener = listen(host, port, "--http-port")
        server = await asyncio.get_running_loop().create_server(
            partial(Connection, edge), sock=listener, backlog=BACKLOG
        )
        self._servers.append(server)
        return int(listener.getsockname()[1])

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Control makes them too; whoever starts first on a fresh home does it.
        domain = self._settings.domain  # a wildcard stands for one label, as an endpoint is
        names = (f"https://*.{domain}",) if domain else ()
        found = ensure_certificates(self._settings.home, public_urls=names)
        context.load_cert_chain(found.certificate, found.key)
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def _tick(self) -> None:
        while True:
            self._public.tick()
            self._loopback.tick()
            await asyncio.sleep(TICK_S)

    async def _drained(self) -> None:
        """Wait until every connection has ended, as `drain` makes each do after its answer."""
        try:
            async with asyncio.timeout(self._settings.drain_s):
                await self._public.empty.wait()
                await self._loopback.empty.wait()
        except TimeoutError:
            log.warning("open requests were cut off", open_requests=self.gateway.pending)

    def _health(self) -> Reply:
        return _json(200, {"healthy": True})

    def _readiness(self) -> Reply:
        ready = self.gateway.ready and not self._draining
        return _json(200 if ready else 503, {"ready": ready})

    def _metrics(self) -> Reply:
        return text(200, self._registry.render(), CONTENT_TYPE)


async def run(
    settings: IngressSettings,
    stop: asyncio.Event,
    *,
    on_ready: asyncio.Future[Listening] | None = None,
    gateway: GatewaySettings | None = None,
) -> None:
    """Serve until `stop`; drained and closed when it returns.

    Raises BusDisconnected, Unauthorized (NATS), Conflict (a port is taken), OSError (no
    certificate).
    """
    gateway = gateway or GatewaySettings(ingress_id=f"in-{secrets.token_hex(8)}")
    async with AsyncExitStack() as stack:
        bus = await Bus.connect(
            BusSettings(
                url=settings.nats_url,
                name=f"ingress:{gateway.ingress_id}",
                credentials=settings.nats_credentials,
            )
        )
        stack.push_async_callback(bus.close)
        bus.on_closed(stop.set)
        ingress = Ingress(settings, bus, gateway=gateway)
        stack.push_async_callback(ingress.stop)
        listening = await ingress.start()
        log.info(
            "the ingress is ready",
            ingress_id=gateway.ingress_id,
            https_port=listening.https_port,
            http_port=listening.http_port,
        )
        if on_ready is not None:
            on_ready.set_result(listening)
        await stop.wait()


def main(settings: IngressSettings) -> int:
    """Run the process until SIGTERM or SIGINT; returns its exit code."""
    logs.configure("ingress")
    open_files.raise_limit()

    async def serve() -> None:
        await run(settings, asked_to_stop())

    uvloop.run(serve())
    return os.EX_OK


def _json(status: int, value: dict[str, bool]) -> Reply:
    return text(status, json.dumps(value).encode(), _JSON)
