"""Records of a bucket with their revision: read typed, written by compare-and-set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from headrace_api.errors import InvalidInput
from headrace_bus.errors import RevisionConflict
from headrace_bus.store.bucket import Bucket, Record
from headrace_state.records import (
    Client,
    IssuerKeys,
    Operation,
    OuterIssuer,
    Spec,
    Status,
    UnreadableRecord,
)

log = structlog.get_logger(__name__)

MAX_RECORD_BYTES: Final = 3 * 1024 * 1024  # below what a bucket takes

R = TypeVar("R", Spec, Status, Operation, Client, OuterIssuer, IssuerKeys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """That there is a record, whatever it holds: enough to write over it or to delete it."""

    key: str
    revision: int

    @property
    def etag(self) -> dict[str, str]:
        """The header by which a later write may say what it has read (RFC 9110 13.1.1)."""
        return {"ETag": f'"{self.revision}"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored(Entry, Generic[R]):
    """One record as it was read."""

    value: R


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged(Entry):
    """One record that cannot be read."""

    error: UnreadableRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved(Generic[R]):
    """What lies under a prefix, by key."""

    whole: list[Stored[R]]
    damaged: list[Damaged]


class Repository(Generic[R]):
    """All records of one type in one bucket."""

    def __init__(self, bucket: Bucket, kind: type[R]) -> None:
        self._bucket = bucket
        self._kind: type[R] = kind
        self._logged: dict[str, int] = {}
        """Revisions of the damaged records that the log tells of, by key."""

    async def get(self, key: str) -> Stored[R] | None:
        """Raises UnreadableRecord."""
        record = await self._bucket.get(key)
        if record is None:
            return None
        return self._stored(key, record)

    async def find(self, key: str) -> R | None:
        """As `get`, without the revision."""
        stored = await self.get(key)
        return None if stored is None else stored.value

    async def present(self, key: str) -> Stored[R] | Damaged | None:
        """As `get`, for who writes over a record or deletes it: one that cannot be read too."""
        record = await self._bucket.get(key)
        return None if record is None else self._told(key, record)

    async def list(self, prefix: str) -> list[Stored[R]]:
        """Every record under a prefix that can be read, by key: one that cannot hides no other."""
        return (await self.look(prefix)).whole

    async def look(self, prefix: str) -> Shelved[R]:
        """As `list`, for who has to know of those that cannot be read."""
        records = await self._bucket.list(prefix)
        found = [self._told(key, records[key]) for key in sorted(records)]
        return Shelved(
            whole=[one for one in found if isinstance(one, Stored)],
            damaged=[one for one in found if isinstance(one, Damaged)],
        )

    async def create(self, key: str, value: R) -> Stored[R]:
        """Raises RevisionConflict when the key is taken."""
        revision = await self._bucket.create(key, _bounded(value))
        return Stored(key=key, value=value, revision=revision)

    async def claim(self, key: str, value: R) -> Stored[R]:
        """As `create`, also over what cannot be read."""
        found = await self.present(key)
        if isinstance(found, Stored):
            raise RevisionConflict(key, 0)
        return await self.put(found, key, value)

    async def update(self, old: Entry, value: R) -> Stored[R]:
        """Raises RevisionConflict when somebody changed it since it was read."""
        revision = await self._bucket.update(old.key, _bounded(value), old.revision)
        return Stored(key=old.key, value=value, revision=revision)

    async def put(self, old: Entry | None, key: str, value: R) -> Stored[R]:
        """Create when there was none, else update."""
        return await (self.create(key, value) if old is None else self.update(old, value))

    async def delete(self, old: Entry) -> None:
        """Raises RevisionConflict when somebody changed it since it was read."""
        await self._bucket.delete(old.key, old.revision)

    def _stored(self, key: str, record: Record) -> Stored[R]:
        value = self._kind.decode(record.value, key)
        return Stored(key=key, value=value, revision=record.revision)

    def _told(self, key: str, record: Record) -> Stored[R] | Damaged:
        """Logs a damage once, not each time that somebody lists."""
        try:
            stored = self._stored(key, record)
        except UnreadableRecord as error:
            if self._logged.get(key) != record.revision:
                self._logged[key] = record.revision
                log.warning("a record cannot be read", key=key, reason=error.why)
            return Damaged(key=key, revision=record.revision, error=error)
        self._logged.pop(key, None)
        return stored


def readable(found: Stored[R] | Damaged | None) -> Stored[R] | None:
    """What of a record there is to go by: of a damaged one as little as of none."""
    return found if isinstance(found, Stored) else None


def etag_of(stored: Entry | None) -> dict[str, str]:
    """As `Stored.etag`, also of what has no record before it is changed: revisions begin at 1."""
    return {"ETag": '"0"'} if stored is None else stored.etag


def _bounded(
    value: Spec | Status | Operation | Client | OuterIssuer | IssuerKeys,
) -> bytes:
    data = value.encode()
    if len(data) > MAX_RECORD_BYTES:
        raise InvalidInput(
            f"a resource of {len(data)} bytes is over the {MAX_RECORD_BYTES} limit",
            target="body",
        )
    return data
