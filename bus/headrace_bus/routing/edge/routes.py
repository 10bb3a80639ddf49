"""The routes a gateway applies: read at the start, on `changed.<ep>`, on reconnect and in full."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

import structlog

from headrace_api.errors import HeadraceError
from headrace_bus.errors import MalformedEnvelope
from headrace_bus.routing.edge.route import Router
from headrace_bus.store.bucket import Bucket
from headrace_bus.wire.route_record import KEY_PREFIX, Route, route_key
from headrace_telemetry.clock import monotonic

log = structlog.get_logger(__name__)

FULL_READ_S: Final = 10.0  # how long a lost `changed` message can go unnoticed
RETRY_S: Final = 0.2  # after a read that failed: on a first start control makes the bucket just now


class StoredRoute(NamedTuple):
    """A route and the revision it was stored under."""

    route: Route
    revision: int


class RouteReader(Protocol):
    """Where routes are stored. Every method raises HeadraceError when the store is away."""

    async def read(self, endpoint: str) -> StoredRoute | None: ...

    async def read_all(self) -> Mapping[str, StoredRoute | None]: ...


class BucketRoutes:
    """Routes in the `state` bucket, as control writes them."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def read(self, endpoint: str) -> StoredRoute | None:
        record = await self._bucket.listed(route_key(endpoint))
        if record is None:
            return None
        return StoredRoute(Route.decode(record.value), record.revision)

    async def read_all(self) -> dict[str, StoredRoute | None]:
        """Every route; None, and a line in the log, for one that is malformed."""
        found: dict[str, StoredRoute | None] = {}
        for key, record in (await self._bucket.list(KEY_PREFIX.rstrip("."))).items():
            stored = None
            try:
                stored = StoredRoute(Route.decode(record.value), record.revision)
            except MalformedEnvelope as error:
                log.warning(
                    "a route could not be read; the last one stays", key=key, error=str(error)
                )
            found[key.removeprefix(KEY_PREFIX)] = stored
        return found


class RouteTable:
    """Routers by endpoint, with the revision each was made from."""

    def __init__(self, reader: RouteReader, seed: int) -> None:
        self.routers: dict[str, Router] = {}
        self.applied: dict[str, int] = {}
        self.read = False
        """Whether routes were read at least once."""
        self._reader = reader
        self._rng = random.Random(seed)
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        self._all = True

    def changed(self, endpoint: str | None) -> None:
        """Read one endpoint's route again soon; None: all of them."""
        if endpoint is None:
            self._all = True
        else:
            self._dirty.add(endpoint)
        self._wake.set()

    async def keep_fresh(self, on_applied: Callable[[], None]) -> None:
        """Run for ever; calls `on_applied` after each read that succeeded."""
        next_full = monotonic() + (FULL_READ_S if self.read else RETRY_S)
        while True:
            try:
                async with asyncio.timeout(max(0.0, next_full - monotonic())):
                    await self._wake.wait()
            except TimeoutError:
                self._all = True
                next_full = monotonic() + FULL_READ_S
            if await self.refresh():
                on_applied()
            else:
                next_full = monotonic() + RETRY_S

    async def refresh(self) -> bool:
        """Read what is marked; what could not be read stays as it is and is read again soon."""
        self._wake.clear()
        everything, self._all = self._all, False
        dirty, self._dirty = self._dirty, set()
        try:
            if everything:
                self._replace(await self._reader.read_all())
            else:
                for endpoint in dirty:
                    self._apply(endpoint, await self._reader.read(endpoint))
        except (HeadraceError, TimeoutError) as error:
            log.warning("routes could not be read; the last ones stay", error=str(error))
            return False
        self.read = True
        return True

    def _replace(self, stored: Mapping[str, StoredRoute | None]) -> None:
        for endpoint in set(self.routers) - set(stored):
            self._apply(endpoint, None)
        for endpoint, one in stored.items():
            if one is not None:
                self._apply(endpoint, one)

    def _apply(self, endpoint: str, stored: StoredRoute | None) -> None:
        if stored is None:
            self.routers.pop(endpoint, None)
            self.applied.pop(endpoint, None)
            return
        known = self.routers.get(endpoint)
        if known is None:
            self.routers[endpoint] = Router(stored.route, self._rng)
        elif stored.revision != self.applied[endpoint]:
            self.routers[endpoint] = known.updated(stored.route, self._rng)
        self.applied[endpoint] = stored.revision
