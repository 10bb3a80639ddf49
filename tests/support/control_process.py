"""`headrace run control` as a process that a test may kill."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from inspect import isawaitable
from pathlib import Path
from typing import Any, Final

import aiohttp

from headrace_api.home import Home
from support.control import ControlClient

START_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.02


class ControlProcess:
    """One process; `client` speaks to it."""

    def __init__(self, process: asyncio.subprocess.Process, client: ControlClient) -> None:
        self.process = process
        self.client = client

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def control_process(home: Path, nats_url: str) -> AsyncIterator[ControlProcess]:
    """Start one and wait until it is ready; killed at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = ("-m", "headrace", "run", "control")
    flags = ("--home", str(home), "--nats", nats_url, "--port", str(port))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, *flags, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _until(lambda: (home / "ca.pem").exists() and (home / "token").exists(), process)
        context = ssl.create_default_context(cafile=home / "ca.pem")
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            client = ControlClient(f"https://localhost:{port}", Home(home), session)
            await _until(lambda: _is_ready(client), process)
            yield ControlProcess(process, client)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until(condition: Callable[[], Any], process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            found = condition()
            if await found if isawaitable(found) else found:
                return
            assert process.returncode is None, "control ended before it was ready"
            await asyncio.sleep(POLL_S)


async def _is_ready(client: ControlClient) -> bool:
    try:
        async with client.session.get(f"{client.base}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
