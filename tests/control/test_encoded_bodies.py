"""Compressed bodies: nothing of control unpacks what anybody may send."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from support.control import WORKSPACE, ControlClient

MIB = 1024 * 1024


def bomb() -> bytes:
    """A gigabyte of zeros, as one megabyte."""
    packer = zlib.compressobj(9, wbits=31)
    zeros = b"\0" * MIB
    return b"".join([*(packer.compress(zeros) for _ in range(1024)), packer.flush()])


@pytest.fixture(scope="module")
def packed() -> bytes:
    return bomb()


@pytest.mark.parametrize(
    "path",
    [f"//{WORKSPACE[1:]}/onlineEndpoints/x", "//healthz", "//nowhere", "//oauth2/v2.0/token"],
)
@pytest.mark.parametrize("method", ["PUT", "POST", "GET"])
async def test_a_compressed_body_is_refused_unread(
    control: ControlClient, packed: bytes, method: str, path: str
) -> None:
    asked = control.send(
        method, path, data=packed, headers={"Authorization": "", "Content-Encoding": "gzip"}
    )
    during = [asyncio.create_task(asked)]
    while not during[0].done():
        health = await control.send("GET", "//healthz", headers={"Authorization": ""})
        assert health.status == 200
    reply = await during[0]

    assert (reply.status, reply.code) == (415, "UnsupportedMediaType")
    assert reply.headers["Accept-Encoding"] == "identity"
    assert reply.headers["Connection"] == "close"


async def test_a_blob_keeps_its_bytes_as_they_were_sent(control: ControlClient) -> None:
    data = gzip.compress(b"a model in a gzip file")
    body = {"expirableSecret": True, "expireAfterHours": 1}
    secrets = await control.post("/datastores/workspaceblobstore/listSecrets", body)
    path = f"//blob/default/azureml-blobstore/model.gz?{secrets.json['sasToken']}"

    put = await control.send(
        "PUT", path, data=data, headers={"Authorization": "", "Content-Encoding": "gzip"}
    )
    got = await control.send("GET", path, headers={"Authorization": ""})

    assert put.status == 201
    assert got.data == data


async def test_an_uncompressed_body_may_say_so(control: ControlClient) -> None:
    reply = await control.send(
        "POST", "/onlineEndpoints/missing/listKeys", {}, headers={"Content-Encoding": "identity"}
    )
    assert (reply.status, reply.code) == (404, "ResourceNotFound")
