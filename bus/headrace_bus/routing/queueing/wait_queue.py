"""Requests that wait, in the order of their arrival, and which of them have time enough.

The next request with time enough may stand far behind the head, and is looked for several times
a request. So once anybody is, blocks of the line know the latest end in them: a look costs about
the root of the line's length. Where no deadline is near it is a deque and no more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from itertools import islice
from math import inf
from operator import attrgetter
from typing import Final

from headrace_bus.routing.queueing.queue_entry import QueueEntry

BLOCK: Final = 64  # requests of a block; past twice as many in one the line is cut anew
_arrived = attrgetter("arrived")


class _Block:
    """Neighbours in the line."""

    __slots__ = ("ends", "entries", "latest")

    def __init__(self, entries: Iterable[QueueEntry]) -> None:
        self.entries = list(entries)
        self.ends = [_end(entry) for entry in self.entries]
        self.latest = max(self.ends, default=-inf)

    def first_until(self, end: float) -> QueueEntry:
        return next(self.entries[at] for at, its in enumerate(self.ends) if its >= end)

    def insert(self, at: int, entry: QueueEntry) -> None:
        end = _end(entry)
        self.entries.insert(at, entry)
        self.ends.insert(at, end)
        self.latest = max(self.latest, end)

    def remove(self, entry: QueueEntry) -> None:
        at = self.entries.index(entry)
        del self.entries[at]
        if self.ends.pop(at) == self.latest:
            self.latest = max(self.ends, default=-inf)


class WaitQueue(deque[QueueEntry]):
    """Read it as a deque; change it by these methods alone."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[_Block] | None = None
        self._block_of: dict[QueueEntry, _Block] = {}

    def join(self, entry: QueueEntry) -> None:
        """At the end."""
        self.append(entry)
        if self._blocks is not None:
            if not self._blocks or len(self._blocks[-1].entries) >= BLOCK:
                self._blocks.append(_Block(()))
            self._file(self._blocks[-1], len(self._blocks[-1].entries), entry)

    def rejoin(self, entry: QueueEntry) -> None:
        """By its arrival: several that come back, in whatever order, keep their own."""
        at = bisect_left(self, entry.arrived, key=_arrived)
        if at == len(self):
            self.join(entry)
            return
        self.insert(at, entry)
        for block in self._blocks or ():
            if block.entries[-1].arrived >= entry.arrived:
                self._file(block, bisect_left(block.entries, entry.arrived, key=_arrived), entry)
                return

    def leave(self, entry: QueueEntry) -> None:
        """Raises ValueError when it is not in the line."""
        self.remove(entry)  # looks from the head on
        if self._blocks is not None:
            block = self._block_of.pop(entry)
            block.remove(entry)
            if not block.entries:
                self._blocks.remove(block)

    def wait_anew(self, now: float) -> None:
        """Each as long as one that has just come."""
        for entry in self:
            entry.wait_anew(now)
        self._renew()

    def stood_still(self, seconds: float) -> None:
        """The clocks of the wait did, not those of the callers."""
        for entry in self:
            entry.queue_deadline = min(entry.queue_deadline + seconds, entry.deadline)
        self._renew()

    def know_ends(self) -> None:
        """From now on; before `first_until` and `last_to_end`."""
        self._blocks = _cut(self)
        self._block_of = {one: block for block in self._blocks for one in block.entries}

    def first_until(self, end: float) -> QueueEntry | None:
        """The first whose caller waits until then, or for as long as the deployment allows."""
        for block in self._blocks or ():
            if block.latest >= end:
                return block.first_until(end)
        return None

    def last_to_end(self) -> QueueEntry | None:
        """Whose caller waits longest; of several the first."""
        latest = max(self._blocks or (), key=attrgetter("latest"), default=None)
        return None if latest is None else latest.entries[latest.ends.index(latest.latest)]

    def _file(self, block: _Block, at: int, entry: QueueEntry) -> None:
        block.insert(at, entry)
        self._block_of[entry] = block
        if len(block.entries) > 2 * BLOCK:
            self.know_ends()

    def _renew(self) -> None:
        """Whether a deadline is near depends on how long a caller may wait by the limits."""
        if self._blocks is not None:
            self.know_ends()


def _cut(entries: Iterable[QueueEntry]) -> list[_Block]:
    rest = iter(entries)
    return [_Block(some) for some in iter(lambda: list(islice(rest, BLOCK)), [])]


def _end(entry: QueueEntry) -> float:
    return entry.deadline if entry.hurried else inf
