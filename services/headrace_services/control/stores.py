"""What the control process keeps, opened on one connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from headrace_api.home import Home
from headrace_bus.client.connection import Bus
from headrace_bus.store.blob_index import BlobIndex
from headrace_bus.store.blobs import FolderBlobs
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.events import Events
from headrace_bus.store.secrets import SecretStore, secret_key
from headrace_services.control.blobs.containers import ContainerStore
from headrace_services.control.blobs.uploads import BlockStage
from headrace_state.endpoint_keys import EndpointKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What the process keeps, opened."""

    specs: Bucket
    states: Bucket
    keys: EndpointKeys
    index: BlobIndex
    folder: FolderBlobs
    stage: BlockStage
    blobs: ContainerStore
    events: Events


async def open_stores(bus: Bus, home: Home) -> Stores:
    """Raises BusDisconnected, JetStreamRefused, InvalidInput for a damaged secret key."""
    specs, states, secrets, names = [
        await Bucket.open(bus, name) for name in ("spec", "state", "secrets", "blobs")
    ]
    index = BlobIndex(names)
    secret = await asyncio.to_thread(secret_key, home.root / "secret.key")
    folder = await asyncio.to_thread(FolderBlobs, home.blobs)
    stage = BlockStage(home.blobs / "blocks")
    return Stores(
        specs=specs,
        states=states,
        keys=EndpointKeys(SecretStore(secrets, secret)),
        index=index,
        folder=folder,
        stage=stage,
        blobs=ContainerStore(folder, index, stage),
        events=await Events.open(bus),
    )
