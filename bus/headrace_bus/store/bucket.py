"""Keys and values in a NATS key-value bucket: compare-and-set only, and watchers that stay alive.

A bucket is an ordinary NATS one (`$KV.<bucket>.<key>` in stream `KV_<bucket>`), so `nats kv` reads
it. Revisions are the stream's sequence numbers: they only grow, and a key deleted and created again
never has an old one.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from headrace_api.errors import InvalidInput
from headrace_bus.client.connection import Bus
from headrace_bus.errors import JetStreamRefused, RevisionConflict
from headrace_bus.store import jetstream
from headrace_bus.store.feed import Delivery
from headrace_bus.store.watch import Watcher, read_all

MAX_KEY_CHARS: Final = 2_000  # half of the server's longest protocol line
MAX_VALUE_BYTES: Final = 4 * 1024 * 1024
_MARKER_TTL_S: Final = 600  # watchers cut off for longer list all again anyway
_KEY: Final = re.compile(r"[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One key, as it was read."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketSpec:
    """How a bucket is made."""

    name: str
    history: int = 1
    """Values kept for each key, the present one included."""
    atomic: bool = False
    """Whether leases may write batches."""
    replicas: int = 1

    def stream(self) -> dict[str, Any]:
        """The stream's configuration; reads go to its leader, never to a lagging replica."""
        return {
            "name": f"KV_{self.name}",
            "subjects": [f"$KV.{self.name}.>"],
            "max_msgs_per_subject": self.history,
            "max_msg_size": MAX_VALUE_BYTES,
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "num_replicas": self.replicas,
            "allow_direct": False,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "allow_msg_ttl": self.history == 1,
            "allow_atomic": self.atomic,
        }


SPEC: Final = BucketSpec(name="spec", history=10)
STATE: Final = BucketSpec(name="state", atomic=True)
SECRETS: Final = BucketSpec(name="secrets")
BLOBS: Final = BucketSpec(name="blobs")
_KNOWN: Final = {spec.name: spec for spec in (SPEC, STATE, SECRETS, BLOBS)}


class Bucket:
    """One bucket on one connection. The constructor only binds: readers need no right to create."""

    def __init__(self, bus: Bus, name: str) -> None:
        self.bus: Final = bus
        self.name: Final = name
        self.stream: Final = f"KV_{name}"
        self._spec = _KNOWN.get(name, BucketSpec(name=name))
        self._watchers: set[Watcher] = set()
        self._listening = False
        self._writes: list[Callable[[str, bytes | None, int], None]] = []

    @classmethod
    async def open(
        cls, bus: Bus, name: str, *, history: int | None = None, replicas: int = 1
    ) -> Self:
        """Create the bucket unless it exists, and bring its configuration up to date.

        `spec`, `state`, `secrets` and `blobs` are the platform's own; `history` is for
        others. Raises BusDisconnected, JetStreamRefused.
        """
        bucket = cls(bus, name)
        spec = replace(bucket._spec, replicas=replicas)
        bucket._spec = spec if history is None else replace(spec, history=history)
        await jetstream.make_stream(bus, bucket._spec.stream())
        return bucket

    async def get(self, key: str) -> Record | None:
        """Raises InvalidInput for what no key may be, BusDisconnected."""
        found = await jetstream.last(self.bus, self.stream, self.subject(key))
        if found is None or is_gone(found.headers):
            return None
        return Record(key=key, value=found.data, revision=found.sequence)

    async def create(self, key: str, value: bytes) -> int:
        """Write a key that does not exist and return its revision.

        Raises RevisionConflict when it exists, InvalidInput, BusDisconnected.
        """
        try:
            return await self._write(key, value, 0)
        except RevisionConflict:
            last = await jetstream.last(self.bus, self.stream, self.subject(key))
            if last is not None and not is_gone(last.headers):
                raise
            # The mark of a deletion or an expiry is in the way: write over it.
            return await self._write(key, value, last.sequence if last else 0)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Write a key that is still at the revision, and return the new one.

        Raises RevisionConflict, InvalidInput, BusDisconnected.
        """
        return await self._write(key, value, revision)

    async def delete(self, key: str, revision: int) -> int:
        """Delete a key that is still at the revision. Raises as `update` does."""
        marker = {"KV-Operation": "DEL"}
        if self._spec.history == 1:
            # With a history an expiring mark would bring the value before it back.
            marker["Nats-TTL"] = f"{_MARKER_TTL_S}s"
        return await self._write(key, b"", revision, marker)

    async def list(self, prefix: str = "") -> dict[str, Record]:
        """All keys below a prefix of whole tokens (`instance.ep`), or all; in no promised order.

        Raises InvalidInput, BusDisconnected.
        """
        return await self._listed(self.below(prefix))

    async def listed(self, key: str) -> Record | None:
        """As `get`, by the right to list this key: the right to `get` is one to all of the bucket.

        Raises InvalidInput for what no key may be, BusDisconnected.
        """
        return (await self._listed(self.subject(key))).get(key)

    async def watch(self, prefix: str = "") -> AsyncGenerator[set[str], None]:
        """Yield sets of keys to read again: first all that are there, then what changed.

        Keys that were deleted, or expired, are among them. Many changes of a key while the caller
        is busy are one; a server that comes back is listed at once, and every 30 s anyway.
        """
        watcher = Watcher(self.bus, self.stream, [self.below(prefix)])
        async with aclosing(self.follow(watcher)) as changes:
            async for keys in changes:
                yield keys

    async def follow(self, watcher: Watcher) -> AsyncGenerator[set[str], None]:
        """As `watch`, by a watcher of this bucket's stream that the caller has made."""
        self._watchers.add(watcher)
        if not self._listening:
            self._listening = True
            self.bus.on_reconnect(self._reconnected)
        try:
            async with aclosing(watcher.changes()) as changes:
                async for subjects in changes:
                    yield {subject[len(self.subject("")) :] for subject in subjects}
        finally:
            self._watchers.discard(watcher)

    def on_write(self, tell: Callable[[str, bytes | None, int], None]) -> None:
        """Called with key, value (None for a deletion) and revision of each write made here."""
        self._writes.append(tell)

    def wrote(self, key: str, value: bytes | None, revision: int) -> None:
        """Say that a write of this process is stored; for leases, which write by themselves."""
        for tell in self._writes:
            tell(key, value, revision)

    def subject(self, key: str) -> str:
        """Raises InvalidInput for what no key may be; an empty one gives the prefix."""
        if key and (len(key) > MAX_KEY_CHARS or not _KEY.fullmatch(key)):
            raise InvalidInput(
                f"{key[:80]!r} cannot be a key: tokens of letters, digits, '-', '_', '/' and '=' "
                f"with '.' between them, at most {MAX_KEY_CHARS} characters",
                target="key",
            )
        return f"$KV.{self.name}.{key}"

    def key(self, message: Delivery) -> str:
        return message.subject[len(self.subject("")) :]

    def below(self, prefix: str) -> str:
        """The pattern of all keys below a prefix of whole tokens."""
        prefix = prefix.removesuffix(".")
        return self.subject(prefix) + (".>" if prefix else ">")

    async def _listed(self, pattern: str) -> dict[str, Record]:
        found: dict[str, Record] = {}
        for message in await read_all(self.bus, self.stream, pattern):
            if not is_gone(message.headers):
                key = self.key(message)
                found[key] = Record(key=key, value=message.data, revision=message.sequence)
        return found

    async def _write(
        self, key: str, value: bytes, expected: int, extra: Mapping[str, str] | None = None
    ) -> int:
        if not key:
            raise InvalidInput("a key must not be empty", target="key")
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected), **(extra or {})}
        try:
            revision = await jetstream.store(self.bus, self.subject(key), value, headers)
        except JetStreamRefused as error:
            if error.err_code in jetstream.WRONG_LAST_SEQUENCE:
                raise RevisionConflict(key, expected) from error
            raise
        self.wrote(key, None if is_gone(headers) else value, revision)
        return revision

    def _reconnected(self) -> None:
        for watcher in self._watchers:
            watcher.resync()


def is_gone(headers: Mapping[str, str]) -> bool:
    """Whether a message only says that its key was deleted or has expired."""
    return "Nats-Marker-Reason" in headers or headers.get("KV-Operation") in ("DEL", "PURGE")
