"""A full disk is told as 507, and what failed for want of room takes none."""

from __future__ import annotations

import base64
import errno
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from headrace_bus.errors import JetStreamRefused
from headrace_services.control.arm.errors import arm_errors
from support.control import ControlClient, Reply, running_control
from support.limits import room
from support.nats_server import NatsServer

MIB = 1024 * 1024
PATH = "//blob/default/azureml-blobstore/large"


class Upload:
    """Of one blob; files lie below `home`."""

    def __init__(self, control: ControlClient, sas: str, home: Path) -> None:
        self._control = control
        self._sas = sas
        self._home = home

    async def block(self, number: int) -> Reply:
        return await self._put(f"comp=block&blockid={quote(_id(number))}", bytes(MIB))

    async def finish(self, count: int) -> Reply:
        tags = "".join(f"<Latest>{_id(number)}</Latest>" for number in range(count))
        return await self._put("comp=blocklist", f"<BlockList>{tags}</BlockList>".encode())

    async def whole(self) -> Reply:
        return await self._put("", bytes(2 * MIB))

    async def _put(self, query: str, data: bytes) -> Reply:
        path = f"{PATH}?{query}&{self._sas}"
        return await self._control.send("PUT", path, data=data, headers={"Authorization": ""})

    def files(self) -> list[Path]:
        folders = (self._home / "blobs" / "blocks", self._home / "blobs" / "incoming")
        return [file for folder in folders for file in folder.rglob("*") if file.is_file()]


def _id(number: int) -> str:
    return base64.b64encode(b"%05d" % number).decode()


@pytest.fixture
async def upload(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[Upload]:
    async with running_control(tmp_path / "home", nats_server.url) as control:
        body = {"expirableSecret": True, "expireAfterHours": 1}
        secrets = await control.post("/datastores/workspaceblobstore/listSecrets", body)
        yield Upload(control, secrets.json["sasToken"], tmp_path / "home")


def told_so(reply: Reply) -> bool:
    return reply.status == 507 and reply.headers["x-ms-error-code"] == "InsufficientStorage"


async def test_a_block_without_room_ends_its_upload(upload: Upload) -> None:
    assert (await upload.block(0)).status == 201
    with room(MIB // 2):
        assert told_so(await upload.block(1))
    assert upload.files() == []

    assert (await upload.block(1)).status == 201, "as a client that tries again does"
    assert told_so(await upload.finish(2)), "the first block is gone, and why is known"
    assert [(await upload.block(number)).status for number in range(2)] == [201, 201]
    assert (await upload.finish(2)).status == 201


async def test_a_blob_without_room_leaves_nothing(upload: Upload) -> None:
    for number in range(2):
        assert (await upload.block(number)).status == 201
    with room(MIB + 1):
        assert told_so(await upload.finish(2))
        assert upload.files() == []
        assert told_so(await upload.whole())
    assert upload.files() == []
    assert (await upload.whole()).status == 201


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.ENOSPC, "full"), 507),
        (OSError(errno.EDQUOT, "quota"), 507),
        (OSError(errno.EIO, "broken"), 500),
        (JetStreamRefused.of("STREAM.CREATE.x", {"err_code": 10047}), 507),
        (JetStreamRefused.of("STREAM.CREATE.x", {"err_code": 10001}), 500),
    ],
)
async def test_any_route_says_what_is_full(error: Exception, status: int) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        raise error

    answer = await arm_errors(make_mocked_request("PUT", "/x"), handler)

    assert isinstance(answer, web.Response)
    assert isinstance(answer.body, bytes)
    assert answer.status == status
    code = "InsufficientStorage" if status == 507 else "InternalServerError"
    assert json.loads(answer.body)["error"]["code"] == code
