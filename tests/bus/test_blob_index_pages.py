"""A listing reads the folder it was asked for, and a long one is read once and not once a page."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from headrace_bus.store.blob_index import BlobEntry, BlobIndex
from headrace_bus.store.bucket import Bucket, Record
from support.platform_nats import platform_nats


class Counting(Bucket):
    """Says how many records its lists have read."""

    read = 0

    async def list(self, prefix: str = "") -> dict[str, Record]:
        found = await super().list(prefix)
        self.read += len(found)
        return found


@pytest.fixture
async def bucket() -> AsyncIterator[Counting]:
    async with platform_nats() as nats:
        yield await Counting.open(await nats.bus("control"), "blobs")


def entry() -> BlobEntry:
    return BlobEntry(digest="0" * 64, size_bytes=1)


async def test_only_the_folder_that_was_asked_for_is_read(bucket: Counting) -> None:
    index = BlobIndex(bucket)
    for name in ("a/x/1", "a/x/2", "a/xy/3", "b/4", "a//5", "a"):
        await index.put("c", name, entry())

    below = await index.list("c", "a/x/")
    empty = await index.list("c", "a//")

    assert [name for name, _ in below.entries] == ["a/x/1", "a/x/2"]
    assert [name for name, _ in empty.entries] == ["a//5"]
    assert bucket.read == 3


async def test_pages_of_a_long_listing_read_it_once(bucket: Counting) -> None:
    index = BlobIndex(bucket)
    for number in range(30):
        await index.put("c", f"f/{number:03}", entry())

    seen, marker = [], ""
    for _ in range(10):
        page = await index.list("c", "f/", marker=marker, limit=3)
        seen += [name for name, _ in page.entries]
        marker = page.next

    assert seen == [f"f/{number:03}" for number in range(30)]
    assert marker == ""
    assert bucket.read == 30


async def test_a_page_shows_what_was_written_after_the_one_before(bucket: Counting) -> None:
    index = BlobIndex(bucket)
    for name in ("1", "2", "4"):
        await index.put("c", name, entry())

    first = await index.list("c", limit=2)
    await index.put("c", "3", entry())
    await index.delete("c", "4")
    second = await index.list("c", marker=first.next, limit=2)

    assert [name for name, _ in second.entries] == []
    assert [name for name, _ in (await index.list("c", marker="3")).entries] == ["3"]


async def test_a_name_that_was_written_again_is_not_deleted(bucket: Counting) -> None:
    index = BlobIndex(bucket)
    old = await index.put("c", "n", entry())
    new = await index.put("c", "n", entry())

    assert not await index.delete_unchanged("c", "n", old)
    assert await index.delete_unchanged("c", "n", new)
    assert await index.get("c", "n") is None
