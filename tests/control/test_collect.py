"""Garbage collection takes what nothing refers to and is old, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_bus.store.blob_index import BlobEntry, BlobIndex
from headrace_bus.store.blobs import FolderBlobs
from headrace_bus.store.bucket import Bucket
from headrace_services.control.blob_location import BlobLocation
from headrace_services.control.collect import (
    GRACE,
    indicator_first,
    is_marked,
    is_old,
    unit_of,
    units_of,
)
from headrace_services.control.collector import Collector
from headrace_services.control.records import Spec, asset_key
from headrace_services.control.sas import MAX_LIFETIME
from headrace_services.control.stored import Shelf
from support.platform_nats import platform_nats

STORE = "azureml-blobstore"
CODE = "code-" + "a" * 32
NOW = datetime(2030, 1, 1, tzinfo=UTC)
PATHS = "azureml://datastores/workspaceblobstore/paths"

parts = st.sampled_from(["LocalUpload", "a", "ab", "x.bin"])
paths = st.lists(parts, min_size=0, max_size=4).map("/".join)
containers = st.sampled_from([STORE, "azureml", CODE, "code-b", "my-data"])


def entry(age: timedelta, **metadata: str) -> BlobEntry:
    modified = (NOW - age).isoformat()
    return BlobEntry(digest="0" * 64, size_bytes=1, modified=modified, metadata=metadata)


@settings(max_examples=400, deadline=None)
@given(st.sets(st.tuples(containers, paths)), st.sets(st.tuples(containers, paths)))
def test_no_blob_at_or_below_a_mark_is_in_a_unit_without_one(
    names: set[tuple[str, str]], marks: set[tuple[str, str]]
) -> None:
    places = [BlobLocation(container=container, path=path) for container, path in marks]
    stored: dict[str, list[tuple[str, BlobEntry]]] = {}
    for container, name in names:
        stored.setdefault(container, []).append((name, entry(GRACE * 2)))

    for unit, blobs in units_of(stored).items():
        for name, _ in blobs:
            covered = any(
                place.container == unit.container
                and (
                    name == place.path or f"{name}/".startswith(f"{place.path}/") or not place.path
                )
                for place in places
            )
            assert not covered or is_marked(unit, places)
            assert unit.container == CODE or name.startswith("LocalUpload/")


def test_the_grace_is_longer_than_any_signature_and_the_indicator_goes_first() -> None:
    assert GRACE > MAX_LIFETIME
    blobs = [("a", entry(GRACE)), ("b", entry(GRACE * 2, upload_status="completed"))]

    assert not is_old(blobs, NOW)
    assert is_old(blobs[1:], NOW)
    assert [name for name, _ in indicator_first(blobs)] == ["b", "a"]
    assert unit_of("my-data", "LocalUpload/h/x") is None


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[Collector]:
    """One for which everything is old at once."""
    async with platform_nats() as nats:
        bus = await nats.bus("control")
        specs, states, names = [await Bucket.open(bus, one) for one in ("spec", "state", "blobs")]
        yield Collector(
            specs=Shelf(specs, Spec),
            states=states,
            index=BlobIndex(names),
            blobs=FolderBlobs(tmp_path / "blobs"),
            grace=timedelta(seconds=-60),
        )


async def put(collector: Collector, container: str, name: str, data: bytes) -> str:
    async def stream() -> AsyncIterator[bytes]:
        yield data

    stored = await collector.blobs.put(stream())
    found = BlobEntry(digest=stored.digest, size_bytes=stored.size_bytes)
    await collector.index.put(container, name, found)
    return stored.digest


async def test_a_run_takes_the_unreferenced_upload_and_its_bytes_alone(
    collector: Collector,
) -> None:
    kept = await put(collector, STORE, "LocalUpload/kept/m/a", b"kept")
    shared = await put(collector, STORE, "LocalUpload/gone/m/shared", b"kept")
    gone = await put(collector, STORE, "LocalUpload/gone/m/b", b"gone")
    users = await put(collector, STORE, "mine/c", b"mine")
    await put(collector, CODE, "src/score.py", b"code")
    properties = {"modelUri": f"{PATHS}/LocalUpload/kept/m"}
    spec = Spec(name="m", arm={"properties": properties, "version": "1"})
    await collector.specs.create(asset_key("models", "m", "1"), spec)

    dry = await collector.run(dry=True)
    before = await collector.index.containers()
    taken = await collector.run(dry=False)
    after = await collector.index.containers()

    assert (dry.uploads, dry.names, dry.blobs, dry.size_bytes) == (2, 3, 2, 8)
    assert taken == dry
    assert set(before) == {STORE, CODE}
    assert [name for name, _ in after[STORE]] == ["LocalUpload/kept/m/a", "mine/c"]
    assert CODE not in after
    assert shared == kept
    assert await collector.blobs.exists(kept)
    assert await collector.blobs.exists(users)
    assert not await collector.blobs.exists(gone)
    assert await collector.states.list("condemned") == {}


async def test_what_is_young_stays(collector: Collector) -> None:
    digest = await put(collector, STORE, "LocalUpload/new/a", b"new")
    usual = Collector(
        specs=collector.specs,
        states=collector.states,
        index=collector.index,
        blobs=collector.blobs,
    )

    found = await usual.run(dry=False)

    assert (found.uploads, found.blobs) == (0, 0)
    assert await collector.blobs.exists(digest)
