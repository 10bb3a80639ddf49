"""The control process: the API on HTTPS, the blob wire, and the reconciler, in one event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, cast

import structlog
import uvloop
from aiohttp import web

from headrace_api.errors import Conflict
from headrace_api.home import Home
from headrace_bus.client.connection import Bus
from headrace_bus.client.identity import Identities
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.blob_index import BlobIndex
from headrace_bus.store.blobs import FolderBlobs
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.events import Events
from headrace_bus.store.secrets import SecretStore, secret_key
from headrace_bus.wire.subjects import InstanceAddress
from headrace_services.certificates import ensure_certificates
from headrace_services.control.api import asset_handlers
from headrace_services.control.api.application import Handlers, build_api
from headrace_services.control.api.console import build_console
from headrace_services.control.api.diagnosis import Diagnosis
from headrace_services.control.api.directory import Directory
from headrace_services.control.arm.connection import (
    MAX_HEAD_BYTES,
    PARSED_FIELDS,
    ArmConnection,
)
from headrace_services.control.arm.head_timeout import HeadTimeout
from headrace_services.control.arm.ids import ArmIds
from headrace_services.control.assets.references import AssetReferences
from headrace_services.control.blobs.containers import ContainerStore
from headrace_services.control.blobs.sas import SasSigner
from headrace_services.control.blobs.uploads import BlockStage
from headrace_services.control.blobs.wire import BlobWire
from headrace_services.control.fleet.metrics import FleetMetrics, package_version
from headrace_services.control.fleet.reconciler import Reconciler
from headrace_services.control.fleet.stores import Stores as FleetStores
from headrace_services.control.gc.collector import Collector, collect_forever
from headrace_services.control.gc.sweeper import sweep_forever
from headrace_services.control.identity.access import Access, scoring_audiences
from headrace_services.control.identity.auth import Authenticator, ensure_admin_token, token_digest
from headrace_services.control.identity.clients import Clients
from headrace_services.control.identity.issuer import Issuer
from headrace_services.control.identity.issuer_fetch import IssuerFetch
from headrace_services.control.identity.issuers import Issuers
from headrace_services.control.identity.oidc import OpenIdProvider
from headrace_services.control.online.attach import Attachments
from headrace_services.control.online.deployments import Deployments
from headrace_services.control.online.endpoints import Endpoints
from headrace_services.control.resources.operations import Operations
from headrace_services.control.resources.writes import ResourceWrites
from headrace_services.control.settings import Settings
from headrace_services.control.trail.event_log import EventLog
from headrace_services.control.trail.request_accounting import Conservation
from headrace_state.endpoint_keys import EndpointKeys
from headrace_state.fleet_view import FleetView
from headrace_state.records import (
    Client,
    IssuerKeys,
    Operation,
    OuterIssuer,
    Spec,
    Status,
)
from headrace_state.repository import Repository
from headrace_telemetry import logs
from headrace_telemetry.metrics import Registry
from headrace_telemetry.signals import asked_to_stop
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

ROLE: Final = "control"
LOOPBACK: Final = "127.0.0.1"
BACKLOG: Final = 512  # connections
KEEP_ALIVE_S: Final = 75.0
READ_BUFFER_BYTES: Final = 1024 * 1024  # an upload hops to a thread once for each so many


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What the process keeps, opened."""

    specs: Bucket
    states: Bucket
    keys: EndpointKeys
    index: BlobIndex
    folder: FolderBlobs
    blobs: ContainerStore
    events: Events


def main(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; returns when everything is closed."""
    logs.configure(ROLE)
    logging.getLogger("aiohttp.server").addFilter(is_ours)
    uvloop.run(_until_signal(settings))


def is_ours(record: logging.LogRecord) -> bool:
    """A filter: a body that is no HTTP is the client's fault, and aiohttp would quote it."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, web.RequestPayloadError)


async def run(
    settings: Settings, stop: asyncio.Event, *, on_ready: Callable[[int], object] = lambda _: None
) -> None:
    """Serve until `stop` is set; `on_ready` gets the port once everything answers.

    Raises Conflict when the port is taken, BusDisconnected when NATS does not answer.
    """
    ready = asyncio.Event()
    async with AsyncExitStack() as stack:
        listener = _listen(settings.host, settings.port)
        stack.callback(listener.close)
        settings = _with_port(settings, listener.getsockname()[1])
        console = _console_listener(stack, settings)
        certificates = await asyncio.to_thread(
            ensure_certificates,
            settings.home,
            public_urls=(settings.control_url, settings.ingress_url),
        )
        bus = await Bus.connect(_bus_settings(settings))
        stack.push_async_callback(bus.close)
        stores = await _open_stores(bus, settings.home)
        tasks = Tasks(ROLE)
        stack.push_async_callback(tasks.stop)
        issuer = await asyncio.to_thread(Issuer.open, settings.home, settings.control_url)
        metrics = FleetMetrics(Registry(), package_version())
        view = FleetView()
        metrics.watch(view)
        fleet = _fleet(settings, bus, stores, view, issuer, metrics)
        books = Conservation(bus, stores.states, view)
        await view.listen(bus)
        await fleet.start()
        stack.push_async_callback(fleet.stop)
        await books.start()
        stack.push_async_callback(books.stop)
        handlers, authenticator = await asyncio.to_thread(
            _build_handlers, settings, stores, fleet, issuer, books, view
        )
        application = build_api(handlers, authenticator, ready.is_set)
        silence = HeadTimeout()
        application.middlewares.insert(0, silence.hear)
        context = await asyncio.to_thread(certificates.server_context)
        server = await _serve(stack, application, listener, settings.drain_s, context)
        tasks.forever(silence.end_forever(server), "silence", on_end=stop.set)
        if console is not None:
            page = build_console(metrics.registry, ready.is_set, _places(settings))
            await _serve(stack, page, console, settings.drain_s)
            log.info("the console is ready", port=console.getsockname()[1])
        sweep = sweep_forever(
            handlers.operations, stores.blobs, stores.keys, Repository(stores.specs, Spec)
        )
        tasks.forever(sweep, "sweep", on_end=stop.set)
        tasks.forever(collect_forever(handlers.assets.collector), "collect", on_end=stop.set)
        tasks.forever(handlers.issuers.refresh_forever(), "issuers", on_end=stop.set)
        ready.set()
        log.info("control is ready", port=settings.port)
        on_ready(settings.port)
        await stop.wait()
        ready.clear()
        log.info("control stops accepting requests")
    log.info("control has stopped")


async def _until_signal(settings: Settings) -> None:
    await run(settings, asked_to_stop())


def _console_listener(stack: AsyncExitStack, settings: Settings) -> socket.socket | None:
    if settings.console_port is None:
        return None
    listener = _listen(LOOPBACK, settings.console_port, flag="--console-port")
    stack.callback(listener.close)
    return listener


def _places(settings: Settings) -> list[tuple[str, str, str]]:
    """What is where, for the console's page."""
    return [
        ("Control", settings.control_url, "SDK, az rest, CLI"),
        ("Scoring", f"{settings.ingress_url}/endpoints/<endpoint>/score", ""),
        ("Metrics", "/metrics", "the ingress has its own at /metrics of its loopback port"),
        ("Health", "/healthz and /readyz", ""),
        ("State", str(settings.home.root), ""),
    ]


def _listen(host: str, port: int, flag: str = "--port") -> socket.socket:
    """Raises Conflict. The socket is bound first, so that no second control starts any work."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Conflict(
            f"port {port} on {host} cannot be opened: {error.strerror}",
            hint=f"choose another with {flag}, or stop the process that uses it",
            target=flag[2:],
        ) from error
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _with_port(settings: Settings, port: int) -> Settings:
    url = settings.control_url or f"https://localhost:{port}"
    return replace(settings, port=port, control_url=url)


def _bus_settings(settings: Settings) -> BusSettings:
    own = settings.home.credentials / f"{ROLE}.creds"
    credentials = settings.nats_credentials or (own if own.exists() else None)
    return BusSettings(url=settings.nats_url, name=ROLE, credentials=credentials)


async def _open_stores(bus: Bus, home: Home) -> Stores:
    specs, states, secrets, names = [
        await Bucket.open(bus, name) for name in ("spec", "state", "secrets", "blobs")
    ]
    index = BlobIndex(names)
    secret = await asyncio.to_thread(secret_key, home.root / "secret.key")
    folder = await asyncio.to_thread(FolderBlobs, home.blobs)
    return Stores(
        specs=specs,
        states=states,
        keys=EndpointKeys(SecretStore(secrets, secret)),
        index=index,
        folder=folder,
        blobs=ContainerStore(folder, index, BlockStage(home.blobs / "blocks")),
        events=await Events.open(bus),
    )


def _fleet(
    settings: Settings,
    bus: Bus,
    stores: Stores,
    view: FleetView,
    issuer: Issuer,
    metrics: FleetMetrics,
) -> Reconciler:
    return Reconciler(
        bus=bus,
        stores=FleetStores(
            specs=stores.specs, state=stores.states, keys=stores.keys, blobs=stores.index
        ),
        view=view,
        home=settings.home,
        nats_url=settings.nats_url,
        token_public_key=issuer.public_key,
        mint=_mint(settings),
        metrics=metrics,
        access=Access(
            audiences=scoring_audiences(settings.control_url),
            admin_digests=(token_digest(ensure_admin_token(settings.home)),),
        ),
    )


def _mint(settings: Settings) -> Callable[[InstanceAddress], str]:
    """Users of their own on this home's server, whose keys it holds; else instances share ours.

    A home that once had a server of its own keeps its keys; to an outside server they mean nothing.
    """
    home = settings.home
    own = settings.nats_credentials in (None, home.credentials / f"{ROLE}.creds")
    if own and (home.nats / "keys").exists():
        return Identities(settings.home).mint_instance
    path = settings.nats_credentials
    shared = path.read_text() if path else ""
    return lambda _: shared


def _build_handlers(
    settings: Settings,
    stores: Stores,
    fleet: Reconciler,
    issuer: Issuer,
    books: Conservation,
    view: FleetView,
) -> tuple[Handlers, Authenticator]:
    """Makes the handlers; reads and makes the small files they need, so it runs in a thread."""
    ids = ArmIds(control_url=settings.control_url, ingress_url=settings.ingress_url)
    signer = SasSigner.open(settings.home)
    specs = Repository(stores.specs, Spec)
    operations = Operations(Repository(stores.states, Operation), ids)
    assets = asset_handlers.furnish(
        ids,
        signer,
        specs,
        stores.blobs,
        Collector(specs=specs, states=stores.states, index=stores.index, blobs=stores.folder),
    )
    writes = ResourceWrites(
        specs=specs,
        statuses=Repository(stores.states, Status),
        operations=operations,
        convergence=fleet,
    )
    endpoints = Endpoints(ids=ids, writes=writes, keys=stores.keys, issuer=issuer)
    clients = Clients(ids=ids, repository=Repository(stores.specs, Client))
    deployments = Deployments(
        ids=ids,
        writes=writes,
        endpoints=endpoints,
        references=AssetReferences(
            ids=ids, assets=assets.stores, has_bytes=stores.blobs.has_bytes, find=specs.find
        ),
        logs=fleet,
    )
    handlers = Handlers(
        workspace=assets.workspace,
        operations=operations,
        assets=assets,
        endpoints=endpoints,
        deployments=deployments,
        attachments=Attachments(
            deployments=deployments,
            states=stores.states,
            builder=fleet.builder,
            mint=_mint(settings),
        ),
        clients=clients,
        issuers=_issuers(settings, stores, ids, fleet),
        provider=OpenIdProvider(control_url=settings.control_url, issuer=issuer, clients=clients),
        directory=Directory(ids=ids),
        blobs=BlobWire(stores.blobs, signer, workspace=ids.workspace.workspace),
        conservation=books,
        diagnosis=Diagnosis(blobs=stores.folder, live_ingresses=view.await_ingress),
        journal=EventLog(events=stores.events),
    )
    return handlers, _authenticator(settings, handlers, issuer)


def _authenticator(settings: Settings, handlers: Handlers, issuer: Issuer) -> Authenticator:
    return Authenticator(
        admin_digest=token_digest(ensure_admin_token(settings.home)),
        issuer=issuer,
        control_url=settings.control_url,
        clients=handlers.clients.repository,
        issuers=handlers.issuers.repository,
        issuer_keys=handlers.issuers.keys,
    )


def _issuers(settings: Settings, stores: Stores, ids: ArmIds, fleet: Reconciler) -> Issuers:
    return Issuers(
        ids=ids,
        repository=Repository(stores.specs, OuterIssuer),
        keys=Repository(stores.states, IssuerKeys),
        fetch=IssuerFetch(allow_private=settings.allow_private_urls),
        wake=fleet.wake,
    )


async def _serve(
    stack: AsyncExitStack,
    application: web.Application,
    listener: socket.socket,
    drain_s: float,
    context: ssl.SSLContext | None = None,
) -> web.Server:
    runner = web.AppRunner(application, shutdown_timeout=drain_s)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    server = cast(web.Server, runner.server)
    loop = asyncio.get_running_loop()
    # A site of aiohttp makes connections of its own class only.
    connection = partial(
        ArmConnection,
        server,
        loop=loop,
        access_log=None,  # type: ignore[arg-type]  # it takes None, as AppRunner passes it
        keepalive_timeout=KEEP_ALIVE_S,
        max_line_size=MAX_HEAD_BYTES,
        max_field_size=MAX_HEAD_BYTES,
        max_headers=PARSED_FIELDS,
        read_bufsize=READ_BUFFER_BYTES,
    )
    accepting = await loop.create_server(connection, sock=listener, ssl=context, backlog=BACKLOG)
    stack.callback(accepting.close)
    return server
