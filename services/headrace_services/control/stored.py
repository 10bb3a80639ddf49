"""Records of a bucket with their revision: read typed, written by compare-and-set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import structlog

from headrace_api.errors import InvalidInput
from headrace_bus.store.bucket import Bucket, Record
from headrace_services.control.records import (
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
class Stored(Generic[R]):
    """One record as it was read."""

    key: str
    value: R
    revision: int

    @property
    def etag(self) -> dict[str, str]:
        """The header by which a later write may say what it has read (RFC 9110 13.1.1)."""
        return {"ETag": f'"{self.revision}"'}


class Shelf(Generic[R]):
    """All records of one type in one bucket."""

    def __init__(self, bucket: Bucket, kind: type[R]) -> None:
        self._bucket = bucket
        self._kind: type[R] = kind

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

    async def readable(self, prefix: str) -> list[Stored[R]]:
        """As `list`, for views: what cannot be read is logged and hides nothing else."""
        records = await self._bucket.list(prefix)
        found = []
        for key in sorted(records):
            try:
                found.append(self._stored(key, records[key]))
            except UnreadableRecord as error:
                log.warning("a record cannot be read", key=key, reason=error.why)
        return found

    async def list(self, prefix: str) -> list[Stored[R]]:
        """Every record under a prefix, by key. Raises UnreadableRecord."""
        records = await self._bucket.list(prefix)
        return [self._stored(key, records[key]) for key in sorted(records)]

    async def create(self, key: str, value: R) -> Stored[R]:
        """Raises RevisionConflict when the key is taken."""
        revision = await self._bucket.create(key, _bounded(value))
        return Stored(key=key, value=value, revision=revision)

    async def update(self, old: Stored[R], value: R) -> Stored[R]:
        """Raises RevisionConflict when somebody changed it since it was read."""
        revision = await self._bucket.update(old.key, _bounded(value), old.revision)
        return Stored(key=old.key, value=value, revision=revision)

    async def put(self, old: Stored[R] | None, key: str, value: R) -> Stored[R]:
        """Create when there was none, else update."""
        return await (self.create(key, value) if old is None else self.update(old, value))

    async def delete(self, old: Stored[R]) -> None:
        """Raises RevisionConflict when somebody changed it since it was read."""
        await self._bucket.delete(old.key, old.revision)

    def _stored(self, key: str, record: Record) -> Stored[R]:
        value = self._kind.decode(record.value, key)
        return Stored(key=key, value=value, revision=record.revision)


def etag_of(stored: Stored[Any] | None) -> dict[str, str]:
    """As `Stored.etag`, also of what has no record before it is changed: revisions begin at 1."""
    return {"ETag": '"0"'} if stored is None else stored.etag


def _bounded(
    value: Spec | Status | Operation | Client | OuterIssuer | IssuerKeys,
) -> bytes:
    data = value.encode()
    if len(data) > MAX_RECORD_BYTES:
        raise InvalidInput(
            f"a resource of {len(data)} bytes is over the {MAX_RECORD_BYTES} that can be stored",
            target="body",
        )
    return data
