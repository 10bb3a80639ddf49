"""Leases: one writer at a time, and a stale one writes nothing.

A lease is a key of `state` that the server deletes after its ttl. Its holder renews it by
compare-and-set; every write it makes is one atomic batch that renews the lease too, so the batch of
a holder that lost it fails as a whole.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from headrace_api.errors import InvalidInput
from headrace_bus.errors import (
    BusDisconnected,
    BusError,
    JetStreamRefused,
    LeaseLost,
    NoResponders,
    RequestTimeout,
    RevisionConflict,
)
from headrace_bus.store import holder as holders
from headrace_bus.store import jetstream
from headrace_bus.store.bucket import Bucket, is_gone
from headrace_telemetry.clock import monotonic
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

TTL_S: Final = 15  # longer than a NATS cluster's failover (nats.md 4)
RENEW_SHARE: Final = 1 / 3  # of the ttl
HELD_SHARE: Final = 0.66  # of the ttl: a holder stops acting well before the server lets others in
MAX_BATCH: Final = 999  # the server takes 1,000 messages, the lease's own included
_ACQUIRE_SHARE: Final = 1 / 10  # of the ttl; an expiry makes no event
_RETRY_S: Final = 0.25
_ATTEMPTS: Final = 3
_ANSWER_S: Final = 2.0  # an answer lost with its server is asked for again
_INCOMPLETE: Final = 10176  # the server has not every message of a batch
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"


class Lease:
    """One process' claim to `lease.<name>`. Raises InvalidInput for a ttl below 1 s.

    `now` gives monotonic seconds; the ttl is whole seconds, as the server counts.
    """

    def __init__(
        self,
        bucket: Bucket,
        name: str,
        *,
        ttl_s: int = TTL_S,
        holder: str = "",
        now: Callable[[], float] = monotonic,
    ) -> None:
        if ttl_s < 1:
            raise InvalidInput(f"a lease of {ttl_s} s is not possible: 1 s is the least")
        self.name: Final = name
        self.key: Final = f"lease.{name}"
        self.holder: Final = holder or uuid.uuid4().hex
        self._bucket = bucket
        self._bus = bucket.bus
        self._subject = bucket.subject(self.key)
        self._ttl_s = ttl_s
        self._now = now
        self._process = holders.mark()
        self._revision = 0
        self._valid_until = 0.0
        self._turn = asyncio.Lock()  # renewals and batches each need the revision before them

    @property
    def held(self) -> bool:
        """Whether it is safe to act: judged from before the request that last renewed it."""
        return self._now() < self._valid_until

    @property
    def revision(self) -> int:
        """Of the lease's key after the last renewal; grows with each holder."""
        return self._revision

    async def acquire(self) -> bool:
        """Take the lease if nobody has it, if it is still ours, or if its holder was a process
        here and has ended.

        Raises BusDisconnected, JetStreamRefused.
        """
        async with self._turn:
            last = await jetstream.last(self._bus, self._bucket.stream, self._subject)
            if last is not None and not is_gone(last.headers) and not self._may_take(last.data):
                return False
            # The mark of an expiry or a release is written over.
            return await self._claim(last.sequence if last is not None else 0)

    async def renew(self) -> None:
        """Raises LeaseLost when another has it; BusDisconnected when that is not known."""
        async with self._turn:
            if not await self._claim(self._revision):
                self._valid_until = 0.0
                raise LeaseLost(self.name)

    async def release(self) -> None:
        """Give it up at once, if it is still ours; the next holder need not wait for the ttl."""
        async with self._turn:
            self._valid_until = 0.0
            try:
                await self._bucket.delete(self.key, self._revision)
            except (RevisionConflict, BusDisconnected):
                log.info("a lease ends by itself", lease=self.name)

    async def write(
        self,
        values: Mapping[str, bytes | None],
        expected: Mapping[str, int | None] | None = None,
    ) -> dict[str, int]:
        """Write all keys or none, and return their new revisions; None deletes a key.

        `expected` holds the revision a key must be at: 0 or None for one that must not exist. Keys
        it does not name are written whatever is there, since the holder is their only writer.
        Raises LeaseLost when the lease is not ours any more, RevisionConflict with the key that
        changed, InvalidInput, BusDisconnected when the server did not say and a look at the lease
        did not tell either. In each case but the last nothing was written.
        """
        if len(values) > MAX_BATCH or self.key in values:
            raise InvalidInput(f"a batch holds up to {MAX_BATCH} keys, never the lease's own")
        expected = dict(expected or {})
        async with self._turn:
            for attempt in range(_ATTEMPTS):
                if not self.held:
                    break
                try:
                    return await self._commit(values, expected)
                except BusDisconnected:
                    # A look at the lease told that nothing was written, so it may be sent again.
                    if attempt == _ATTEMPTS - 1:
                        raise
                except JetStreamRefused as error:
                    await self._may_try_again(error, expected, attempt)
        raise LeaseLost(self.name)

    @asynccontextmanager
    async def hold(self, on_lost: Callable[[], None]) -> AsyncIterator[None]:
        """Wait until the lease is ours, keep it inside the block, release it after.

        `on_lost` is called once when it cannot be kept; `held` is false by then and `write` raises.
        """
        await self._wait()
        tasks = Tasks(f"lease {self.name}")
        tasks.start(self._keep(on_lost), "renew")
        log.info("lease acquired", lease=self.name, revision=self._revision)
        try:
            yield
        finally:
            await tasks.stop()
            if self.held:
                await self.release()

    async def _wait(self) -> None:
        while True:
            try:
                if await self.acquire():
                    return
            except BusError as error:
                log.warning("a lease cannot be acquired yet", lease=self.name, error=str(error))
            await asyncio.sleep(self._ttl_s * _ACQUIRE_SHARE)

    async def _keep(self, on_lost: Callable[[], None]) -> None:
        pause_s = self._ttl_s * RENEW_SHARE
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self.renew()
                pause_s = self._ttl_s * RENEW_SHARE
            except LeaseLost:
                break
            except BusError as error:
                log.warning("a lease could not be renewed", lease=self.name, error=str(error))
                pause_s = min(_RETRY_S, pause_s)
            if not self.held:
                break
        log.error("lease lost", lease=self.name)
        on_lost()

    async def _claim(self, revision: int) -> bool:
        """Write the lease's key at the revision. False when that is not its revision."""
        asked = self._now()
        value, headers = self._claimed(revision)
        try:
            answer = await self._ask(self._subject, value, headers)
            self._took(int(answer["seq"]), asked)
        except JetStreamRefused as error:
            if error.err_code in jetstream.WRONG_LAST_SEQUENCE:
                return False
            raise
        except (RequestTimeout, NoResponders) as error:
            found = await self._own(value)
            if found is None:
                raise BusDisconnected(f"lease {self.name!r}: {error}") from error
            self._took(found, asked)
        return True

    async def _commit(
        self, values: Mapping[str, bytes | None], expected: Mapping[str, int | None]
    ) -> dict[str, int]:
        batch = uuid.uuid4().hex
        for number, (key, value) in enumerate(values.items(), 1):
            headers = _in_batch(batch, number) | _operation(value)
            if key in expected:
                headers[_EXPECTED] = str(expected[key] or 0)
            self._bus.publish(self._bucket.subject(key), value or b"", headers=headers)
        asked = self._now()
        token, headers = self._claimed(self._revision)
        headers |= _in_batch(batch, len(values) + 1) | {"Nats-Batch-Commit": "1"}
        try:
            last = int((await self._ask(self._subject, token, headers))["seq"])
        except (RequestTimeout, NoResponders) as error:
            found = await self._own(token)
            if found is None:
                raise BusDisconnected(f"a batch of lease {self.name!r}: {error}") from error
            last = found
        self._took(last, asked)
        # A batch is stored in one piece, the lease's key at its end.
        revisions = {key: last - len(values) + place for place, key in enumerate(values)}
        for key, revision in revisions.items():
            self._bucket.wrote(key, values[key], revision)
        return revisions

    def _may_take(self, data: bytes) -> bool:
        """Whether a claim is ours, which a cut of NATS made us give up, or of a dead process."""
        try:
            claim = json.loads(data)
            return bool(claim["holder"] == self.holder or holders.ended(str(claim["process"])))
        except (ValueError, KeyError, TypeError):
            return False

    def _claimed(self, revision: int) -> tuple[bytes, dict[str, str]]:
        claim = {"holder": self.holder, "write": uuid.uuid4().hex, "process": self._process}
        return json.dumps(claim).encode(), {_EXPECTED: str(revision), "Nats-TTL": f"{self._ttl_s}s"}

    def _took(self, revision: int, asked: float) -> None:
        self._revision = revision
        self._valid_until = asked + self._ttl_s * HELD_SHARE

    async def _ask(self, subject: str, data: bytes, headers: dict[str, str]) -> dict[str, Any]:
        timeout_s = min(_ANSWER_S, self._ttl_s * RENEW_SHARE)
        answer = await self._bus.request(subject, data, timeout_s, headers)
        return jetstream.acknowledgement(subject, answer.data)

    async def _own(self, value: bytes) -> int | None:
        """The revision of a claim whose answer was lost, if it was stored."""
        last = await jetstream.last(self._bus, self._bucket.stream, self._subject)
        return last.sequence if last is not None and last.data == value else None

    async def _may_try_again(
        self, error: JetStreamRefused, expected: dict[str, int | None], attempt: int
    ) -> None:
        """Raises what a refused batch means, unless it was torn by a reconnect or met a mark."""
        if error.err_code == _INCOMPLETE and attempt < _ATTEMPTS - 1:
            return
        if error.err_code not in jetstream.WRONG_LAST_SEQUENCE:
            raise error
        if attempt or not await self._marks_only(expected):
            await self._explain(expected)
            raise error

    async def _marks_only(self, expected: dict[str, int | None]) -> bool:
        """Expect the marks of dead keys where a key must not exist; say whether there were any."""
        found = False
        for key in [key for key, revision in expected.items() if not revision]:
            last = await jetstream.last(self._bus, self._bucket.stream, self._bucket.subject(key))
            if last is not None and is_gone(last.headers):
                expected[key] = last.sequence
                found = True
        return found

    async def _explain(self, expected: Mapping[str, int | None]) -> None:
        """Raises LeaseLost or RevisionConflict, whichever a refused batch was about."""
        last = await jetstream.last(self._bus, self._bucket.stream, self._subject)
        if last is None or last.sequence != self._revision:
            self._valid_until = 0.0
            raise LeaseLost(self.name)
        for key, revision in expected.items():
            last = await jetstream.last(self._bus, self._bucket.stream, self._bucket.subject(key))
            if (last.sequence if last is not None else 0) != (revision or 0):
                raise RevisionConflict(key, revision or 0)


def _in_batch(batch: str, number: int) -> dict[str, str]:
    return {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}


def _operation(value: bytes | None) -> dict[str, str]:
    return {} if value is not None else {"KV-Operation": "DEL", "Nats-TTL": "600s"}
