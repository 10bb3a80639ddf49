"""What nothing refers to: decided from names, marks and ages alone. Pure.

Only what clients upload by content or by code container is ever looked at; whatever else lies in
a datastore is the user's. Of versions only those that a client made by itself for something that
was given inline: nobody chose their names, and they are not listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from headrace_bus.store.blob_index import BlobEntry
from headrace_services.control.blobs.sas import MAX_LIFETIME
from headrace_state.blob_location import DATASTORES, UPLOADS, BlobLocation

GRACE: Final = MAX_LIFETIME + timedelta(days=1)  # no signature, so no upload, lasts as long
ANY_CONTAINER: Final = "*"
_CODE: Final = re.compile(r"code-[0-9a-f]{32}")
_INDICATOR: Final = "upload_status"


Named = tuple[str, BlobEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one upload made, kept or collected as a whole."""

    container: str
    prefix: str
    """`LocalUpload/<hash>/`, or empty for a container of code."""


def unit_of(container: str, name: str) -> Unit | None:
    """The upload a blob, or a folder, belongs to; None for what is never collected."""
    if _CODE.fullmatch(container):
        return Unit(container=container, prefix="")
    if container not in DATASTORES.values() or not name.startswith(UPLOADS):
        return None
    folder, slash, _ = name[len(UPLOADS) :].partition("/")
    return Unit(container=container, prefix=f"{UPLOADS}{folder}/") if folder and slash else None


def may_hold_units(container: str) -> bool:
    return container in DATASTORES.values() or _CODE.fullmatch(container) is not None


def units_of(containers: Mapping[str, Iterable[Named]]) -> dict[Unit, list[Named]]:
    found: dict[Unit, list[Named]] = {}
    for container, blobs in containers.items():
        for name, entry in blobs:
            if (unit := unit_of(container, name)) is not None:
                found.setdefault(unit, []).append((name, entry))
    return found


def is_marked(unit: Unit, places: Iterable[BlobLocation]) -> bool:
    """Whether a place lies in the unit, is it, or holds it."""
    for place in places:
        if place.container in (unit.container, ANY_CONTAINER):
            path = f"{place.path}/" if place.path else ""
            if path.startswith(unit.prefix) or unit.prefix.startswith(path):
                return True
    return False


def is_old(blobs: Iterable[Named], now: datetime, grace: timedelta = GRACE) -> bool:
    """Whether nothing of it was written within the grace; of what cannot be read nobody knows."""
    return all(
        entry.modified != "" and now - datetime.fromisoformat(entry.modified) > grace
        for _, entry in blobs
    )


def indicator_first(blobs: Iterable[Named]) -> list[Named]:
    """The order of deletion: a client that finds the indicator gone uploads all again."""
    return sorted(blobs, key=lambda one: (_INDICATOR not in one[1].metadata, one[0]))
