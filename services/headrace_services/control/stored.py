"""Records of a bucket with their revision: read typed, written by compare-and-set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from headrace_bus.store.bucket import Bucket
from headrace_services.control.records import Operation, Spec, Status

R = TypeVar("R", Spec, Status, Operation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored(Generic[R]):
    """One record as it was read."""

    key: str
    value: R
    revision: int


class Shelf(Generic[R]):
    """All records of one type in one bucket."""

    def __init__(self, bucket: Bucket, kind: type[R]) -> None:
        self._bucket = bucket
        self._kind = kind

    async def get(self, key: str) -> Stored[R] | None:
        entry = await self._bucket.get(key)
        if entry is None:
            return None
        return Stored(key=key, value=self._kind.decode(entry.value), revision=entry.revision)

    async def list(self, prefix: str) -> list[Stored[R]]:
        """Every record under a prefix, by key."""
        entries = await self._bucket.list(prefix)
        found = [
            Stored(key=key, value=self._kind.decode(entry.value), revision=entry.revision)
            for key, entry in entries.items()
        ]
        return sorted(found, key=lambda one: one.key)

    async def create(self, key: str, value: R) -> Stored[R]:
        """Raises RevisionConflict when the key is taken."""
        revision = await self._bucket.create(key, value.encode())
        return Stored(key=key, value=value, revision=revision)

    async def update(self, old: Stored[R], value: R) -> Stored[R]:
        """Raises RevisionConflict when somebody changed it since it was read."""
        revision = await self._bucket.update(old.key, value.encode(), old.revision)
        return Stored(key=old.key, value=value, revision=revision)

    async def put(self, old: Stored[R] | None, key: str, value: R) -> Stored[R]:
        """Create when there was none, else update."""
        return await (self.create(key, value) if old is None else self.update(old, value))

    async def delete(self, old: Stored[R]) -> None:
        """Raises RevisionConflict when somebody changed it since it was read."""
        await self._bucket.delete(old.key, old.revision)
