"""Garbage collection takes what nothing refers to and is old, and nothing else."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_api.ids import PROVIDER
from headrace_bus.store.blob_index import BlobEntry, BlobIndex
from headrace_bus.store.blobs import FolderBlobs
from headrace_bus.store.bucket import Bucket
from headrace_services.control.assets.anonymous import AnonymousAsset, forgotten, renewed, word_of
from headrace_services.control.blobs.http import BlobPath
from headrace_services.control.blobs.sas import MAX_LIFETIME
from headrace_services.control.blobs.uploads import BlockStage
from headrace_services.control.gc.collector import Collector
from headrace_services.control.gc.policy import (
    GRACE,
    indicator_first,
    is_marked,
    is_old,
    unit_of,
    units_of,
)
from headrace_state.blob_location import BlobLocation
from headrace_state.records import Spec, asset_key, deployment_key
from headrace_state.repository import Repository
from headrace_telemetry.clock import timestamp
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


@settings(max_examples=400)
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
            specs=Repository(specs, Spec),
            states=states,
            index=BlobIndex(names),
            blobs=FolderBlobs(tmp_path / "blobs"),
            stage=BlockStage(tmp_path / "blocks"),
            environments=Path("none"),
            grace=timedelta(seconds=-60),
        )


async def put(collector: Collector, container: str, name: str, data: bytes) -> str:
    stored = await collector.blobs.put(once(data))
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


async def test_blocks_go_once_nobody_writes_them(collector: Collector, tmp_path: Path) -> None:
    for name in ("gone", "alive"):
        for block in ("one", "two"):
            path = BlobPath(container=STORE, blob=name)
            await collector.stage.keep(path, block, once(b"data"), None)
        if name == "gone":
            folder = next((tmp_path / "blocks").iterdir())
            for file in (*folder.iterdir(), folder):
                os.utime(file, (0, 0))

    dry = await collector.run(dry=True)
    taken = await collector.run(dry=False)

    assert (dry.uploads, dry.size_bytes) == (1, 8)
    assert taken == dry
    (left,) = (tmp_path / "blocks").iterdir()
    assert left != folder


async def once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_what_is_young_stays(collector: Collector) -> None:
    digest = await put(collector, STORE, "LocalUpload/new/a", b"new")
    usual = Collector(
        specs=collector.specs,
        states=collector.states,
        index=collector.index,
        blobs=collector.blobs,
        stage=collector.stage,
        environments=Path("none"),
    )

    found = await usual.run(dry=False)

    assert (found.uploads, found.blobs) == (0, 0)
    assert await collector.blobs.exists(digest)


GUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
OTHER = "6f9619ff-8b86-d011-b42d-00c04fc964fe"
HASH = "ab" * 32
RANDOM = {GUID, OTHER, HASH, "c" * 32}


def test_a_version_is_known_by_what_no_text_holds_by_chance() -> None:
    assert word_of(GUID.upper(), "1") == GUID
    assert word_of("CliV2AnonymousEnvironment", HASH) == HASH
    assert word_of("c" * 32, "1") == "c" * 32
    assert word_of("a-name-that-somebody-chose-for-their-model", "12") == ""


texts = st.lists(st.sampled_from(sorted(RANDOM)), max_size=2).map(
    lambda words: " ".join(f"azureml:/a/{word}/versions/1" for word in words)
)


@given(st.dictionaries(st.sampled_from(sorted(RANDOM)), texts), st.lists(texts, max_size=2))
def test_what_a_root_leads_to_over_any_way_is_not_forgotten(
    bodies: dict[str, str], roots: list[str]
) -> None:
    gone = forgotten(
        {key: AnonymousAsset(word=key, text=text) for key, text in bodies.items()}, roots
    )

    reached = {key for key in bodies if any(key in root for root in roots)}
    for _ in bodies:
        reached |= {key for key in bodies if any(key in bodies[one] for one in reached)}
    assert gone == bodies.keys() - reached
    assert forgotten({"one": AnonymousAsset(word="", text="")}, []) == set()


async def test_an_anonymous_version_that_nothing_names_goes_with_its_upload_in_one_run(
    collector: Collector,
) -> None:
    for name in (GUID, OTHER):
        await put(collector, f"code-{name.replace('-', '')}", "src/score.py", name.encode())
        uri = f"https://localhost/blob/default/code-{name.replace('-', '')}/src"
        await collector.specs.create(asset_key("codes", name, "1"), anonymous(name, codeUri=uri))
    named = f"azureml:/subscriptions/s/{PROVIDER}/codes/{GUID}/versions/1"
    body = {"properties": {"codeConfiguration": {"codeId": named, "scoringScript": "score.py"}}}
    await collector.specs.create(deployment_key("e", "d"), Spec(name="d", arm=body))
    listed = Spec(name=HASH, arm={"properties": {}, "version": "1"})
    await collector.specs.create(asset_key("models", HASH, "1"), listed)

    dry = await collector.run(dry=True)
    taken = await collector.run(dry=False)

    assert (taken.versions, taken.uploads, taken.names, taken.blobs) == (1, 1, 1, 1)
    assert dry == taken
    assert set(await collector.index.containers()) == {f"code-{GUID.replace('-', '')}"}
    left = {stored.value.name for stored in await collector.specs.list("asset")}
    assert left == {GUID, HASH}


async def test_what_is_about_to_be_named_is_young_again_or_gone(collector: Collector) -> None:
    key = asset_key("codes", GUID, "1")
    old = await collector.specs.create(key, anonymous(GUID, modified_at="2020-01-01T00:00:00Z"))
    usual = replace(collector, grace=GRACE)

    assert await renewed(collector.specs, old) is not None
    assert (await usual.run(dry=False)).versions == 0

    found = await collector.specs.get(key)
    assert found is not None
    assert found.value.modified_at > old.value.modified_at
    assert (await collector.run(dry=False)).versions == 1
    assert await renewed(collector.specs, old) is None


def anonymous(name: str, *, modified_at: str = "", **properties: str) -> Spec:
    arm = {"properties": {"isAnonymous": True, **properties}, "version": "1"}
    return Spec(name=name, arm=arm, modified_at=modified_at or timestamp())
