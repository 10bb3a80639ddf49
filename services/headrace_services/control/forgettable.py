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

import structlog

from headrace_bus.errors import RevisionConflict
from headrace_services.control.asset_bodies import is_anonymous
from headrace_services.control.collect import Forgettable, forgotten, word_of
from headrace_services.control.records import Spec
from headrace_services.control.stored import Shelf, Stored
from headrace_telemetry.clock import timestamp

log = structlog.get_logger(__name__)

RENEWED_AFTER: Final = timedelta(days=1)  # of a grace of eight; most uses write nothing
_REFERRING: Final = ("deployment", "catalog", "asset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Finds and takes them."""

    specs: Shelf[Spec]
    applied: Shelf[Spec]
    """What failed updates of deployments fall back to."""
    now: Callable[[], datetime]
    grace: timedelta

    async def take(self, *, dry: bool) -> set[str]:
        """Their keys; deleted unless `dry`, or used meanwhile.

        Nothing goes while a record that may name one cannot be read, for it may name any.
        """
        anonymous: dict[str, Stored[Spec]] = {}
        applied = await self.applied.look("applied")
        roots = [_text(stored.value) for stored in applied.whole]
        damaged = [*applied.damaged]
        for kind in _REFERRING:
            found = await self.specs.look(kind)
            damaged += found.damaged
            for stored in found.whole:
                if kind == "asset" and self._is_old(stored.value):
                    anonymous[stored.key] = stored
                else:
                    roots.append(_text(stored.value))
        if damaged:
            keys = [one.key for one in damaged]
            log.warning("versions are kept that a damaged record may name", records=keys)
            return set()
        gone = forgotten({key: _forgettable(one.value) for key, one in anonymous.items()}, roots)
        return gone if dry else {key for key in gone if await self._deleted(anonymous[key])}

    async def _deleted(self, stored: Stored[Spec]) -> bool:
        try:
            await self.specs.delete(stored)
        except RevisionConflict:
            return False
        return True

    def _is_old(self, spec: Spec) -> bool:
        if not is_anonymous(spec) or not spec.modified_at:
            return False
        return self.now() - datetime.fromisoformat(spec.modified_at) > self.grace


async def renewed(specs: Shelf[Spec], stored: Stored[Spec]) -> Spec | None:
    """A version that may be referred to from now on; None when it was collected meanwhile."""
    spec = stored.value
    if not is_anonymous(spec) or not spec.modified_at:
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
