"""The buckets that the reconciler reads and writes, and the copies of them that a round reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from headrace_bus.store.blob_index import BlobIndex
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.cache import BucketCache
from headrace_state.endpoint_keys import EndpointKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStores:
    """What the reconciler reads and writes."""

    specs: Bucket
    state: Bucket
    keys: EndpointKeys
    blobs: BlobIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """What a round reads, kept in memory: one in which nothing changed asks JetStream nothing."""

    specs: BucketCache
    state: BucketCache
    secrets: BucketCache

    @classmethod
    def of(cls, stores: FleetStores) -> Self:
        """Not yet followed."""
        return cls(
            specs=BucketCache(stores.specs, ("endpoint", "deployment", "client", "issuer")),
            state=BucketCache(
                stores.state, ("status", "applied", "instance", "jwks", "route", "lease")
            ),
            secrets=BucketCache(stores.keys.bucket, ("keys",)),
        )

    def all(self) -> tuple[BucketCache, ...]:
        """For what is done to each."""
        return self.specs, self.state, self.secrets

    async def current(self, state_revision: int) -> None:
        """Wait until all are up to date, so that nothing is decided by half a view.

        Raises BusDisconnected.
        """
        await self.state.current(revision=state_revision)
        await self.specs.current()
        await self.secrets.current()

    def relist(self) -> None:
        """Trust nothing that was read so far."""
        for cache in self.all():
            cache.relist()
