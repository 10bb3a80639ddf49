"""The supervisor: starts NATS, control and the ingress, restarts what dies, stops all in order.

It holds no state of its own. What it needs after a kill it reads off the running processes, so the
next supervisor of the same home adopts them. It imports no HTTP library to stay small.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import structlog

from headrace import errors
from headrace.platform import services
from headrace.platform.adoption import settle_ports
from headrace.platform.events import Listener
from headrace.platform.ports import PORT_FLAGS, Ports
from headrace.platform.services import ServiceProcess
from headrace.platform.status_file import StatusFile
from headrace.platform.stop import stop_instances
from headrace_api.errors import HeadraceError
from headrace_api.home import Home
from headrace_bus.client.identity import Identities
from headrace_bus.client.roles import Role
from headrace_bus.client.server import EmbeddedServer
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

READY_BOUND_S: Final = 30.0  # for control and the ingress together, on a first start
BACKOFF_FIRST_S: Final = 1.0
BACKOFF_LAST_S: Final = 30.0
NATS: Final = "nats-server"


class UpFailed(errors.CommandError):
    """The platform did not become ready; what this `up` started has been ended."""

    exit_code = errors.OPERATION_FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `headrace up` was asked for."""

    home: Home
    ports: Ports
    given: frozenset[str] = frozenset()
    """Ports that were named on the command line; a running service that has others is replaced."""
    nats_port: int = 0
    nats_url: str = ""
    """An outside server; empty starts the embedded one."""
    nats_credentials: Path | None = None
    version: str = ""


class Supervisor:
    """One `headrace up`."""

    def __init__(self, plan: Plan, say: Listener) -> None:
        self._plan = plan
        self._home = plan.home
        self._say = say
        self._server = None if plan.nats_url else EmbeddedServer(plan.home, plan.nats_port)
        self._services: list[ServiceProcess] = []
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._tasks = Tasks("supervisor")
        self._card: StatusFile | None = None

    async def run(self) -> None:
        """Start, keep running until a signal, stop. Raises UpFailed when it cannot start."""
        self._listen_for_signals()
        began = time.monotonic()
        self._say("starting", version=self._plan.version, home=str(self._home.root))
        with ExitStack() as claimed:
            plan = self._plan
            ports = await settle_ports(self._home, plan.ports, plan.given, claimed, self._hurry)
            await self._start_or_end(ports, claimed, began)
        await self._stop.wait()
        await self._stop_all()
        self._say("stopped")

    async def _start_or_end(self, ports: Ports, claimed: ExitStack, began: float) -> None:
        try:
            async with asyncio.timeout(READY_BOUND_S):
                await self._start(ports, claimed, began)
        except TimeoutError:
            await self._undo()
            raise UpFailed(
                f"the platform was not ready within {READY_BOUND_S:.0f} s",
                hint=f"the logs are in {self._home.run}",
            ) from None
        except (HeadraceError, OSError):
            await self._undo()
            raise

    async def _start(self, ports: Ports, claimed: ExitStack, began: float) -> None:
        url, credentials = await self._start_nats()
        claimed.close()  # not before: NATS may take a free port of its own
        self._services = self._planned(ports, url, credentials)
        self._write_card("starting", ports, url)
        starting = asyncio.create_task(self._start_services(), name="supervisor:start")
        stopped = self._tasks.start(self._stop.wait(), "stop")
        both: set[asyncio.Task[Any]] = {starting, stopped}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not starting.done():
            starting.cancel()
            return
        starting.result()
        status_file = self._write_card("running", ports, url)
        self._say("ready", seconds=round(time.monotonic() - began, 3), card=status_file)
        for service in self._services:
            self._tasks.start(self._keep(service), service.name)
        if self._server is not None:
            self._tasks.start(self._keep_nats(self._server), NATS)

    async def _start_services(self) -> None:
        await asyncio.gather(*(self._start_service(service) for service in self._services))

    async def _start_nats(self) -> tuple[str, Path | None]:
        if self._server is None:
            return self._plan.nats_url, self._plan.nats_credentials
        began = time.monotonic()
        await self._server.start()
        self._say(
            "part_ready",
            part=NATS,
            address=self._server.url.removeprefix("nats://"),
            seconds=round(time.monotonic() - began, 3),
            adopted=self._server.adopted,
            pid=self._server.pid,
        )
        identities = Identities(self._home)
        for role in (Role.CONTROL, Role.INGRESS, Role.ROUTER, Role.CALLER):
            identities.ensure_role(role)
        return self._server.url, None

    def _planned(self, ports: Ports, url: str, credentials: Path | None) -> list[ServiceProcess]:
        status_file = StatusFile.of(self._home, ports, state="starting", nats_url=url)
        public = {
            "HEADRACE_CONTROL_URL": status_file.control_url,
            "HEADRACE_INGRESS_URL": status_file.ingress_url,
        }

        def bus(role: Role) -> dict[str, str]:
            own = self._home.credentials / f"{role}.creds" if self._server else None
            file = credentials or own
            return {"--nats": url} | ({"--nats-creds": str(file)} if file else {})

        control = bus(Role.CONTROL) | _flags("control", ports)
        ingress = bus(Role.INGRESS) | _flags("ingress", ports)
        return [
            ServiceProcess(
                name="control",
                home=self._home,
                flags=control,
                probe_port=ports.control,
                tls=True,
                environment=public,
            ),
            ServiceProcess(
                name="ingress",
                home=self._home,
                flags=ingress,
                probe_port=ports.http,
                tls=False,
                environment=public,
            ),
        ]

    async def _start_service(self, service: ServiceProcess) -> None:
        began = time.monotonic()
        await self._adopt_or_spawn(service)
        if not await service.until_ready():
            raise UpFailed(
                f"{service.name} exited while starting",
                detail=service.words(),
                hint=f"the whole log is {service.log}",
            )
        self._say(
            "part_ready",
            part=service.name,
            address=service.address,
            seconds=round(time.monotonic() - began, 3),
            adopted=service.adopted,
            pid=service.process.pid if service.process else 0,
        )

    async def _adopt_or_spawn(self, service: ServiceProcess) -> None:
        running = services.found(service.name, self._home)
        # Another server address would leave the service talking to nobody.
        if len(running) == 1 and services.flag_of(running[0], "--nats") == service.flags["--nats"]:
            service.process, service.adopted = running[0], True
            return
        await services.end(running, self._hurry)
        service.spawn()

    async def _keep(self, service: ServiceProcess) -> None:
        """Restart a service whenever it ends: at once after a life that was ready, else later."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            await service.gone()
            if self._stop.is_set():
                return
            log.warning("a service exited and is being restarted", service=service.name)
            self._say("part_lost", part=service.name)
            service.spawn()
            if await service.until_ready():
                backoff_s = BACKOFF_FIRST_S
            else:
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_LAST_S)

    async def _keep_nats(self, server: EmbeddedServer) -> None:
        backoff_s = BACKOFF_FIRST_S
        while True:
            await server.failure()
            if self._stop.is_set():
                return
            log.warning("a service exited and is being restarted", service=NATS)
            self._say("part_lost", part=NATS)
            try:
                await server.restart()
                backoff_s = BACKOFF_FIRST_S
            except HeadraceError as error:
                log.warning("nats-server could not be restarted", reason=error.message)
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_LAST_S)

    async def _undo(self) -> None:
        """After a start that failed: end what it started. What was found running may serve: it
        goes on, with NATS.
        """
        found = [service.name for service in self._services if service.adopted]
        if self._server is not None and self._server.adopted:
            found.append(NATS)
        if not found:
            await self._stop_all()
            return
        self._stop.set()
        await self._tasks.stop()
        ours = [one.process for one in self._services if one.process and not one.adopted]
        await services.end(ours, self._hurry)
        self._say("left_running", parts=found)
        if self._card is not None:
            with suppress(OSError):
                replace(self._card, state="degraded", pid=0).write(self._home)

    async def _stop_all(self) -> None:
        """The ingress drains, control goes so that nothing is restarted, scorers drain, NATS."""
        self._stop.set()
        await self._tasks.stop()
        if self._card is not None:
            self._card = replace(self._card, state="stopping")
            with suppress(OSError):  # a full disk must not hold up the end
                self._card.write(self._home)
        for name in ("ingress", "router", "control"):
            await self._end(name)
        killed = await stop_instances(self._home, self._hurry, self._told)
        if killed:
            self._say("stopping", what=f"{killed} instances did not drain in time")
        if self._server is not None:
            self._told(NATS)
            await self._server.stop()
        if self._card is not None:
            with suppress(OSError):
                replace(self._card, state="down", pid=0).write(self._home)

    async def _end(self, name: str) -> None:
        targets = services.found(name, self._home)
        if targets:
            self._told(f"{name} drains" if name != "control" else "control")
            await services.end(targets, self._hurry)
        for service in self._services:
            service.alive()  # reaps

    def _told(self, what: str) -> None:
        self._say("stopping", what=what)

    def _write_card(self, state: str, ports: Ports, url: str) -> StatusFile:
        self._card = StatusFile.of(self._home, ports, state=state, nats_url=url)
        self._card.write(self._home)
        return self._card

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()


def _flags(service: str, ports: Ports) -> dict[str, str]:
    return {flag: str(getattr(ports, name)) for name, flag in PORT_FLAGS[service]}
