"""Blobs by digest, their index by name, and secrets at rest."""

from __future__ import annotations

import asyncio
import hashlib
import resource
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace_api.errors import Conflict, InvalidInput, NotFound
from headrace_bus.client.connection import Bus
from headrace_bus.errors import BlobNotFound, DigestMismatch
from headrace_bus.store.blob_index import BlobEntry, BlobIndex
from headrace_bus.store.blobs import FolderBlobs
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.secrets import SecretStore, SecretUnreadable, secret_key
from support.platform_nats import platform_nats

MIB = 1024 * 1024


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    async with platform_nats() as nats:
        yield await nats.bus("control")


@pytest.fixture
async def index(bus: Bus) -> BlobIndex:
    return BlobIndex(await Bucket.open(bus, "blobs"))


async def test_bytes_are_read_as_they_were_put(blobs: FolderBlobs) -> None:
    stored = await blobs.put(stream(b"one", b"", b"two"))

    assert stored.digest == hashlib.sha256(b"onetwo").hexdigest()
    assert (stored.size_bytes, stored.md5) == (6, hashlib.md5(b"onetwo").digest())
    assert await whole(blobs.read(stored.digest)) == b"onetwo"
    assert blobs.path(stored.digest).read_bytes() == b"onetwo"
    assert [digest async for digest in blobs.digests()] == [stored.digest]


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 3, b"012"), (7, None, b"789"), (8, 50, b"89"), (10, 1, b""), (99, None, b""), (3, 0, b"")],
)
async def test_a_range_is_read(
    blobs: FolderBlobs, offset: int, length: int | None, expected: bytes
) -> None:
    stored = await blobs.put(stream(b"0123456789"))

    assert await whole(blobs.read(stored.digest, offset, length)) == expected


async def test_the_same_bytes_are_kept_once(tmp_path: Path, blobs: FolderBlobs) -> None:
    first, second = await asyncio.gather(blobs.put(stream(b"x")), blobs.put(stream(b"x")))

    assert first == second
    assert len(files(tmp_path)) == 1


async def test_bytes_that_are_not_what_was_announced_are_not_kept(
    tmp_path: Path, blobs: FolderBlobs
) -> None:
    with pytest.raises(DigestMismatch):
        await blobs.put(stream(b"x"), expected="0" * 64)
    assert files(tmp_path) == []


async def test_an_upload_that_breaks_leaves_nothing(tmp_path: Path, blobs: FolderBlobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 3 * MIB
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await blobs.put(broken())
    assert files(tmp_path) == []


async def test_a_cancelled_upload_leaves_nothing(tmp_path: Path, blobs: FolderBlobs) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * MIB
            begun.set()

    upload = asyncio.create_task(blobs.put(endless()))
    await begun.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert files(tmp_path) == []


async def test_a_large_upload_needs_little_memory(blobs: FolderBlobs) -> None:
    piece = bytes(MIB)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    stored = await blobs.put(stream(*([piece] * 200)))

    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert stored.size_bytes == 200 * MIB
    assert grown_kib < 50 * 1024
    await blobs.delete(stored.digest)


async def test_what_a_dead_process_left_is_removed_at_the_start(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    FolderBlobs(root)
    dead = root / "incoming" / "999999999-ab"
    dead.write_bytes(b"half")
    ours = root / "incoming" / "1-ab"  # of a process that lives
    ours.write_bytes(b"half")

    FolderBlobs(root)

    assert (dead.exists(), ours.exists()) == (False, True)


async def test_what_is_not_there_is_said_to_be_missing(blobs: FolderBlobs) -> None:
    missing = "0" * 64
    with pytest.raises(BlobNotFound):
        await whole(blobs.read(missing))
    with pytest.raises(BlobNotFound):
        blobs.path(missing)
    assert not await blobs.exists(missing)
    await blobs.delete(missing)


@pytest.mark.parametrize(
    "digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65, "0/" * 32]
)
async def test_a_digest_never_becomes_another_path(blobs: FolderBlobs, digest: str) -> None:
    with pytest.raises(InvalidInput):
        blobs.path(digest)
    with pytest.raises(InvalidInput):
        await whole(blobs.read(digest))
    with pytest.raises(InvalidInput):
        await blobs.delete(digest)


async def test_files_are_private(tmp_path: Path, blobs: FolderBlobs) -> None:
    await blobs.put(stream(b"x"))

    assert {stat.S_IMODE(path.stat().st_mode) for path in files(tmp_path)} == {0o600}


def entry(digest: str = "0" * 64, **metadata: str) -> BlobEntry:
    return BlobEntry(digest=digest, size_bytes=1, metadata=metadata)


@pytest.mark.parametrize("name", ["a", "a/b.c", "..", "*", ">", "ü $ =", "=2E", "a\nb", "." * 100])
async def test_a_name_may_hold_anything(index: BlobIndex, name: str) -> None:
    put = await index.put("my container", name, entry(a="1"))

    assert await index.get("my container", name) == put
    assert [found for found, _ in (await index.list("my container")).entries] == [name]
    assert await index.get("other", name) is None


async def test_a_taken_name_is_not_put_again_when_that_was_asked(index: BlobIndex) -> None:
    first = await index.put("c", "n", entry("1" * 64), if_none_match=True)

    with pytest.raises(Conflict):
        await index.put("c", "n", entry("2" * 64), if_none_match=True)
    assert await index.get("c", "n") == first
    second = await index.put("c", "n", entry("2" * 64))
    assert (second.created, second.etag != first.etag) == (first.created, True)
    assert await index.digests() == {"2" * 64}


async def test_only_one_of_many_creators_wins(index: BlobIndex) -> None:
    results = await asyncio.gather(
        *(index.put("c", "n", entry(str(n) * 64), if_none_match=True) for n in range(8)),
        return_exceptions=True,
    )

    assert sum(isinstance(result, BlobEntry) for result in results) == 1


async def test_metadata_is_replaced_and_the_bytes_stay(index: BlobIndex) -> None:
    await index.put("c", "n", entry("1" * 64, a="1"))

    changed = await index.set_metadata("c", "n", {"b": "2"})

    assert (changed.digest, changed.metadata) == ("1" * 64, {"b": "2"})
    with pytest.raises(NotFound):
        await index.set_metadata("c", "none", {})
    with pytest.raises(InvalidInput):
        await index.set_metadata("c", "n", {"a": "x" * 9000})


async def test_names_are_listed_in_pages_with_folders_folded(index: BlobIndex) -> None:
    for name in ("a/1", "a/2", "b", "c/d/1", "e"):
        await index.put("c", name, entry())
    seen: list[str] = []
    marker = ""
    while True:
        page = await index.list("c", delimiter="/", marker=marker, limit=2)
        seen += [*(name for name, _ in page.entries), *page.prefixes]
        marker = page.next
        if not marker:
            break

    assert sorted(seen) == ["a/", "b", "c/", "e"]
    below = await index.list("c", "c/", delimiter="/")
    assert (below.entries, below.prefixes) == ((), ("c/d/",))
    assert [name for name, _ in (await index.list("c", "a/")).entries] == ["a/1", "a/2"]


async def test_a_deleted_name_is_gone_and_may_come_again(index: BlobIndex) -> None:
    await index.put("c", "n", entry())

    assert await index.delete("c", "n")
    assert not await index.delete("c", "n")
    assert await index.get("c", "n") is None
    await index.put("c", "n", entry(), if_none_match=True)


@pytest.mark.parametrize(
    ("container", "name"),
    [("c", ""), ("", "n"), ("c" * 256, "n"), ("c", "ü" * 400), ("c", "\ud800")],
)
async def test_names_past_the_bound_are_refused(
    index: BlobIndex, container: str, name: str
) -> None:
    with pytest.raises(InvalidInput):
        await index.put(container, name, entry())


async def test_a_secret_is_unreadable_in_the_bucket(bus: Bus, tmp_path: Path) -> None:
    bucket = await Bucket.open(bus, "secrets")
    secrets = SecretStore(bucket, secret_key(tmp_path / "secret.key"))
    await secrets.put("endpoint.ep", b"hunter2")

    record = await bucket.get("endpoint.ep")
    assert record is not None
    assert b"hunter2" not in record.value
    assert await secrets.get("endpoint.ep") == b"hunter2"
    assert await secrets.get("endpoint.none") is None
    await secrets.put("endpoint.ep", b"new")
    assert await secrets.get("endpoint.ep") == b"new"
    await secrets.delete("endpoint.ep")
    await secrets.delete("endpoint.ep")
    assert await secrets.get("endpoint.ep") is None


async def test_a_secret_cannot_be_moved_changed_or_read_with_another_key(
    bus: Bus, tmp_path: Path
) -> None:
    bucket = await Bucket.open(bus, "secrets")
    secrets = SecretStore(bucket, secret_key(tmp_path / "secret.key"))
    await secrets.put("a", b"hunter2")
    record = await bucket.get("a")
    assert record is not None
    await bucket.create("b", record.value)
    await bucket.create("c", b"\x01short")

    for name in ("b", "c"):
        with pytest.raises(SecretUnreadable):
            await secrets.get(name)
    with pytest.raises(SecretUnreadable):
        await SecretStore(bucket, secret_key(tmp_path / "other.key")).get("a")


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"

    assert secret_key(path) == secret_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("damaged")
    with pytest.raises(InvalidInput):
        secret_key(path)
