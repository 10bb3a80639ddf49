"""What changed in a stream, as sets of subjects, over lost servers and lost messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import Final

import structlog

from headrace_bus.client.connection import Bus
from headrace_bus.errors import BusDisconnected, BusError
from headrace_bus.store.feed import HEARTBEAT_S, SILENCE_S, Delivery, Feed
from headrace_telemetry.clock import monotonic

log = structlog.get_logger(__name__)

RESYNC_S: Final = 30.0
_RETRY_S: Final = 0.25
_ATTEMPTS: Final = 4


async def read_all(
    bus: Bus, stream: str, subjects: str, *, headers_only: bool = False
) -> list[Delivery]:
    """The last message of each subject. Raises JetStreamRefused, BusDisconnected."""
    for _ in range(_ATTEMPTS):
        found: list[Delivery] = []
        feed = await Feed.open(bus, stream, [subjects], found.append, headers_only=headers_only)
        try:
            await _catch_up(feed)
            return found
        except BusDisconnected:
            await asyncio.sleep(_RETRY_S)
        finally:
            await feed.close()
    raise BusDisconnected(f"{subjects} could not be listed: the feed failed {_ATTEMPTS} times")


class Watcher:
    """One feed after another, and what was seen of each subject, so that nothing is missed.

    A key that expires makes no message: it is missed by the feed and found by the next resync.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        subjects: Sequence[str],
        *,
        keep: Callable[[Delivery], None] | None = None,
        listed: Callable[[AbstractSet[str]], None] | None = None,
    ) -> None:
        """`keep` gets each message as it comes, with its data; without it only headers are sent.

        `listed` gets the subjects that there are, each time that all were read anew.
        """
        self._bus = bus
        self._stream = stream
        self._subjects = subjects
        self._keep = keep
        self._listed = listed
        self._feed: Feed | None = None
        self._complete = asyncio.Event()
        self._seen: dict[str, int] = {}
        self._present: dict[str, int] = {}
        self._dirty: set[str] = set()
        self._woken = asyncio.Event()
        self._resync = False

    @property
    def complete(self) -> bool:
        """Whether everything there is has been delivered, and each change is as it comes."""
        feed = self._feed
        return feed is not None and feed.alive and self._bus.connected and not self._resync

    async def wait_complete(self) -> None:
        """Returns once `complete`, which a lost server delays until it is back."""
        while not self.complete:
            self._complete.clear()
            self._woken.set()  # whoever follows looks at the feed now
            await self._complete.wait()

    def resync(self) -> None:
        """List all again now, because messages may have been lost."""
        self._resync = True
        self._woken.set()

    async def changes(self) -> AsyncGenerator[set[str], None]:
        """Yields until it is closed; the first set is complete and may be empty."""
        first = True
        while True:
            feed = self._feed = await self._connected()
            self._complete.set()
            try:
                if first or self._dirty:
                    first = False
                    yield self._take()
                async with aclosing(self._follow(feed)) as changes:
                    async for dirty in changes:
                        yield dirty
            finally:
                self._feed = None
                await feed.close()

    async def _connected(self) -> Feed:
        """Try until there is a feed; the bucket may not have been made yet."""
        said = False
        while True:
            try:
                return await self._begin()
            except BusError as error:
                if not said:
                    log.warning("cannot watch yet", stream=self._stream, error=str(error))
                said = True
                await asyncio.sleep(_RETRY_S)

    async def _begin(self) -> Feed:
        """Open a feed and note which subjects differ from what was seen before it."""
        self._resync = False
        self._present = {}
        feed = await Feed.open(
            self._bus,
            self._stream,
            self._subjects,
            self._note,
            headers_only=self._keep is None,
        )
        try:
            await _catch_up(feed)
        except BaseException:
            await feed.close()
            raise
        gone = self._seen.keys() - self._present.keys()
        self._dirty.update(gone)
        for subject in gone:
            del self._seen[subject]
        if self._listed is not None:
            self._listed(self._present.keys())
        return feed

    async def _follow(self, feed: Feed) -> AsyncGenerator[set[str], None]:
        ends = monotonic() + RESYNC_S
        while feed.alive and not self._resync and monotonic() < ends:
            if self._dirty:
                yield self._take()
                continue
            self._woken.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def _note(self, message: Delivery) -> None:
        if self._keep is not None:
            self._keep(message)
        self._present[message.subject] = message.sequence
        if self._seen.get(message.subject) != message.sequence:
            self._seen[message.subject] = message.sequence
            self._dirty.add(message.subject)
            self._woken.set()

    def _take(self) -> set[str]:
        dirty, self._dirty = self._dirty, set()
        return dirty


async def _catch_up(feed: Feed) -> None:
    """Raises BusDisconnected when the feed breaks before it is complete."""
    while not feed.caught_up.is_set():
        if not feed.alive:
            raise BusDisconnected(f"a feed failed, or was silent for {SILENCE_S:.0f} s")
        try:
            async with asyncio.timeout(_RETRY_S):
                await feed.caught_up.wait()
        except TimeoutError:
            continue
