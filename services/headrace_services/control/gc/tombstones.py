"""Uploads on their way out: one record each, every step by compare-and-set.

    nothing    -> condemned   who creates a version from now on sees it, and takes the version back
    condemned  -> doomed      nothing refers to it, asked once more; holds its newest revision
    doomed     -> nothing     every name up to that revision is gone

A version is written before this record is looked at, and this record before the versions are; so
whichever comes second sees the first. A run that was killed or paused has lost: the next one
changes the record, drops what was condemned and completes what was doomed. Names that somebody
writes meanwhile have newer revisions and stay.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from headrace_api.names import token, untoken
from headrace_bus.errors import RevisionConflict
from headrace_bus.store.blob_index import BlobIndex
from headrace_bus.store.bucket import Bucket
from headrace_services.control.gc.policy import (
    Named,
    Unit,
    indicator_first,
    is_marked,
    may_hold_units,
    unit_of,
)
from headrace_state.blob_location import BlobLocation

log = structlog.get_logger(__name__)

PREFIX = "condemned"
_CONDEMNED = b"{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstones:
    """The records, and what they stand for."""

    states: Bucket
    index: BlobIndex

    async def holds(self, place: BlobLocation) -> bool:
        """Whether an upload at, above or below this place is on its way out."""
        unit = unit_of(place.container, f"{place.path}/")
        if unit is not None:
            return await self.states.get(_key(unit)) is not None
        if not may_hold_units(place.container):
            return False
        return any(is_marked(_unit(key), [place]) for key in await self.states.list(PREFIX))

    async def take(
        self, unit: Unit, is_garbage: Callable[[Sequence[Named]], Awaitable[bool]]
    ) -> int:
        """Take an upload if it still is garbage; how many names went."""
        try:
            revision = await self.states.create(_key(unit), _CONDEMNED)
            names = await self._names(unit)
            if not names or not await is_garbage(names):
                await self.states.delete(_key(unit), revision)
                return 0
            newest = max(entry.revision for _, entry in names)
            doomed = json.dumps({"newest": newest}).encode()
            revision = await self.states.update(_key(unit), doomed, revision)
        except RevisionConflict:
            return 0  # another run has it now
        return await self._finish(unit, newest, revision)

    async def any_left(self) -> bool:
        """Whether a run did not come to its end, or is still at it."""
        return bool(await self.states.list(PREFIX))

    async def settle(self) -> int:
        """End what a dead run began; how many names went."""
        taken = 0
        for key, record in (await self.states.list(PREFIX)).items():
            try:
                newest = _newest(record.value)
            except (ValueError, RecursionError) as error:
                # It may be doomed and half gone: nobody may refer to it, and nothing more is taken.
                log.warning(
                    "an upload's garbage-collection mark cannot be read", key=key, reason=str(error)
                )
                continue
            if newest is not None:
                taken += await self._finish(_unit(key), newest, record.revision)
                continue
            with contextlib.suppress(RevisionConflict):
                await self.states.delete(key, record.revision)
        return taken

    async def _finish(self, unit: Unit, newest: int, revision: int) -> int:
        taken = 0
        for name, entry in indicator_first(await self._names(unit)):
            if entry.revision <= newest:
                taken += await self.index.delete_unchanged(unit.container, name, entry)
        with contextlib.suppress(RevisionConflict):  # another run was faster
            await self.states.delete(_key(unit), revision)
        return taken

    async def _names(self, unit: Unit) -> list[Named]:
        found: list[Named] = []
        marker = ""
        while True:
            page = await self.index.list(unit.container, unit.prefix, marker=marker)
            found += page.entries
            if not page.next:
                return found
            marker = page.next


def _newest(value: bytes) -> int | None:
    """Of a record that dooms, the newest revision that goes. Raises ValueError."""
    found = json.loads(value)
    newest = found.get("newest") if isinstance(found, dict) else ""
    if newest is None or (isinstance(newest, int) and not isinstance(newest, bool)):
        return newest
    raise ValueError("it is neither condemned nor doomed")


def _key(unit: Unit) -> str:
    return f"{PREFIX}.{token(f'{unit.container}/{unit.prefix}')}"


def _unit(key: str) -> Unit:
    container, _, prefix = untoken(key.removeprefix(f"{PREFIX}.")).partition("/")
    return Unit(container=container, prefix=prefix)
