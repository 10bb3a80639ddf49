"""A running control process of a test's own, in the test's loop, and an HTTPS client for it."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import yarl

from headrace_api.home import Home
from headrace_services.control import app
from headrace_services.control.settings import Settings

READY_TIMEOUT_S: Final = 30.0
POLL_S: Final = 0.02
WORKSPACE: Final = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/local"
    "/providers/Microsoft.MachineLearningServices/workspaces/default"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def code(self) -> str:
        """Of an ARM error; fails when the body is not one."""
        error = self.json["error"]
        assert set(error) == {"code", "message", "target", "details"}, error
        assert error["message"], error
        return str(error["code"])


class ControlClient:
    """Speaks ARM with the admin's token."""

    def __init__(self, base: str, home: Home, session: aiohttp.ClientSession) -> None:
        self.base = base
        self.home = home
        self.session = session
        self.token = home.token.read_text().strip()

    async def connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which a test says its own bytes."""
        context = ssl.create_default_context(cafile=self.home.ca)
        return await asyncio.open_connection("localhost", yarl.URL(self.base).port, ssl=context)

    async def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> Reply:
        """`path` is below the workspace unless it is a URL or begins with '//'."""
        all_headers = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        if body is not None:
            data = json.dumps(body).encode()
            all_headers.setdefault("Content-Type", "application/json")
        if isinstance(data, bytes):
            data = io.BytesIO(data)
        async with self.session.request(
            method, self.url(path), data=data, headers=all_headers
        ) as response:
            return Reply(
                status=response.status, headers=response.headers, data=await response.read()
            )

    def url(self, path: str) -> yarl.URL:
        if path.startswith(("https://", "http://")):
            return yarl.URL(path, encoded=True)
        below = path[1:] if path.startswith("//") else WORKSPACE + path
        return yarl.URL(self.base + below, encoded=True)

    async def get(self, path: str) -> Reply:
        return await self.send("GET", path)

    async def put(self, path: str, body: object, **headers: str) -> Reply:
        return await self.send("PUT", path, body, headers=headers)

    async def refuses(self, path: str, properties: object) -> None:
        """Assert that a PUT of these is refused and leaves nothing."""
        reply = await self.put(path, {"properties": properties})
        assert reply.status in (400, 404)
        assert reply.code in ("BadArgument", "ResourceNotFound")
        assert (await self.get(path)).status == 404

    async def post(self, path: str, body: object = None) -> Reply:
        return await self.send("POST", path, body)

    async def finished(self, reply: Reply, timeout_s: float = 30.0) -> dict[str, Any]:
        """Poll the operation of an answer as an ARM client does, until it is over."""
        async with asyncio.timeout(timeout_s):
            while True:
                found = await self.get(reply.headers["Azure-AsyncOperation"])
                assert found.status == 200, found.data
                if found.json["status"] != "InProgress":
                    body: dict[str, Any] = found.json
                    return body
                assert found.headers["Retry-After"]
                await asyncio.sleep(POLL_S)

    async def created(self, path: str, body: object) -> dict[str, Any]:
        """PUT, wait for the end, and return the resource."""
        reply = await self.put(path, body)
        assert reply.status in (200, 201), reply.data
        if "Azure-AsyncOperation" in reply.headers:
            ended = await self.finished(reply)
            assert ended["status"] == "Succeeded", ended
        resource: dict[str, Any] = (await self.get(path)).json
        return resource


class RunningControl:
    """The process' whole life, in a task of the test's loop."""

    def __init__(self, home: Path, nats_url: str, port: int = 0, **settings: Any) -> None:
        self._settings = settings
        self.home = Home(home)
        self._nats_url = nats_url
        self.port = port
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> Self:
        settings = Settings(
            home=self.home,
            nats_url=self._nats_url,
            port=self.port,
            **self._settings,
        )
        bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        work = app.run(settings, self._stop, on_ready=bound.set_result)
        self._task = asyncio.create_task(work, name="control")
        async with asyncio.timeout(READY_TIMEOUT_S):
            waited: set[asyncio.Future[Any]] = {self._task, bound}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task
        self.port = bound.result()
        return self

    async def stop(self) -> None:
        self._stop.set()
        if self._task is not None:
            await self._task


@asynccontextmanager
async def running_control(
    home: Path, nats_url: str, port: int = 0, **settings: Any
) -> AsyncIterator[ControlClient]:
    """Start with these fields of its Settings, hand out a client, stop."""
    control = RunningControl(home, nats_url, port, **settings)
    await control.start()
    context = ssl.create_default_context(cafile=control.home.ca)
    connector = aiohttp.TCPConnector(ssl=context)
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            yield ControlClient(f"https://localhost:{control.port}", control.home, session)
    finally:
        await control.stop()
