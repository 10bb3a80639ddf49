"""Garbage collection of uploads and of bytes without a name, one run at a time under a lease.

A version is written before its bytes are looked at again, and a unit is condemned before its marks
are read again; so whichever comes second sees the first, and nothing referenced is collected.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from headrace_api.errors import Conflict, InvalidInput, NotFound
from headrace_api.names import token
from headrace_api.references import parse_path
from headrace_bus.errors import RevisionConflict
from headrace_bus.store.blob_index import BlobIndex
from headrace_bus.store.blobs import FolderBlobs
from headrace_bus.store.bucket import Bucket
from headrace_bus.store.lease import Lease
from headrace_services.control.arm_call import Answer, Call
from headrace_services.control.audit import audit
from headrace_services.control.blob_location import BlobLocation, located
from headrace_services.control.collect import (
    ANY_CONTAINER,
    GRACE,
    Unit,
    indicator_first,
    is_marked,
    is_old,
    unit_of,
    units_of,
)
from headrace_services.control.records import Spec
from headrace_services.control.stored import Shelf

log = structlog.get_logger(__name__)

LEASE: Final = "collect"
BUSY_S: Final = 5.0  # how long a caller waits for another run to end
PERIOD_S: Final = 3600.0
_ADDRESSES: Final = ("modelUri", "codeUri", "dataUri")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a run found, or took."""

    uploads: int = 0
    names: int = 0
    blobs: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Finds and takes what nothing refers to."""

    specs: Shelf[Spec]
    states: Bucket
    index: BlobIndex
    blobs: FolderBlobs
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    grace: timedelta = GRACE

    async def collect(self, call: Call) -> Answer:
        """`POST {W}/collectGarbage {"dryRun": bool}`. Raises Conflict while another run works."""
        dry = call.body.get("dryRun", False)
        if not isinstance(dry, bool):
            raise InvalidInput("'dryRun' must be true or false", target="dryRun")
        found = await self.run(dry=dry)
        audit(call, "collectGarbage/dryRun" if dry else "collectGarbage", "blobs", 0)
        return Answer(body={**asdict(found), "dryRun": dry})

    async def run(self, *, dry: bool) -> Collected:
        """One run. Raises Conflict, BusDisconnected."""
        lease = Lease(self.states, LEASE)
        if not await self._taken(lease):
            raise Conflict("another collection is running", hint="try again in a minute")
        try:
            return await self._run(lease, dry=dry)
        finally:
            await lease.release()

    async def is_condemned(self, place: BlobLocation) -> bool:
        """Whether a run is about to delete the upload at this place."""
        unit = unit_of(place.container, f"{place.path}/")
        return unit is not None and await self.states.get(_key(unit)) is not None

    async def _taken(self, lease: Lease) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BUSY_S):
                while not await lease.acquire():  # noqa: ASYNC110  the lease is another process'
                    await asyncio.sleep(0.2)
                return True
        return False

    async def _run(self, lease: Lease, *, dry: bool) -> Collected:
        units = units_of(await self.index.containers())
        places = await self._marks()
        garbage = [
            unit
            for unit, blobs in units.items()
            if is_old(blobs, self.now(), self.grace) and not is_marked(unit, places)
        ]
        if not dry:
            await self._forgive({_key(unit) for unit in garbage})
        names = 0
        for unit in garbage:
            await lease.renew()
            names += len(units[unit]) if dry else await self._take(unit)
        going = {entry.digest for unit in garbage for _, entry in units[unit]} if dry else set()
        blobs, size_bytes = await self._bytes(lease, going, dry=dry)
        found = Collected(uploads=len(garbage), names=names, blobs=blobs, size_bytes=size_bytes)
        if blobs or names:
            log.info("garbage collected", dry=dry, **asdict(found))
        return found

    async def _forgive(self, garbage: set[str]) -> None:
        """Drop what a dead run condemned and what is referred to since."""
        for key, record in (await self.states.list("condemned")).items():
            if key not in garbage:
                await self.states.delete(key, record.revision)

    async def _take(self, unit: Unit) -> int:
        """Condemn, look again, delete; a run that dies in between leaves it to the next."""
        key = _key(unit)
        with contextlib.suppress(RevisionConflict):  # an earlier run died after it had condemned
            await self.states.create(key, b"{}")
        taken = 0
        blobs = units_of(await self.index.containers()).get(unit, [])
        if is_old(blobs, self.now(), self.grace) and not is_marked(unit, await self._marks()):
            for name, entry in indicator_first(blobs):
                taken += await self.index.delete_unchanged(unit.container, name, entry)
        if (record := await self.states.get(key)) is not None:
            await self.states.delete(key, record.revision)
        return taken

    async def _bytes(self, lease: Lease, going: set[str], *, dry: bool) -> tuple[int, int]:
        """Bytes that no name points at and that nobody wrote within the grace."""
        kept = [digest async for digest in self.blobs.digests()]
        named = await self.index.digests() - await self._only(going)
        count = size_bytes = 0
        for number, digest in enumerate(kept):
            if number % 1000 == 0:
                await lease.renew()
            if digest not in named:
                size = await self.blobs.delete_older(digest, self.grace.total_seconds(), dry=dry)
                count += size is not None
                size_bytes += size or 0
        return count, size_bytes

    async def _only(self, going: set[str]) -> set[str]:
        """Of the digests that would go, those that no other name keeps."""
        if not going:
            return set()
        units = units_of(await self.index.containers())
        places = await self._marks()
        staying = {
            entry.digest
            for unit, blobs in units.items()
            if is_marked(unit, places) or not is_old(blobs, self.now(), self.grace)
            for _, entry in blobs
        }
        outside = {
            entry.digest
            for container, blobs in (await self.index.containers()).items()
            for name, entry in blobs
            if unit_of(container, name) is None
        }
        return going - staying - outside

    async def _marks(self) -> list[BlobLocation]:
        """Every place that an asset points at."""
        found = []
        for stored in await self.specs.list("asset"):
            properties = stored.value.arm["properties"]
            build = properties.get("build") or {}
            for uri in (*(properties.get(key) for key in _ADDRESSES), build.get("contextUri")):
                if isinstance(uri, str) and uri:
                    found += await self._place(uri)
        return found

    async def _place(self, uri: str) -> list[BlobLocation]:
        try:
            return [await located(uri, self.specs.find)]
        except NotFound:
            # Its datastore is gone, so any container may be meant.
            return [BlobLocation(container=ANY_CONTAINER, path=parse_path(uri).path.rstrip("/"))]
        except InvalidInput:
            return []  # an address elsewhere


async def collect_forever(collector: Collector) -> None:
    """Collect once an hour; a failure is told and tried again."""
    while True:
        await asyncio.sleep(PERIOD_S)
        try:
            await collector.run(dry=False)
        except Conflict as error:
            log.info("another collects", reason=error.message)
        except Exception:  # the outer edge of a task that nobody waits for
            log.exception("a collection failed")


def _key(unit: Unit) -> str:
    return f"condemned.{token(f'{unit.container}/{unit.prefix}')}"
