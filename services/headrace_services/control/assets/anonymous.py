"""Anonymous versions that nothing names: made for what was given inline, gone when it is.

Whoever is about to refer to one writes it anew first (`renewed`), which makes it young and changes
its revision; a collection deletes a version at the revision at which it was old. So whichever of
the two comes second learns of the first.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from headrace_bus.errors import RevisionConflict
from headrace_services.control.assets.bodies import is_anonymous
from headrace_state.records import Spec
from headrace_state.repository import Repository, Stored
from headrace_telemetry.clock import timestamp

log = structlog.get_logger(__name__)

RENEWED_AFTER: Final = timedelta(days=1)  # of a grace of eight; most uses write nothing
_REFERRING: Final = ("deployment", "catalog", "asset")
_WORD: Final = re.compile(r"[0-9a-z_-]{32,}")  # shortest: a GUID's or MD5's hexadecimal digits
_RANDOM: Final = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnonymousAsset:
    """A version that was made for something given inline."""

    word: str
    """See `word_of`."""
    text: str
    """Its body as JSON, in which it may name others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Finds and takes them."""

    specs: Repository[Spec]
    applied: Repository[Spec]
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
            log.warning(
                "versions are kept because an unreadable record may refer to them", records=keys
            )
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


async def renewed(specs: Repository[Spec], stored: Stored[Spec]) -> Spec | None:
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


def _forgettable(spec: Spec) -> AnonymousAsset:
    return AnonymousAsset(word=word_of(spec.name, str(spec.arm["version"])), text=_text(spec))


def _text(spec: Spec) -> str:
    return json.dumps(spec.arm)


def forgotten(anonymous: Mapping[str, AnonymousAsset], roots: Iterable[str]) -> set[str]:
    """Keys of the versions that no text among the roots leads to, directly or by another version.

    A version is named by a word of its own, a hash or a GUID; one without is never forgotten.
    """
    by_word: dict[str, list[str]] = {}
    left = {key for key, one in anonymous.items() if one.word}
    for key in left:
        by_word.setdefault(anonymous[key].word, []).append(key)
    texts = [*roots, *(one.text for key, one in anonymous.items() if key not in left)]
    while texts and left:
        for word in set(_WORD.findall(texts.pop().lower())):
            for key in left.intersection(by_word.get(word, ())):
                left.discard(key)
                texts.append(anonymous[key].text)
    return left


def word_of(name: str, version: str) -> str:
    """What no text holds by chance, unless it names the version; empty when there is none."""
    words = (one.lower() for one in (version, name))
    return next((one for one in words if _WORD.fullmatch(one) and _RANDOM.search(one)), "")
