"""The embedded server in a temporary home and buses of any role on it, for tests of every room."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from headrace_api.home import Home
from headrace_bus.client.connection import Bus
from headrace_bus.client.identity import Identities
from headrace_bus.client.roles import Role
from headrace_bus.client.server import EmbeddedServer
from headrace_bus.client.settings import BusSettings
from headrace_bus.wire.subjects import InstanceAddress


class PlatformNats:
    """One server; its buses are closed with it."""

    def __init__(self, home: Home, server: EmbeddedServer, stack: AsyncExitStack) -> None:
        self.home = home
        self.server = server
        self.identities = Identities(home)
        self._stack = stack

    async def bus(self, role: Role | str = Role.CONTROL, *, name: str = "") -> Bus:
        """A new connection with the rights of a service."""
        return await self._connect(self.identities.mint_role(role), name or str(role))

    async def instance_bus(self, address: InstanceAddress) -> Bus:
        """A new connection with the rights of one instance."""
        file = self.home.root / f"{address.iid}.creds"
        file.write_text(self.identities.mint_instance(address))
        return await self._connect(file, f"inst:{address.iid}")

    async def kill(self) -> None:
        """SIGKILL the server and wait until it is gone; the store stays."""
        os.kill(self.server.pid, signal.SIGKILL)
        await self.server.wait()

    async def restart(self) -> None:
        """Start it again on its port and store."""
        await self.server.restart()

    async def _connect(self, credentials: Path, name: str) -> Bus:
        bus = await Bus.connect(
            BusSettings(url=self.server.url, name=name, credentials=credentials)
        )
        self._stack.push_async_callback(bus.close)
        return bus


@asynccontextmanager
async def platform_nats(home: Home | None = None) -> AsyncIterator[PlatformNats]:
    """Run the embedded server; a home of its own is made and removed when none is given."""
    async with AsyncExitStack() as stack:
        if home is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-"))
            home = Home(Path(folder) / "home")
        server = EmbeddedServer(home)
        await server.start()
        stack.push_async_callback(server.stop)
        yield PlatformNats(home, server, stack)
