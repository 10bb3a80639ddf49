"""Bad input against a whole running platform over HTTPS, one test for each kind.

Here: that the running processes refuse it with the right words and go on. The rules themselves are
held elsewhere: paths, bodies and signatures in tests/control/test_wire_rules.py, bodies one by one
in test_documents.py, tokens in tests/identity/test_clients.py, the memory of an upload in
tests/control/test_blob_wire.py.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from headrace_api.home import Home
from headrace_services.control.identity.issuer import Issuer
from support.control import ControlClient, Reply
from support.identity import as_bearer, fetch_token, make_client
from support.platform import Platform, started, until_async
from support.resources import endpoint_body

EP = "/onlineEndpoints/bad-input"
CONTAINER = "azureml-blobstore"
ACCOUNT = "//blob/default/_.blob.core.windows.net"
JSON = "application/json"
NO_TOKEN = {"Authorization": ""}
TRICKS = ("..", "%2e%2e", "a%2fb", "a%5cb", "a%00b", "a%0ab", "%ff")
WRITERS = 8
LENGTH_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    yield from started(tmp_path_factory.mktemp("bad-input") / "home")


@pytest.fixture
async def control(world: Platform) -> AsyncIterator[ControlClient]:
    """A client of the platform; nothing it was sent may have been a 5xx, nor have ended control."""
    status = world.status()
    home = Home(Path(status["home"]))
    before = world.pids("run control")
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=status["ca_path"]))
    async with aiohttp.ClientSession(connector=connector) as session:
        client = ControlClient(status["control_url"], home, session)
        yield client
        assert (await client.send("GET", "//readyz")).json == {"ready": True}
    assert before
    assert world.pids("run control") == before
    assert "request failed" not in (home.root / "run" / "control.log").read_text()


async def _sas(control: ControlClient) -> str:
    secrets = await control.post("/datastores/workspaceblobstore/listSecrets", {})
    return str(secrets.json["sasToken"])


async def _blob(control: ControlClient, method: str, name: str, sas: str, **more: object) -> Reply:
    headers = NO_TOKEN | {key.replace("_", "-"): str(value) for key, value in more.items()}
    data = headers.pop("data", None)
    path = f"{ACCOUNT}/{CONTAINER}/{name}?{sas}"
    return await control.send(method, path, data=data.encode() if data else None, headers=headers)


@pytest.mark.parametrize(
    "path",
    [
        "/onlineEndpoints/nulls",
        "/models/nulls/versions/1",
        "/environments/nulls/versions/1",
        "/data/nulls/versions/1",
        "/components/nulls/versions/1",
        "/codes/nulls/versions/1",
        "/datastores/nulls",
        "/computes/nulls",
        "/schedules/nulls",
    ],
)
async def test_null_where_an_object_is_due_is_refused_and_nothing_is_kept(
    control: ControlClient, path: str
) -> None:
    whole = await control.send("PUT", path, data=b"null", headers={"Content-Type": JSON})
    within = await control.put(path, {"properties": None})

    assert (whole.status, whole.code) == (400, "BadArgument")
    assert (within.status, within.code) == (400, "BadArgument")
    assert "null" in within.json["error"]["message"]
    assert (await control.get(path)).status == 404


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data", ""])
async def test_a_body_of_another_content_type_is_refused(control: ControlClient, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {"Content-Type": "application/octet-stream"}
    reply = await control.send("PUT", EP, data=b'{"properties": {}}', headers=headers)

    assert (reply.status, reply.code) == (415, "UnsupportedMediaType")
    assert (await control.get(EP)).status == 404


async def test_an_expired_a_forged_and_a_lesser_token_change_nothing(
    control: ControlClient,
) -> None:
    client = await make_client(control, "owner")
    issuer = Issuer.open(control.home, control.base)
    stranger = Issuer(Ed25519PrivateKey.generate(), control.base)
    who, now_s = {"name": "x", "audience": control.base}, int(time.time())
    expired = issuer.client_token(client.id, **who, now_s=now_s - 7200).text
    forged = stranger.client_token(client.id, **who, now_s=now_s).text
    reader = await fetch_token(control, await make_client(control, "reader"))
    wanted = ((expired, 401, "Unauthorized"), (forged, 401, "Unauthorized"), (reader, 403, ""))

    for token, status, code in wanted:
        reply = await as_bearer(control, token, "PUT", EP, endpoint_body())
        assert (reply.status, reply.code) == (status, code or "Forbidden")
        assert token not in reply.data.decode()

    assert (await control.get(EP)).status == 404
    good = issuer.client_token(client.id, **who, now_s=now_s).text
    assert (await as_bearer(control, good, "GET", "/onlineEndpoints")).status == 200


async def test_of_two_writers_at_the_same_revision_one_is_told_and_nothing_is_lost(
    control: ControlClient,
) -> None:
    await control.created(EP, endpoint_body())
    etag = (await control.get(EP)).headers["ETag"]

    replies = await asyncio.gather(
        *(
            control.put(EP, endpoint_body(description=str(n)), **{"If-Match": etag})
            for n in range(WRITERS)
        )
    )

    won = [n for n, reply in enumerate(replies) if reply.status == 200]
    lost = [reply for reply in replies if reply.status != 200]
    assert len(won) == 1
    assert {(reply.status, reply.code) for reply in lost} == {(409, "Conflict")}
    assert (await control.finished(replies[won[0]]))["status"] == "Succeeded"
    assert (await control.get(EP)).json["properties"]["description"] == str(won[0])


async def test_a_client_that_leaves_in_the_middle_of_an_upload_leaves_nothing(
    control: ControlClient,
) -> None:
    sas, incoming = await _sas(control), control.home.blobs / "incoming"
    address = urlsplit(control.base)
    head = (
        f"PUT /blob/default/{CONTAINER}/half?{sas} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {LENGTH_BYTES}\r\n\r\n"
    )
    context = ssl.create_default_context(cafile=control.home.ca)
    _, writer = await asyncio.open_connection(address.hostname, address.port, ssl=context)
    writer.write(head.encode() + bytes(CHUNK_BYTES))
    await writer.drain()
    await until_async(lambda: any(incoming.iterdir()), "the upload to begin")

    writer.transport.abort()

    await until_async(lambda: not any(incoming.iterdir()), "the half of it to go")
    assert (await _blob(control, "HEAD", "half", sas)).status == 404


@pytest.mark.parametrize("name", TRICKS)
async def test_names_that_could_mean_another_place_are_refused(
    control: ControlClient, name: str
) -> None:
    sas = await _sas(control)
    files = set(control.home.root.rglob("*evil*"))

    for path in (f"/onlineEndpoints/{name}", f"/models/{name}/versions/1", f"/computes/{name}"):
        reply = await control.put(path, {"properties": {}})
        assert (reply.status, reply.code) == (400, "BadArgument"), path
    blob = await _blob(control, "PUT", f"{name}/evil", sas, data="x")
    assert (blob.status, b"<Error>" in blob.data) == (400, True)
    assert set(control.home.root.rglob("*evil*")) == files


async def test_a_signature_replayed_on_another_container_opens_nothing(
    control: ControlClient,
) -> None:
    sas = await _sas(control)
    pending = (await control.post("/codes/replay/versions/1/startPendingUpload", {})).json
    reference = pending["blobReferenceForConsumption"]
    own = str(reference["credential"]["sasUri"])
    base, _, own_sas = own.partition("?")
    put = await control.send("PUT", f"{base}/x?{own_sas}", data=b"own", headers=NO_TOKEN)
    assert put.status == 201, put.data

    for method, data in (("GET", None), ("PUT", b"replayed"), ("DELETE", None)):
        reply = await control.send(method, f"{base}/x?{sas}", data=data, headers=NO_TOKEN)
        assert (reply.status, reply.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
    back = await _blob(control, "GET", "x", own_sas)
    assert back.status == 403
    kept = await control.send("GET", f"{base}/x?{own_sas}", headers=NO_TOKEN)
    assert kept.data == b"own"


async def test_a_blob_that_changes_under_a_reader_is_a_412_and_never_a_mixture(
    control: ControlClient,
) -> None:
    sas = await _sas(control)
    await _blob(control, "PUT", "moving", sas, data="a" * 100)
    first = await _blob(control, "GET", "moving", sas, x_ms_range="bytes=0-49")
    etag = first.headers["ETag"]

    await _blob(control, "PUT", "moving", sas, data="b" * 100)
    rest = await _blob(control, "GET", "moving", sas, x_ms_range="bytes=50-99", If_Match=etag)
    anew = await _blob(control, "GET", "moving", sas)

    assert (first.status, first.data) == (206, b"a" * 50)
    assert (rest.status, rest.headers["x-ms-error-code"]) == (412, "ConditionNotMet")
    assert anew.data == b"b" * 100
