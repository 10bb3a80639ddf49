"""A control that is killed while it collects, at each of its steps, while others upload and create.

A proxy before NATS knows the step by what control is about to write, and holds it there.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace_api.home import Home
from headrace_bus.client.connection import Bus
from headrace_bus.client.settings import BusSettings
from headrace_bus.store.blob_index import BlobEntry, BlobIndex
from headrace_bus.store.blobs import FolderBlobs
from headrace_bus.store.bucket import Bucket
from headrace_state.records import Spec, asset_key
from headrace_state.repository import Repository
from support.control import ControlClient
from support.control_process import control_process
from support.nats_server import NatsServer
from support.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]

LONG_AGO = datetime.now(UTC) - timedelta(days=30)
STORE = "azureml-blobstore"
FILES = {f"m/{n}.bin": f"weights {n}".encode() for n in "abc"}
PATHS = "azureml://datastores/workspaceblobstore/paths/LocalUpload"
CONDEMNED = b"HPUB $KV.state.condemned."
NAMES = b"HPUB $KV.blobs."
VERSION = b"HPUB $KV.spec.asset."
LOOK = b'"last_by_subj": "$KV.state.condemned.'
FULL = pytest.mark.full
STEPS = [
    pytest.param(CONDEMNED, 0, id="before-it-is-condemned", marks=FULL),
    pytest.param(CONDEMNED, 1, id="condemned"),
    pytest.param(NAMES, 0, id="doomed", marks=FULL),
    pytest.param(NAMES, 1, id="one-name-gone"),
    pytest.param(NAMES, 2, id="two-names-gone", marks=FULL),
    pytest.param(CONDEMNED, 2, id="all-names-gone", marks=FULL),
]
RACES = [
    pytest.param(CONDEMNED, 1, id="condemned", marks=FULL),
    pytest.param(NAMES, 0, id="doomed", marks=FULL),
    pytest.param(NAMES, 1, id="one-name-gone"),
    pytest.param(CONDEMNED, 2, id="all-names-gone", marks=FULL),
]
BOUND_S = 60.0


@dataclass(frozen=True, slots=True)
class Desk:
    """What lies in the stores since a month, and a look at it past control."""

    server: NatsServer
    home: Path
    names: Bucket
    states: Bucket
    specs: Repository[Spec]
    blobs: FolderBlobs

    async def upload(self, unit: str) -> None:
        index = BlobIndex(self.names)
        for name, data in FILES.items():
            stored = await self.blobs.put(_once(unit.encode() + data))
            os.utime(self.blobs.path(stored.digest), (LONG_AGO.timestamp(),) * 2)
            metadata = {"upload_status": "completed"} if name == "m/a.bin" else {}
            entry = BlobEntry(digest=stored.digest, size_bytes=stored.size_bytes, metadata=metadata)
            await index.put(STORE, f"LocalUpload/{unit}/{name}", entry)
        for key, record in (await self.names.list("blob")).items():
            aged = json.loads(record.value) | {"modified": LONG_AGO.isoformat()}
            await self.names.update(key, json.dumps(aged).encode(), record.revision)

    async def version(self, name: str, unit: str) -> None:
        arm = {"properties": {"modelUri": f"{PATHS}/{unit}/m"}, "version": "1"}
        await self.specs.create(asset_key("models", name, "1"), Spec(name=name, arm=arm))

    async def files(self, unit: str) -> dict[str, bytes]:
        """What is there of an upload, by name, with its bytes."""
        found = {}
        for name, entry in (await BlobIndex(self.names).containers()).get(STORE, []):
            if name.startswith(f"LocalUpload/{unit}/"):
                data = b"".join([chunk async for chunk in self.blobs.read(entry.digest)])
                found[name.removeprefix(f"LocalUpload/{unit}/")] = data
        return found

    async def digests(self) -> int:
        return len([one async for one in self.blobs.digests()])


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
async def desk(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[Desk]:
    bus = await Bus.connect(BusSettings(url=nats_server.url, name="test"))
    specs, states, names = [await Bucket.open(bus, one) for one in ("spec", "state", "blobs")]
    home = tmp_path / "home"
    made = Desk(
        nats_server, home, names, states, Repository(specs, Spec), FolderBlobs(Home(home).blobs)
    )
    await made.upload("kept")
    await made.upload("gone")
    await made.version("words", "kept")
    yield made
    await bus.close()


def whole(unit: str) -> dict[str, bytes]:
    return {name: unit.encode() + data for name, data in FILES.items()}


async def killed_at(desk: Desk, mark: bytes, skip: int) -> None:
    """A control that collects, killed in front of this write."""
    async with (
        TcpProxy(desk.server.port) as proxy,
        control_process(desk.home, proxy.url) as control,
    ):
        proxy.hold_from(mark, skip=skip)
        asking = asyncio.create_task(control.client.post("/collectGarbage", {}))
        await asyncio.wait_for(proxy.held.wait(), BOUND_S)
        await control.kill()
        await asyncio.gather(asking, return_exceptions=True)


async def collected(client: ControlClient) -> None:
    """A whole run after this moment."""
    async with asyncio.timeout(BOUND_S):
        while (reply := await client.post("/collectGarbage", {})).status == 409:
            pass
    assert reply.status == 200, reply.data


@pytest.mark.parametrize(("mark", "skip"), STEPS)
async def test_after_a_kill_the_next_run_takes_what_is_left_and_nothing_else(
    desk: Desk, mark: bytes, skip: int
) -> None:
    await killed_at(desk, mark, skip)

    async with control_process(desk.home, desk.server.url) as control:
        await collected(control.client)

    assert await desk.files("gone") == {}
    assert await desk.files("kept") == whole("kept")
    assert await desk.digests() == len(FILES)
    assert await desk.states.list("condemned") == {}


async def _created(client: ControlClient, name: str, *, upload: bool) -> bool:
    """One try of a client that believes its files to be there, or puts them there first."""
    if upload:
        secrets = await client.post("/datastores/workspaceblobstore/listSecrets", {})
        for file, data in whole("gone").items():
            url = f"//blob/default/{STORE}/LocalUpload/gone/{file}?{secrets.json['sasToken']}"
            await client.send("PUT", url, data=data)
    body = {"properties": {"modelUri": f"{PATHS}/gone/m"}}
    reply = await client.put(f"/models/{name}/versions/1", body)
    assert reply.status in (200, 201, 400, 409), reply.data
    return reply.status < 300


@pytest.mark.parametrize(("mark", "skip"), RACES)
async def test_uploads_and_creates_race_a_killed_run_and_the_next_and_lose_nothing(
    desk: Desk, mark: bytes, skip: int
) -> None:
    await killed_at(desk, mark, skip)
    taken: list[str] = []

    async def race(client: ControlClient, who: str, *, upload: bool) -> None:
        names = [f"{who}-{n}" for n in range(12)]
        taken.extend([one for one in names if await _created(client, one, upload=upload)])

    async with control_process(desk.home, desk.server.url) as control:
        client = control.client
        await asyncio.gather(
            race(client, "believes", upload=False),
            race(client, "uploads", upload=True),
            *(collected(client) for _ in range(3)),
        )
        await collected(client)

    assert "uploads-11" in taken
    for name in taken:
        assert await desk.specs.get(asset_key("models", name, "1")) is not None
    assert await desk.files("gone") == whole("gone")
    assert await desk.files("kept") == whole("kept")


async def test_a_version_whose_writer_was_killed_too_is_not_answered_with_half_its_files(
    desk: Desk,
) -> None:
    """One control dies in the middle of deleting, another between the version and its look."""
    async with (
        TcpProxy(desk.server.port) as one,
        TcpProxy(desk.server.port) as other,
        control_process(desk.home, other.url) as creator,
        control_process(desk.home, one.url) as collector,
    ):
        one.hold_from(NAMES, skip=1)
        asking = asyncio.create_task(collector.client.post("/collectGarbage", {}))
        await asyncio.wait_for(one.held.wait(), BOUND_S)
        other.hold_from(LOOK)
        creating = asyncio.create_task(_created(creator.client, "late", upload=False))
        await asyncio.wait_for(other.held.wait(), BOUND_S)
        await creator.kill()
        await collector.kill()
        await asyncio.gather(asking, creating, return_exceptions=True)
    assert await desk.specs.get(asset_key("models", "late", "1")) is not None
    assert len(await desk.files("gone")) == 2

    async with control_process(desk.home, desk.server.url) as control:
        await collected(control.client)
        again = await _created(control.client, "late", upload=False)
        left = await desk.files("gone")
        assert left == (whole("gone") if again else {}), (again, sorted(left))
        assert await _created(control.client, "late", upload=True)

    assert await desk.files("gone") == whole("gone")
