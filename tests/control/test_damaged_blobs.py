"""A name in the blob store that cannot be read hides no other, and nothing is served without it."""

from __future__ import annotations

from typing import Final

import pytest

from headrace_api.names import token
from support.control import ControlClient
from support.damage import damage
from support.nats_server import NatsServer
from support.resources import deployment_body, endpoint_body, upload_code, upload_model

DATA: Final = {
    "of another kind": b'{"seq": 1}',
    "no text": b"\xff\xfe{",
    "a list": b"[]",
    "a number where a word is due": b'{"digest": 1, "size_bytes": 1}',
    "no time": b'{"digest": "00", "size_bytes": 1, "modified": "noon"}',
    "metadata of another kind": b'{"digest": "00", "size_bytes": 1, "metadata": []}',
}
STORE: Final = "azureml-blobstore"
URL: Final = f"//blob/default/_.blob.core.windows.net/{STORE}"


def key_of(container: str, *parts: str) -> str:
    return ".".join(("blob", *(token(part) for part in (container, *parts))))


async def signed(control: ControlClient) -> str:
    secrets = await control.post("/datastores/workspaceblobstore/listSecrets", {})
    return str(secrets.json["sasToken"])


@pytest.mark.parametrize("data", DATA.values(), ids=DATA.keys())
async def test_a_list_shows_the_others_and_the_damaged_one_is_put_right_or_deleted(
    control: ControlClient, nats_server: NatsServer, data: bytes
) -> None:
    sas = await signed(control)
    for name in ("LocalUpload/h/a", "LocalUpload/h/b"):
        assert (await control.send("PUT", f"{URL}/{name}?{sas}", data=b"1")).status == 201
    await damage(nats_server.url, "blobs", key_of(STORE, "LocalUpload", "h", "a"), data)
    one = f"{URL}/LocalUpload/h/a?{sas}"

    listed = await control.get(f"{URL}?restype=container&comp=list&{sas}")
    asked = await control.get(one)

    assert listed.status == 200, listed.data
    assert b"LocalUpload/h/b" in listed.data
    assert b"LocalUpload/h/a" not in listed.data
    assert asked.status == 500
    only_new = {"If-None-Match": "*"}
    assert (await control.send("PUT", one, data=b"2", headers=only_new)).status == 201
    assert (await control.get(one)).data == b"2"
    await damage(nats_server.url, "blobs", key_of(STORE, "LocalUpload", "h", "a"), data)
    assert (await control.send("DELETE", one)).status == 202
    assert (await control.get(one)).status == 404


async def test_a_model_of_which_a_file_cannot_be_read_is_not_served_without_it(
    control: ControlClient, nats_server: NatsServer
) -> None:
    uri = await upload_model(control, "m", b"1")
    await damage(nats_server.url, "blobs", key_of(STORE, "LocalUpload", "m", "more.bin"))
    await control.put("/models/m/versions/1", {"properties": {"modelUri": uri}})
    code = await upload_code(control, {"score.py": b"def init(): ...\ndef run(x): ...\n"})
    await control.created("/onlineEndpoints/iris", endpoint_body())
    path = "/onlineEndpoints/iris/deployments/blue"

    body = deployment_body(code, model="azureml:m:1")
    ended = await control.finished(await control.put(path, body))

    assert ended["status"] == "Failed"
    assert "more.bin" in ended["error"]["message"]
    assert (await control.finished(await control.send("DELETE", "/onlineEndpoints/iris")))[
        "status"
    ] == "Succeeded"
