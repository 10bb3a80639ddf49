"""The NATS of a chaos run: one node or three on loopback, each behind a cutting proxy."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Final, Self

from chaos.cutting_proxy import CuttingProxy, Switch
from headrace_api.home import Home
from headrace_bus.client.credentials import Credentials
from headrace_bus.client.identity import Identities
from headrace_bus.client.roles import Role
from headrace_bus.client.server import accepts

READY_S: Final = 30.0  # also the end of a lame duck, which closes one client a second
_CONFIG: Final = """\
listen: "127.0.0.1:{port}"
server_name: "node{number}"
max_payload: 8MB
ping_interval: "5s"
ping_max: 2
lame_duck_grace_period: "1s"
lame_duck_duration: "30s"
feature_flags {{ js_ack_fc_v2: false }}
jetstream {{ store_dir: "{folder}/node{number}", sync_interval: "1s" }}
operator: {operator}
system_account: {system}
resolver: MEMORY
resolver_preload: {{
{accounts}
}}
{cluster}
"""


class NatsNodes:
    """Servers of the identities below `home`. Use as a context; `url` leads through the proxies."""

    def __init__(self, home: Home, count: int, switch: Switch) -> None:
        self._identities = Identities(home)
        self._folder = home.nats
        self._switch = switch
        free = _free_ports(2 * count)
        self._ports, self._routes = free[:count], free[count:]
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * count
        self._proxies: list[CuttingProxy] = []
        self._stack = AsyncExitStack()
        for role in (Role.CONTROL, Role.INGRESS, Role.ROUTER, Role.CALLER):
            self._identities.mint_role(role)

    @property
    def url(self) -> str:
        return ",".join(f"nats://127.0.0.1:{proxy.port}" for proxy in self._proxies)

    @property
    def pids(self) -> list[int]:
        return [one.pid for one in self._processes if one is not None]

    async def __aenter__(self) -> Self:
        for number in range(len(self._ports)):
            self._spawn(number)
        for port in self._ports:
            await self._until_ready(port)
            proxy = CuttingProxy(port, self._switch)
            self._proxies.append(await self._stack.enter_async_context(proxy))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        for number in range(len(self._ports)):
            self._end(number, signal.SIGTERM)

    async def again(self, pid: int, number: signal.Signals) -> None:
        """End a node by the signal and start it anew on its port and store."""
        which = next(n for n, one in enumerate(self._processes) if one and one.pid == pid)
        await asyncio.to_thread(self._end, which, number)
        self._spawn(which)
        await self._until_ready(self._ports[which])

    def _spawn(self, number: int) -> None:
        config = self._folder / f"node{number}.conf"
        config.write_text(self._configuration(number))
        with (self._folder / f"node{number}.log").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [_binary(), "-c", str(config)], stdout=log, stderr=log, start_new_session=True
            )

    def _end(self, number: int, how: signal.Signals) -> None:
        process = self._processes[number]
        if process is None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(READY_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    async def _until_ready(self, port: int) -> None:
        credentials = Credentials.parse(self._identities.role_credentials(Role.ADMIN))
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            try:
                async with asyncio.timeout(1.0):
                    if await accepts(port, credentials):
                        return
            except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
                pass
            await asyncio.sleep(0.05)
        raise RuntimeError(f"the NATS node on port {port} does not answer")

    def _configuration(self, number: int) -> str:
        accounts = self._identities.account_jwts().items()
        return _CONFIG.format(
            port=self._ports[number],
            number=number,
            folder=self._folder,
            operator=self._identities.operator_jwt(),
            system=self._identities.system.public,
            accounts="\n".join(f"  {public}: {signed}" for public, signed in accounts),
            cluster=self._cluster(number),
        )

    def _cluster(self, number: int) -> str:
        if len(self._ports) == 1:
            return ""
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in self._routes)
        # Clients must not learn of a way round the proxies.
        return (
            f'cluster {{ name: "chaos", listen: "127.0.0.1:{self._routes[number]}", '
            f"no_advertise: true, routes: [{routes}] }}"
        )


def _binary() -> str:
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("nats-server", path=beside)
    if found is None:
        raise RuntimeError("nats-server is not installed")
    return found


def _free_ports(count: int) -> list[int]:
    """All different: each is held until the last is chosen."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
