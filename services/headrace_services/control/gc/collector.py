"""Garbage collection of anonymous versions, of uploads, of bytes without a name or a writer.

One run at a time under a lease, which spares work; what keeps each step safe is told where the step
is: `forgettable` for versions, `condemned` for uploads, the blob store's lock for bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from headrace_api.errors import Conflict, InvalidInput, NotFound
from headrace_api.references import parse_path
from headrace_bus.errors import LeaseLost, UnreadableName
from headrace_bus.store.blob_index import BlobIndex
from headrace_bus.store.blobs import FolderBlobs
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.lease import Lease
from headrace_scorer.environment_use import collect as collect_environments
from headrace_services.control.arm.request import Answer, Call
from headrace_services.control.assets.anonymous import Versions
from headrace_services.control.blobs.uploads import BlockStage
from headrace_services.control.gc.policy import (
    ANY_CONTAINER,
    GRACE,
    Named,
    Unit,
    is_marked,
    is_old,
    unit_of,
    units_of,
)
from headrace_services.control.gc.tombstones import Tombstones
from headrace_services.control.resources.change_log import audit
from headrace_state.blob_location import BlobLocation, located
from headrace_state.records import Spec, UnreadableRecord
from headrace_state.repository import Repository

log = structlog.get_logger(__name__)

LEASE: Final = "collect"
BUSY_S: Final = 5.0  # how long a caller waits for another run to end
PERIOD_S: Final = 3600.0
_ADDRESSES: Final = ("modelUri", "codeUri", "dataUri")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a run found, or took."""

    versions: int = 0
    """Anonymous ones."""
    uploads: int = 0
    """With those that were never finished: their blocks wait for a list in vain."""
    names: int = 0
    blobs: int = 0
    environments: int = 0
    """That no instance has used for two weeks, or whose builder was killed."""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Finds and takes what nothing refers to."""

    specs: Repository[Spec]
    states: Bucket
    index: BlobIndex
    blobs: FolderBlobs
    stage: BlockStage
    environments: Path
    """The folder of this host's environments."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    grace: timedelta = GRACE

    @property
    def versions(self) -> Versions:
        applied = Repository(self.states, Spec)
        return Versions(specs=self.specs, applied=applied, now=self.now, grace=self.grace)

    async def collect(self, call: Call) -> Answer:
        """`POST {W}/collectGarbage {"dryRun": bool}`. Raises Conflict while another run works."""
        dry = call.body.get("dryRun", False)
        if not isinstance(dry, bool):
            raise InvalidInput("'dryRun' must be true or false", target="dryRun")
        found = await self.run(dry=dry)
        audit(call, "collectGarbage/dryRun" if dry else "collectGarbage", "blobs", 0)
        return Answer(body={**asdict(found), "dryRun": dry})

    async def run(self, *, dry: bool) -> Collected:
        """One run. Raises Conflict while another works, LeaseLost, BusDisconnected."""
        async with AsyncExitStack() as stack:
            lease = Lease(self.states, LEASE)
            try:
                async with asyncio.timeout(BUSY_S):
                    await stack.enter_async_context(lease.hold(lambda: None))
            except TimeoutError:
                words = "a garbage collection is already running"
                raise Conflict(words, hint="try again in a minute") from None
            return await self._run(lease, dry=dry)

    @property
    def condemned(self) -> Tombstones:
        return Tombstones(states=self.states, index=self.index)

    async def _run(self, lease: Lease, *, dry: bool) -> Collected:
        names = 0 if dry else await self.condemned.settle()
        versions = await self.versions.take(dry=dry)
        units = units_of(await self.index.containers())
        places = await self._marks(leave_out=versions)
        garbage = [
            unit
            for unit, blobs in units.items()
            if is_old(blobs, self.now(), self.grace) and not is_marked(unit, places)
        ]
        for unit in garbage:
            _require_held(lease)
            names += len(units[unit]) if dry else await self._take(unit)
        going = _only_in(await self.index.containers(), set(garbage)) if dry else set()
        blobs, size_bytes = await self._bytes(lease, going, dry=dry)
        unfinished = await self.stage.drop_idle(dry=dry)
        environments, freed = await asyncio.to_thread(
            collect_environments, self.environments, now_s=self.now().timestamp(), dry=dry
        )
        found = Collected(
            versions=len(versions),
            uploads=len(garbage) + len(unfinished),
            names=names,
            blobs=blobs,
            environments=environments,
            size_bytes=size_bytes + sum(unfinished) + freed,
        )
        if any((versions, names, blobs, unfinished, environments)):
            log.info("garbage collected", dry=dry, **asdict(found))
        return found

    async def _take(self, unit: Unit) -> int:
        async def is_garbage(names: Sequence[Named]) -> bool:
            return is_old(names, self.now(), self.grace) and not is_marked(
                unit, await self._marks()
            )

        return await self.condemned.take(unit, is_garbage)

    async def _bytes(self, lease: Lease, going: set[str], *, dry: bool) -> tuple[int, int]:
        """Bytes that no name points at and that nobody wrote within the grace.

        None of them goes while a name cannot be read, for it may point at any.
        """
        kept = [digest async for digest in self.blobs.digests()]
        try:
            named = await self.index.digests() - going
        except UnreadableName as error:
            log.warning(
                "blobs are kept because an unreadable name may refer to them", key=error.target
            )
            return 0, 0
        count = size_bytes = 0
        for number, digest in enumerate(kept):
            if number % 1000 == 0:
                _require_held(lease)
            if digest not in named:
                size = await self.blobs.delete_older(digest, self.grace.total_seconds(), dry=dry)
                count += size is not None
                size_bytes += size or 0
        return count, size_bytes

    async def _marks(self, leave_out: Container[str] = ()) -> list[BlobLocation]:
        """Every place that an asset points at, but for versions of these keys.

        One that cannot be read may point at any.
        """
        assets = await self.specs.look("asset")
        found = [BlobLocation(container=ANY_CONTAINER, path="")] if assets.damaged else []
        for stored in assets.whole:
            if stored.key in leave_out:
                continue
            properties = stored.value.arm["properties"]
            build = properties.get("build") or {}
            for uri in (*(properties.get(key) for key in _ADDRESSES), build.get("contextUri")):
                if isinstance(uri, str) and uri:
                    found += await self._place(uri)
        return found

    async def _place(self, uri: str) -> list[BlobLocation]:
        try:
            return [await located(uri, self.specs.find)]
        except (NotFound, UnreadableRecord):
            # Its datastore is gone, or cannot be read, so any container may be meant.
            return [BlobLocation(container=ANY_CONTAINER, path=parse_path(uri).path.rstrip("/"))]
        except InvalidInput:
            return []  # an address elsewhere


async def collect_forever(collector: Collector) -> None:
    """Collect once an hour, and at once what a dead run left; a failure is told and tried again."""
    pause_s = 0.0
    while True:
        await asyncio.sleep(pause_s)
        try:
            if pause_s or await collector.condemned.any_left():
                await collector.run(dry=False)
        except Conflict as error:
            log.info("another collects", reason=error.message)
        except Exception:  # the outer edge of a task that nobody waits for
            log.exception("a garbage collection failed")
        pause_s = PERIOD_S


def _only_in(containers: Mapping[str, Iterable[Named]], garbage: Container[Unit]) -> set[str]:
    """Digests that no name keeps outside of what would go."""
    going: set[str] = set()
    staying: set[str] = set()
    for container, blobs in containers.items():
        for name, entry in blobs:
            goes = unit_of(container, name) in garbage
            (going if goes else staying).add(entry.digest)
    return going - staying


def _require_held(lease: Lease) -> None:
    """Raises LeaseLost. Nothing depends on it but that two runs do not do the same work."""
    if not lease.held:
        raise LeaseLost(lease.name)
