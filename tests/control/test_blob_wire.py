"""The blob wire as azure-storage-blob uses it: signatures, uploads, blocks, ranges, listings."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import random
import re
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from headrace_api.errors import InvalidInput
from headrace_services.control.blobs.http import BlobPath
from headrace_services.control.blobs.uploads import MOST_REPEATED_BYTES, BlockStage
from headrace_services.control.blobs.xml import MAX_BLOCKS, parse_block_list
from support.control import ControlClient, Reply

MIB = 1024 * 1024
CONTAINER = "azureml-blobstore"
BLOCKS = 1_000


class Blobs:
    """A client with a signature for the default datastore."""

    def __init__(self, control: ControlClient, sas: str) -> None:
        self.control = control
        self.sas = sas
        self.account = "//blob/default/_.blob.core.windows.net"

    async def send(
        self, method: str, name: str, *, query: str = "", data: object = None, **headers: str
    ) -> Reply:
        dashed = {
            key if "-" in key else key.replace("_", "-"): value for key, value in headers.items()
        }
        path = f"{self.account}/{CONTAINER}/{quote(name, safe='~/')}?{query}&{self.sas}"
        return await self.control.send(
            method, path, data=data, headers={"Authorization": "", **dashed}
        )


@pytest.fixture
async def blobs(control: ControlClient) -> Blobs:
    body = {"expirableSecret": True, "expireAfterHours": 1}
    secrets = await control.post("/datastores/workspaceblobstore/listSecrets", body)
    return Blobs(control, secrets.json["sasToken"])


@pytest.mark.parametrize(
    "name", ["plain.txt", "with space/a+b.txt", "percent%20.txt", "ümläut/名前", "a//b", "x~y(1)"]
)
async def test_a_blob_comes_back_under_any_name(blobs: Blobs, name: str) -> None:
    md5 = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    put = await blobs.send("PUT", name, data=b"hello", If_None_Match="*", Content_MD5=md5)
    assert put.status == 201, put.data
    assert put.headers["ETag"]
    assert put.headers["Last-Modified"]

    found = await blobs.send("GET", name)
    blobs.account = "//blob/default"
    joined = await blobs.send("GET", name)
    head = await blobs.send("HEAD", name)

    assert (found.status, found.data, joined.data) == (200, b"hello", b"hello")
    assert (head.status, head.headers["Content-Length"]) == (200, "5")
    assert head.headers["x-ms-blob-type"] == "BlockBlob"


async def test_what_is_missing_says_so_in_a_header_and_in_xml(blobs: Blobs) -> None:
    head = await blobs.send("HEAD", "absent/")
    found = await blobs.send("GET", "absent")

    assert (head.status, head.headers["x-ms-error-code"]) == (404, "BlobNotFound")
    assert b"<Code>BlobNotFound</Code>" in found.data


async def test_a_name_is_not_overwritten_when_the_client_says_so(blobs: Blobs) -> None:
    await blobs.send("PUT", "one", data=b"first")

    same = await blobs.send("PUT", "one", data=b"first", If_None_Match="*")
    again = await blobs.send("PUT", "one", data=b"second", If_None_Match="*")
    plain = await blobs.send("PUT", "one", data=b"third")

    for reply in (same, again):
        assert (reply.status, reply.headers["x-ms-error-code"]) == (409, "BlobAlreadyExists")
    assert plain.status == 201
    assert (await blobs.send("GET", "one")).data == b"third"


ONLY_NEW = {"If_None_Match": "*"}


async def _in_blocks(blobs: Blobs, name: str, pieces: list[bytes], **headers: str) -> Reply:
    """As the client sends what is over 64 MiB."""
    ids = [base64.b64encode(b"%05d" % n).decode() for n in range(len(pieces))]
    for block_id, piece in zip(ids, pieces, strict=True):
        await blobs.send("PUT", name, query=f"comp=block&blockid={quote(block_id)}", data=piece)
    tags = "".join(f"<Latest>{block_id}</Latest>" for block_id in ids)
    body = f"<BlockList>{tags}</BlockList>".encode()
    return await blobs.send("PUT", name, query="comp=blocklist", data=body, **headers)


async def test_what_a_dead_client_left_of_an_upload_does_not_refuse_the_next_one(
    blobs: Blobs,
) -> None:
    """The client looks at the first file of a folder alone: where that is absent it insists on new
    names for all of them. Below a name by content the same bytes are the same upload."""
    below = "LocalUpload/" + "a" * 64
    left = {"one": b"1", "two": b"22"}
    for name, data in left.items():
        await blobs.send("PUT", f"{below}/{name}", data=data, x_ms_meta_kept="yes", **ONLY_NEW)

    whole = await blobs.send("PUT", f"{below}/one", data=b"1", **ONLY_NEW)
    joined = await _in_blocks(blobs, f"{below}/two", [b"2", b"2"], **ONLY_NEW)
    assert (whole.status, joined.status) == (201, 201)
    for name, data in left.items():
        found = await blobs.send("GET", f"{below}/{name}")
        assert (found.data, found.headers["x-ms-meta-kept"]) == (data, "yes")

    other = await blobs.send("PUT", f"{below}/one", data=b"x", **ONLY_NEW)
    others = await _in_blocks(blobs, f"{below}/two", [b"2", b"x"], **ONLY_NEW)
    for reply in (other, others):
        assert (reply.status, reply.headers["x-ms-error-code"]) == (409, "BlobAlreadyExists")


async def test_of_many_who_upload_the_same_at_once_each_is_done(blobs: Blobs) -> None:
    name = "LocalUpload/" + "b" * 64 + "/same"
    replies = await asyncio.gather(
        *(blobs.send("PUT", name, data=b"same", **ONLY_NEW) for _ in range(8))
    )

    assert [reply.status for reply in replies] == [201] * 8


async def test_metadata_is_replaced_and_listed(blobs: Blobs) -> None:
    await blobs.send("PUT", "m/a", data=b"1", x_ms_meta_old="yes")
    metadata = {"x-ms-meta-upload_status": "completed"}
    await blobs.send("PUT", "m/a", query="comp=metadata", **metadata)

    head = await blobs.send("HEAD", "m/a")
    listed = await blobs.send(
        "GET", "", query="restype=container&comp=list&prefix=m/&include=metadata"
    )

    assert head.headers["x-ms-meta-upload_status"] == "completed"
    assert "x-ms-meta-old" not in head.headers
    assert b"<upload_status>completed</upload_status>" in listed.data


async def test_blocks_are_joined_in_the_order_of_the_list(blobs: Blobs) -> None:
    pieces = {base64.b64encode(b"%05d" % n).decode(): os.urandom(1000 + n) for n in range(5)}
    for block_id in reversed(pieces):
        query = f"comp=block&blockid={quote(block_id)}"
        assert (await blobs.send("PUT", "big", query=query, data=pieces[block_id])).status == 201
    body = "".join(f"<Latest>{block_id}</Latest>" for block_id in pieces)
    listing = f'<?xml version="1.0"?><BlockList>{body}</BlockList>'.encode()

    done = await blobs.send("PUT", "big", query="comp=blocklist", data=listing)

    assert done.status == 201, done.data
    assert (await blobs.send("GET", "big")).data == b"".join(pieces.values())
    again = await blobs.send("PUT", "other", query="comp=blocklist", data=listing)
    assert (again.status, again.headers["x-ms-error-code"]) == (400, "InvalidBlockList")


async def test_a_list_that_names_large_blocks_over_and_over_is_refused(blobs: Blobs) -> None:
    """A few bytes of a list must not become a blob that fills the disk."""
    block_id = base64.b64encode(b"large").decode()
    query = f"comp=block&blockid={quote(block_id)}"
    block = os.urandom(1024 * 1024)
    assert (await blobs.send("PUT", "grown", query=query, data=block)).status == 201

    def listing(times: int) -> bytes:
        return f"<BlockList>{f'<Latest>{block_id}</Latest>' * times}</BlockList>".encode()

    most = MOST_REPEATED_BYTES // len(block) + 1
    refused = await blobs.send("PUT", "grown", query="comp=blocklist", data=listing(most + 1))
    assert (refused.status, refused.headers["x-ms-error-code"]) == (413, "RequestBodyTooLarge")
    assert str(MOST_REPEATED_BYTES).encode() in refused.data
    assert (await blobs.send("HEAD", "grown")).status == 404

    taken = await blobs.send("PUT", "grown", query="comp=blocklist", data=listing(3))
    assert taken.status == 201
    assert (await blobs.send("GET", "grown")).data == block * 3


async def test_blocks_of_two_blobs_at_once_and_out_of_order_keep_to_their_blob(
    blobs: Blobs,
) -> None:
    """All on their way together, the same ids under both names, some sent twice."""
    ids = [base64.b64encode(b"%05d" % n).decode() for n in range(8)]
    pieces = {(name, one): os.urandom(256 * 1024 + 7) for name in ("left", "right") for one in ids}

    async def stage(name: str, block_id: str, data: bytes) -> None:
        query = f"comp=block&blockid={quote(block_id)}"
        assert (await blobs.send("PUT", name, query=query, data=data)).status == 201

    await asyncio.gather(*(stage(name, one, b"an earlier try") for name, one in pieces))
    shuffled = random.Random(7).sample(sorted(pieces), len(pieces))
    await asyncio.gather(*(stage(*key, pieces[key]) for key in shuffled))
    body = "".join(f"<Latest>{one}</Latest>" for one in ids)
    listing = f'<?xml version="1.0"?><BlockList>{body}</BlockList>'.encode()
    ended = await asyncio.gather(
        *(
            blobs.send("PUT", name, query="comp=blocklist", data=listing)
            for name in ("left", "right")
        )
    )

    assert [one.status for one in ended] == [201, 201]
    for name in ("left", "right"):
        whole = b"".join(pieces[name, one] for one in ids)
        assert (await blobs.send("GET", name)).data == whole


async def test_ranges_and_the_empty_blob(blobs: Blobs) -> None:
    await blobs.send("PUT", "r", data=bytes(range(100)))
    await blobs.send("PUT", "empty", data=b"")

    part = await blobs.send("GET", "r", x_ms_range="bytes=10-19")
    past = await blobs.send("GET", "r", x_ms_range="bytes=90-33554431")
    empty = await blobs.send("GET", "empty", x_ms_range="bytes=0-33554431")
    plain = await blobs.send("GET", "empty")

    assert (part.status, part.data) == (206, bytes(range(10, 20)))
    assert part.headers["Content-Range"] == "bytes 10-19/100"
    assert (past.status, past.headers["Content-Range"]) == (206, "bytes 90-99/100")
    assert (empty.status, empty.headers["x-ms-error-code"]) == (416, "InvalidRange")
    assert (plain.status, plain.data) == (200, b"")


async def test_a_reader_learns_that_the_blob_has_changed(blobs: Blobs) -> None:
    first = await blobs.send("PUT", "c", data=b"one")
    await blobs.send("PUT", "c", data=b"two")

    found = await blobs.send("GET", "c", x_ms_range="bytes=0-1", If_Match=first.headers["ETag"])

    assert (found.status, found.headers["x-ms-error-code"]) == (412, "ConditionNotMet")


async def test_a_listing_folds_folders_and_goes_on_at_its_marker(blobs: Blobs) -> None:
    for name in ("f/a", "f/b/c", "f/b/d", "f/e", "g"):
        await blobs.send("PUT", name, data=b"1")
    query = "restype=container&comp=list&prefix=f/&delimiter=/&maxresults=2"

    first = (await blobs.send("GET", "", query=query)).data.decode()
    marker = re.findall(r"<NextMarker>(.+)</NextMarker>", first)[0]
    rest = (await blobs.send("GET", "", query=f"{query}&marker={quote(marker)}")).data.decode()

    assert re.findall(r"<Name>(.*?)</Name>", first) == ["f/a", "f/b/"]
    assert re.findall(r"<Name>(.*?)</Name>", rest) == ["f/e"]
    assert "<NextMarker></NextMarker>" in rest


async def test_wrong_bytes_are_not_kept(blobs: Blobs) -> None:
    md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()

    put = await blobs.send("PUT", "bad", data=b"hello", Content_MD5=md5)

    assert (put.status, put.headers["x-ms-error-code"]) == (400, "Md5Mismatch")
    assert (await blobs.send("HEAD", "bad")).status == 404


async def test_a_signature_opens_nothing_else(blobs: Blobs, control: ControlClient) -> None:
    pending = (await control.post("/codes/c/versions/1/startPendingUpload", {})).json
    other = pending["blobReferenceForConsumption"]["blobUri"]
    for url in (f"{other}/x?{blobs.sas}", f"{other}/x", f"{other}?comp=list&{blobs.sas}"):
        reply = await control.send("GET", url)
        assert (reply.status, reply.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
    forged = blobs.sas.replace("sp=racwdl", "sp=racwdlx")
    blobs.sas = forged
    assert (await blobs.send("GET", "x")).status == 403


@pytest.mark.parametrize("name", ["../x", "a/%2e%2e/x", "a%2fb", "a%00b", "a%5cb"])
async def test_path_tricks_are_refused(blobs: Blobs, name: str) -> None:
    path = f"{blobs.account}/{CONTAINER}/{name}?{blobs.sas}"

    reply = await blobs.control.send("PUT", path, data=b"x")

    assert reply.status == 400
    assert b"<Error>" in reply.data


async def test_a_client_that_leaves_half_way_leaves_nothing(blobs: Blobs) -> None:
    control = blobs.control
    context = ssl.create_default_context(cafile=control.home.ca)
    port = int(control.base.rpartition(":")[2])
    path = f"/blob/default/{CONTAINER}/half?{blobs.sas}"
    head = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    _, writer = await asyncio.open_connection("localhost", port, ssl=context, family=socket.AF_INET)
    writer.write(head.encode() + b"x" * 1000)
    await writer.drain()
    writer.transport.abort()

    incoming = control.home.blobs / "incoming"
    for _ in range(500):
        if not any(incoming.iterdir()):
            break
        await asyncio.sleep(0.02)
    assert not any(incoming.iterdir())
    assert (await blobs.send("HEAD", "half")).status == 404


async def _zeros(size_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(size_bytes // MIB):
        yield bytes(MIB)


async def test_memory_stays_flat_while_200_mib_pass(blobs: Blobs) -> None:
    size_bytes = 200 * MIB
    await blobs.send("PUT", "warm", data=_zeros(8 * MIB), Content_Length=str(8 * MIB))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    put = await blobs.send("PUT", "huge", data=_zeros(size_bytes), Content_Length=str(size_bytes))
    url = blobs.control.url(f"{blobs.account}/{CONTAINER}/huge?{blobs.sas}")
    found = 0
    async with blobs.control.session.get(url) as response:
        async for chunk in response.content.iter_chunked(MIB):
            found += len(chunk)

    assert put.status == 201
    assert found == size_bytes
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert grown_kib < 48 * 1024


@pytest.mark.parametrize("tail", [b"", b"x", b"</BlockList>x"])
def test_a_list_of_blanks_is_refused_in_time_that_grows_with_it(tail: bytes) -> None:
    """The event loop waits meanwhile, and a body may hold 8 MiB."""

    def least_s(size_bytes: int) -> float:
        times = []
        for _ in range(15):
            started = time.perf_counter()
            with pytest.raises(InvalidInput):
                parse_block_list(b"<BlockList>" + b" " * size_bytes + tail)
            times.append(time.perf_counter() - started)
        return min(times)

    assert least_s(16_000) < 6 * least_s(4_000) + 0.001


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("<BlockList/>", ()),
        ("<BlockList></BlockList>", ()),
        (" <BlockList>\n  <Latest>QQ==</Latest>\n</BlockList>\n", ("QQ==",)),
        (
            "<BlockList><Committed>QQ==</Committed><Latest>Qg==</Latest></BlockList>",
            ("QQ==", "Qg=="),
        ),
    ],
)
def test_a_list_is_read_however_it_is_laid_out(text: str, ids: tuple[str, ...]) -> None:
    assert parse_block_list(text.encode()) == ids
    assert parse_block_list(b'<?xml version="1.0"?>' + text.encode()) == ids


async def test_many_small_blocks_are_joined_in_few_turns(tmp_path: Path) -> None:
    """Against one turn of a thread for each block: the most that a list may cost is far below."""
    stage, path = BlockStage(tmp_path), BlobPath(container="some", blob="many")
    ids = [base64.b64encode(b"%05d" % n).decode() for n in range(BLOCKS)]
    for block_id in ids:
        await stage.keep(path, block_id, _once(block_id.encode()), None)
    ratios = []

    for _ in range(5):
        started = time.perf_counter()
        data = b"".join([piece async for piece in stage.joined(path, ids)])
        joined_s = time.perf_counter() - started
        for _ in ids:
            await asyncio.to_thread(int)
        turns_s = time.perf_counter() - started - joined_s
        ratios.append(joined_s / turns_s)

    assert data == "".join(ids).encode()
    assert min(ratios) < 1.5, ratios


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_others_are_answered_while_a_long_list_is_joined(blobs: Blobs) -> None:
    """At Azure's limit: 50,000 blocks in a list, of four that were sent."""
    ids = [base64.b64encode(b"%05d" % n).decode() for n in range(4)]
    for block_id in ids:
        await blobs.send("PUT", "long", query=f"comp=block&blockid={quote(block_id)}", data=b"x")
    tags = "".join(f"<Latest>{block_id}</Latest>" for block_id in ids)
    body = f"<BlockList>{tags * (MAX_BLOCKS // len(ids))}</BlockList>".encode()

    commit = asyncio.create_task(blobs.send("PUT", "long", query="comp=blocklist", data=body))
    answered = 0
    while not commit.done():
        assert (await blobs.control.send("GET", "//healthz")).status == 200
        answered += not commit.done()

    assert (await commit).status == 201
    assert (await blobs.send("HEAD", "long")).headers["Content-Length"] == str(MAX_BLOCKS)
    assert answered > 3
