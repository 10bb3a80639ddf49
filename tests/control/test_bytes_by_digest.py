"""Bytes by digest: read with a launch record's signature, by an instance on another home."""

from __future__ import annotations

import asyncio
import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace_bus.wire.launch import AssetFile
from headrace_scorer import assets
from headrace_scorer.errors import FetchFailed
from headrace_scorer.remote_bytes import RemoteBytes
from headrace_services.control.blobs.http import DIGESTS
from headrace_services.control.blobs.sas import SasSigner
from support.control import ControlClient, Reply
from support.resources import upload_code

CONTENT = os.urandom(3 * 1024 * 1024 + 17)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FILE = AssetFile(path="model/weights.bin", digest=DIGEST, size_bytes=len(CONTENT))


@pytest.fixture
async def address(control: ControlClient) -> str:
    """What `Launch.bytes_url` holds, once control has the bytes."""
    await upload_code(control, {"weights.bin": CONTENT})
    return signed(control, DIGESTS)


def signed(control: ControlClient, scope: str, *, lifetime: timedelta = timedelta(hours=1)) -> str:
    query = SasSigner.open(control.home).sign(
        scope, now=datetime.now(UTC), lifetime=lifetime, permissions="r"
    )
    return f"{control.base}/blob/default/{DIGESTS}?{query}"


def of(address: str, digest: str) -> str:
    return address.replace("?", f"/{digest}?")


async def asked(control: ControlClient, url: str, method: str = "GET", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await control.send(method, url, headers={"Authorization": "", **named})


async def fetched(remote: RemoteBytes, *files: AssetFile) -> list[str]:
    lines: list[str] = []
    await asyncio.to_thread(remote.fetch_missing, files, lines.append)
    return lines


def far(control: ControlClient, address: str, folder: Path) -> RemoteBytes:
    return RemoteBytes(url=address, ca=control.home.ca, blobs=folder / "blobs")


async def test_the_signature_opens_bytes_by_their_digest(
    control: ControlClient, address: str
) -> None:
    whole = await asked(control, of(address, DIGEST))
    part = await asked(control, of(address, DIGEST), x_ms_range="bytes=1000000-1000009")
    head = await asked(control, of(address, DIGEST), "HEAD")

    assert (whole.status, whole.data) == (200, CONTENT)
    assert (part.status, part.data) == (206, CONTENT[1_000_000:1_000_010])
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(CONTENT)))


async def test_it_opens_nothing_else(control: ControlClient, address: str) -> None:
    expired = signed(control, DIGESTS, lifetime=timedelta(seconds=-1))
    foreign = signed(control, "azureml-blobstore")
    refused = {
        "unsigned": await asked(control, of(address, DIGEST).partition("?")[0]),
        "expired": await asked(control, of(expired, DIGEST)),
        "of a container": await asked(control, of(foreign, DIGEST)),
        "of digests, for a container": await asked(
            control, address.replace(DIGESTS, "azureml-blobstore") + "&comp=list"
        ),
    }
    assert {name: reply.status for name, reply in refused.items()} == dict.fromkeys(refused, 403)
    assert (await asked(control, of(address, "0" * 64))).status == 404
    assert (await asked(control, of(address, "../token"))).status in (400, 404)
    assert (await asked(control, address + "&comp=list")).status == 403
    for method in ("PUT", "DELETE"):
        assert (await asked(control, of(address, DIGEST), method)).status == 405


async def test_what_the_home_lacks_is_fetched_once(
    control: ControlClient, address: str, tmp_path: Path
) -> None:
    remote = far(control, address, tmp_path)

    first = await fetched(remote, FILE, FILE)
    again = await fetched(remote, FILE)

    assert assets.blob_path(remote.blobs, DIGEST).read_bytes() == CONTENT
    assert len(first) == 1
    assert f"1 files, {len(CONTENT)} bytes" in first[0]
    assert "sig=" not in first[0], "the log holds no signature"
    assert again == []


@pytest.mark.parametrize("had", [1, 2_000_000, len(CONTENT)])
async def test_a_fetch_that_was_cut_goes_on_where_it_ended(
    control: ControlClient, address: str, tmp_path: Path, had: int
) -> None:
    remote = far(control, address, tmp_path)
    place = assets.blob_path(remote.blobs, DIGEST)
    place.parent.mkdir(parents=True)
    partial = place.with_name(f"{DIGEST}.part")
    partial.write_bytes(CONTENT[:had])
    inode = partial.stat().st_ino

    await fetched(remote, FILE)

    assert place.read_bytes() == CONTENT
    assert place.stat().st_ino == inode, "what was there was added to"
    assert not partial.exists()


async def test_bytes_that_are_not_what_they_should_be_are_not_kept(
    control: ControlClient, address: str, tmp_path: Path
) -> None:
    remote = far(control, address, tmp_path)
    place = assets.blob_path(remote.blobs, DIGEST)
    place.parent.mkdir(parents=True)
    place.with_name(f"{DIGEST}.part").write_bytes(b"another file's beginning")

    with pytest.raises(FetchFailed, match=f"expected digest {DIGEST}"):
        await fetched(remote, FILE)
    assert list(place.parent.iterdir()) == []

    await fetched(remote, FILE)
    assert place.read_bytes() == CONTENT


async def test_a_refusal_is_told_at_once(
    control: ControlClient, address: str, tmp_path: Path
) -> None:
    missing = AssetFile(path="gone.bin", digest="0" * 64, size_bytes=5)
    with pytest.raises(FetchFailed, match=r"'gone.bin' cannot be fetched from .*404 BlobNotFound"):
        await fetched(far(control, address, tmp_path), missing)
    expired = signed(control, DIGESTS, lifetime=timedelta(seconds=-1))
    with pytest.raises(FetchFailed, match="403 AuthenticationFailed"):
        await fetched(far(control, expired, tmp_path), FILE)


async def test_who_is_told_to_stop_fetches_no_more(
    control: ControlClient, address: str, tmp_path: Path
) -> None:
    remote = far(control, address, tmp_path)
    remote.given_up.set()
    with pytest.raises(FetchFailed, match="told to stop"):
        await fetched(remote, FILE)
