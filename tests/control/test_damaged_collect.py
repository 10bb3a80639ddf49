"""A collection goes on beside records that cannot be read, and keeps all they may refer to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from headrace_bus.store.blob_index import BlobEntry, BlobIndex
from headrace_bus.store.blobs import FolderBlobs
from headrace_bus.store.bucket import Bucket
from headrace_services.control.blobs.uploads import BlockStage
from headrace_services.control.gc.collector import Collector
from headrace_state.records import Spec, asset_key, catalog_key, deployment_key
from headrace_state.repository import Repository
from headrace_telemetry.clock import timestamp
from support.damage import DAMAGES
from support.platform_nats import platform_nats

STORE: Final = "azureml-blobstore"
GUID: Final = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
CODE: Final = "code-" + GUID.replace("-", "")
damages: Final = pytest.mark.parametrize("data", DAMAGES.values(), ids=DAMAGES.keys())


class Place:
    """A collector for which all is old, an upload, and an anonymous version with its code."""

    def __init__(self, collector: Collector, specs: Bucket, names: Bucket) -> None:
        self.collector = collector
        self.specs = specs
        self.names = names

    async def put(self, container: str, name: str) -> str:
        async def stream() -> AsyncIterator[bytes]:
            yield name.encode()

        stored = await self.collector.blobs.put(stream())
        found = BlobEntry(digest=stored.digest, size_bytes=stored.size_bytes)
        await self.collector.index.put(container, name, found)
        return stored.digest


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with platform_nats() as nats:
        bus = await nats.bus("control")
        specs, states, names = [await Bucket.open(bus, one) for one in ("spec", "state", "blobs")]
        collector = Collector(
            specs=Repository(specs, Spec),
            states=states,
            index=BlobIndex(names),
            blobs=FolderBlobs(tmp_path / "blobs"),
            stage=BlockStage(tmp_path / "blocks"),
            environments=Path("none"),
            grace=timedelta(seconds=-60),
        )
        made = Place(collector, specs, names)
        await made.put(STORE, "LocalUpload/upload/m/a")
        await made.put(CODE, "src/score.py")
        uri = f"https://localhost/blob/default/{CODE}/src"
        arm = {"properties": {"isAnonymous": True, "codeUri": uri}, "version": "1"}
        code = Spec(name=GUID, arm=arm, modified_at=timestamp())
        await collector.specs.create(asset_key("codes", GUID, "1"), code)
        yield made


async def test_without_damage_all_of_it_goes(place: Place) -> None:
    taken = await place.collector.run(dry=False)

    assert (taken.versions, taken.uploads, taken.names, taken.blobs) == (1, 2, 2, 2)


@damages
@pytest.mark.parametrize(
    "key", [asset_key("models", "m", "1"), asset_key("environments", "e", "1")]
)
async def test_an_asset_that_cannot_be_read_may_lie_in_any_upload_and_name_any_version(
    place: Place, key: str, data: bytes
) -> None:
    await place.specs.create(key, data)
    stray = await place.put(STORE, "mine/a")
    await place.collector.index.delete(STORE, "mine/a")

    dry = await place.collector.run(dry=True)
    taken = await place.collector.run(dry=False)

    assert dry == taken
    assert (taken.versions, taken.uploads, taken.names) == (0, 0, 0)
    # Records name places, never bytes: what has no name is nobody's all the same.
    assert (taken.blobs, await place.collector.blobs.exists(stray)) == (1, False)


@damages
@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        ("spec", deployment_key("e", "d")),
        ("spec", catalog_key("schedules", "s")),
        ("state", "applied.deployment.e.d"),
    ],
)
async def test_what_names_versions_and_cannot_be_read_may_name_any(
    place: Place, bucket: str, key: str, data: bytes
) -> None:
    await damage_at(place, bucket, key, data)

    taken = await place.collector.run(dry=False)

    assert (taken.versions, taken.uploads) == (0, 1), "an upload that no asset points at goes"
    assert set(await place.collector.index.containers()) == {CODE}


@damages
async def test_a_datastore_that_cannot_be_read_may_be_any_container(
    place: Place, data: bytes
) -> None:
    uri = "azureml://datastores/mine/paths/LocalUpload/upload/m"
    model = Spec(name="m", arm={"properties": {"modelUri": uri}, "version": "1"})
    await place.collector.specs.create(asset_key("models", "m", "1"), model)
    await place.put(STORE, "LocalUpload/other/a")
    await place.specs.create(catalog_key("datastores", "mine"), data)

    taken = await place.collector.run(dry=False)

    assert (taken.uploads, taken.names) == (1, 1)
    left = (await place.collector.index.containers())[STORE]
    assert [name for name, _ in left] == ["LocalUpload/upload/m/a"]


@pytest.mark.parametrize("data", [b"[]", b"\xff", b'{"digest": "00", "size_bytes": "x"}'])
async def test_a_name_that_cannot_be_read_keeps_its_upload_and_all_bytes_without_a_name(
    place: Place, data: bytes
) -> None:
    stray = await place.put(STORE, "mine/a")
    await place.collector.index.delete(STORE, "mine/a")
    await place.names.create("blob.azureml-blobstore.LocalUpload.upload.m.b", data)

    dry = await place.collector.run(dry=True)
    taken = await place.collector.run(dry=False)

    assert dry == taken
    assert (taken.versions, taken.uploads, taken.names, taken.blobs) == (1, 1, 1, 0)
    assert set(await place.collector.index.containers()) == {STORE}
    assert await place.collector.blobs.exists(stray)


@pytest.mark.parametrize("data", [b"[]", b"\xff", b'{"newest": "x"}'])
async def test_a_mark_of_an_upload_on_its_way_out_that_cannot_be_read_holds_up_no_other(
    place: Place, data: bytes
) -> None:
    """Nor is the upload given back: some of its names may be gone already."""
    await place.collector.states.create("condemned.azureml-blobstore=2FLocalUpload=2Fhalf=2F", data)
    await place.put(STORE, "LocalUpload/half/a")

    taken = await place.collector.run(dry=False)

    assert (taken.versions, taken.names) == (1, 2)
    left = (await place.collector.index.containers())[STORE]
    assert [name for name, _ in left] == ["LocalUpload/half/a"]
    assert len(await place.collector.states.list("condemned")) == 1


async def damage_at(place: Place, bucket: str, key: str, data: bytes) -> None:
    kept = place.specs if bucket == "spec" else place.collector.states
    await kept.create(key, data)
