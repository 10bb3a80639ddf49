"""Anonymous versions that nothing names: made for what was given inline, gone when it is.

Whoever is about to refer to one writes it anew first (`renewed`), which makes it young and changes
its revision; a collection deletes a version at the revision at which it was old. So whichever of
the two comes second learns of the first.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace_bus.errors import RevisionConflict
from headrace_bus.store.bucket import Bucket
from headrace_services.control.asset_bodies import is_anonymous
from headrace_services.control.collect import Forgettable, forgotten, word_of
from headrace_services.control.records import Spec
from headrace_services.control.stored import Shelf, Stored
from headrace_telemetry.clock import timestamp

RENEWED_AFTER: Final = timedelta(days=1)  # of a grace of eight; most uses write nothing
_REFERRING: Final = ("deployment", "catalog", "asset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Finds and takes them."""

    specs: Shelf[Spec]
    states: Bucket
    now: Callable[[], datetime]
    grace: timedelta

    async def take(self, *, dry: bool) -> set[str]:
        """Their keys; deleted unless `dry`, or used meanwhile."""
        anonymous: dict[str, Stored[Spec]] = {}
        roots = [record.value.decode() for record in (await self.states.list("applied")).values()]
        for kind in _REFERRING:
            for stored in await self.specs.list(kind):
                if kind == "asset" and self._is_old(stored.value):
                    anonymous[stored.key] = stored
                else:
                    roots.append(_text(stored.value))
        found = forgotten({key: _forgettable(one.value) for key, one in anonymous.items()}, roots)
        return found if dry else {key for key in found if await self._deleted(anonymous[key])}

    async def _deleted(self, stored: Stored[Spec]) -> bool:
        try:
            await self.specs.delete(stored)
        except RevisionConflict:
            return False
        return True

    def _is_old(self, spec: Spec) -> bool:
        if not is_anonymous(spec):
            return False
        return self.now() - datetime.fromisoformat(spec.modified_at) > self.grace


async def renewed(specs: Shelf[Spec], stored: Stored[Spec]) -> Spec | None:
    """A version that may be referred to from now on; None when it was collected meanwhile."""
    spec = stored.value
    if not is_anonymous(spec):
        return spec
    age = datetime.now(UTC) - datetime.fromisoformat(spec.modified_at)
    if age > RENEWED_AFTER:
        with contextlib.suppress(RevisionConflict):
            await specs.update(stored, replace(spec, modified_at=timestamp()))
            return spec
        return await specs.find(stored.key)
    return spec


def _forgettable(spec: Spec) -> Forgettable:
    return Forgettable(word=word_of(spec.name, str(spec.arm["version"])), text=_text(spec))


def _text(spec: Spec) -> str:
    return json.dumps(spec.arm)
