"""The control process: the API on HTTPS, the blob wire, and the reconciler, in one event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Final

import structlog
import uvloop
from aiohttp import web

from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_scaler.compute.computes import Computes
from headrace_services import open_files
from headrace_services.certificates import ensure_certificates
from headrace_services.control.api.application import Handlers, build_api
from headrace_services.control.api.console import build_console
from headrace_services.control.fleet.metrics import FleetMetrics, package_version
from headrace_services.control.gc.collector import collect_forever
from headrace_services.control.gc.sweeper import sweep_forever
from headrace_services.control.identity.issuer import Issuer
from headrace_services.control.listeners import serve
from headrace_services.control.settings import ROLE, Settings
from headrace_services.control.stores import Stores, open_stores
from headrace_services.control.trail.request_accounting import Conservation
from headrace_services.control.wiring import build_handlers, build_reconciler
from headrace_services.listening import listen
from headrace_state.fleet_view import FleetView
from headrace_state.records import Spec
from headrace_state.repository import Repository
from headrace_telemetry import logs
from headrace_telemetry.metrics import Registry
from headrace_telemetry.signals import asked_to_stop
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

LOOPBACK: Final = "127.0.0.1"
# Of the open files this process may have; the rest is for blobs, instances and the bus.
API_SHARE: Final = 1 / 4
CONSOLE_SHARE: Final = 1 / 16
CONSOLE_CONNECTIONS: Final = 64


def main(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; returns when everything is closed."""
    logs.configure(ROLE)
    open_files.raise_limit()
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
        listener = listen(settings.host, settings.port)
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
        stores = await open_stores(bus, settings.home)
        tasks = Tasks(ROLE)
        stack.push_async_callback(tasks.stop)
        issuer = await asyncio.to_thread(Issuer.open, settings.home, settings.control_url)
        metrics = FleetMetrics(Registry(), package_version())
        view = FleetView()
        metrics.watch(view)
        computes = Computes.of_home(settings.home)
        stack.push_async_callback(computes.close)
        fleet = build_reconciler(settings, bus, computes, stores, view, issuer, metrics)
        books = Conservation(bus, stores.states, view)
        await view.listen(bus)
        await fleet.start()
        stack.push_async_callback(fleet.stop)
        await books.start()
        stack.push_async_callback(books.stop)
        handlers, authenticator = await asyncio.to_thread(
            build_handlers, settings, stores, fleet, computes, issuer, books, view
        )
        application = build_api(handlers, authenticator, ready.is_set)
        context = await asyncio.to_thread(certificates.server_context)
        most = open_files.share(API_SHARE, settings.max_connections)
        serve_on = partial(serve, stack, drain_s=settings.drain_s)
        await serve_on(application, listener, max_connections=most, context=context)
        if console is not None:
            page = build_console(metrics.registry, ready.is_set, _places(settings))
            most = open_files.share(CONSOLE_SHARE, CONSOLE_CONNECTIONS)
            await serve_on(page, console, max_connections=most)
            log.info("the console is ready", port=console.getsockname()[1])
        _keep_house(tasks, handlers, stores, stop)
        ready.set()
        log.info("control is ready", port=settings.port)
        on_ready(settings.port)
        await stop.wait()
        ready.clear()
        log.info("control stops accepting requests")
    log.info("control has stopped")


def _keep_house(tasks: Tasks, handlers: Handlers, stores: Stores, stop: asyncio.Event) -> None:
    """Start what no request waits for; its end is the end of the process."""
    specs = Repository(stores.specs, Spec)
    sweep = sweep_forever(handlers.operations, stores.keys, specs)
    tasks.forever(sweep, "sweep", on_end=stop.set)
    tasks.forever(collect_forever(handlers.assets.collector), "collect", on_end=stop.set)
    tasks.forever(handlers.issuers.refresh_forever(), "issuers", on_end=stop.set)


async def _until_signal(settings: Settings) -> None:
    await run(settings, asked_to_stop())


def _console_listener(stack: AsyncExitStack, settings: Settings) -> socket.socket | None:
    if settings.console_port is None:
        return None
    listener = listen(LOOPBACK, settings.console_port, flag="--console-port")
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


def _with_port(settings: Settings, port: int) -> Settings:
    url = settings.control_url or f"https://localhost:{port}"
    return replace(settings, port=port, control_url=url)


def _bus_settings(settings: Settings) -> BusSettings:
    own = settings.home.credentials / f"{ROLE}.creds"
    credentials = settings.nats_credentials or (own if own.exists() else None)
    return BusSettings(url=settings.nats_url, name=ROLE, credentials=credentials)
