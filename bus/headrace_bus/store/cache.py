"""A copy of some prefixes of a bucket in memory, so that who looks often asks the server nothing.

One feed fills it and keeps it up to date; it is listed anew after each reconnect and every
`watch.RESYNC_S`. What this process writes through the same `Bucket` is in it at once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import Final, NamedTuple

from headrace_bus.errors import BusDisconnected
from headrace_bus.store.bucket import Bucket, Record, is_gone
from headrace_bus.store.feed import Delivery
from headrace_bus.store.watch import Watcher
from headrace_telemetry.clock import monotonic

CURRENT_WITHIN_S: Final = 5.0  # a listing takes milliseconds; after that the server is not there
SETTLED_S: Final = 5.0
"""A listing may come from a replica that lags: it takes back nothing that is newer than this."""


class _Entry(NamedTuple):
    record: Record | None  # None: the key is deleted
    revision: int
    learned_s: float


class BucketCache:
    """Reads are calls that never wait; `follow` must be running, and `current` be awaited first."""

    def __init__(
        self, bucket: Bucket, prefixes: Sequence[str], *, now: Callable[[], float] = monotonic
    ) -> None:
        """`prefixes` are first tokens of keys. Each write to `bucket` itself is seen at once."""
        self.bucket: Final = bucket
        self._now = now
        self._tables: dict[str, dict[str, _Entry]] = {prefix: {} for prefix in prefixes}
        self._position = 0
        self._moved = asyncio.Event()
        self._on_change: list[Callable[[], None]] = []
        self._watcher = Watcher(
            bucket.bus,
            bucket.stream,
            [bucket.below(prefix) for prefix in prefixes],
            keep=self._keep,
            listed=self._listed,
        )
        bucket.on_write(self._learn)

    async def follow(self) -> None:
        """Keep the copy up to date until cancelled."""
        async with aclosing(self.bucket.follow(self._watcher)) as changes:
            async for _ in changes:
                continue

    def on_change(self, tell: Callable[[], None]) -> None:
        """Called after each change of a key, whoever wrote it."""
        self._on_change.append(tell)

    def relist(self) -> None:
        """Read everything anew; `current` waits for that."""
        self._position = 0
        self._watcher.resync()

    async def current(self, *, revision: int = 0) -> None:
        """Wait until the copy holds what the bucket held at the call, and at `revision`.

        Raises BusDisconnected when that takes longer than CURRENT_WITHIN_S.
        """
        try:
            async with asyncio.timeout(CURRENT_WITHIN_S):
                await self._watcher.wait_complete()
                while self._position < revision:
                    await self._moved.wait()
        except TimeoutError:
            raise BusDisconnected(
                f"bucket {self.bucket.name!r} could not be followed for {CURRENT_WITHIN_S:.0f} s"
            ) from None

    def get(self, key: str) -> Record | None:
        """The record of a key below one of the prefixes."""
        entry = self._tables[_first(key)].get(key)
        return None if entry is None else entry.record

    def list(self, prefix: str) -> dict[str, Record]:
        """All records below a prefix of whole tokens, as `Bucket.list`."""
        start = f"{prefix}."
        return {
            key: entry.record
            for key, entry in self._tables[_first(prefix)].items()
            if entry.record is not None and key.startswith(start)
        }

    def _keep(self, message: Delivery) -> None:
        key = self.bucket.key(message)
        self._position = max(self._position, message.sequence)
        self._moved.set()
        self._moved = asyncio.Event()
        value = None if is_gone(message.headers) else message.data
        self._learn(key, value, message.sequence)

    def _learn(self, key: str, value: bytes | None, revision: int) -> None:
        """Take a write of ours or a message of the feed, unless something newer is known."""
        table = self._tables.get(_first(key))
        if table is None:
            return
        old = table.get(key)
        if old is not None and old.revision == revision:
            return
        if old is not None and old.revision > revision and not self._is_settled(old):
            return
        record = None if value is None else Record(key=key, value=value, revision=revision)
        table[key] = _Entry(record, revision, self._now())
        self._tell()

    def _listed(self, subjects: AbstractSet[str]) -> None:
        """Drop what is not there any more, as far as the listing can know."""
        start = len(self.bucket.subject(""))
        present: dict[str, set[str]] = defaultdict(set)
        for subject in subjects:
            present[_first(subject[start:])].add(subject[start:])
        dropped = False
        for prefix, table in self._tables.items():
            for key in table.keys() - present[prefix]:
                if self._is_settled(table[key]):
                    dropped |= table.pop(key).record is not None
        if dropped:
            self._tell()

    def _is_settled(self, entry: _Entry) -> bool:
        return self._now() - entry.learned_s > SETTLED_S

    def _tell(self) -> None:
        for tell in self._on_change:
            tell()


def _first(key: str) -> str:
    return key.partition(".")[0]
