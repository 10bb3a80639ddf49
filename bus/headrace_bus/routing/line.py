"""Requests that wait, in the order of their arrival, and which of them have time enough.

Who is in a hurry and has time enough may stand far behind the head, and is looked for several times
a request. So once anybody is, blocks of the line know the latest end in them: a look costs about
the root of the line's length. Where nobody is in a hurry it is a deque and no more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from itertools import islice
from math import inf
from operator import attrgetter
from typing import Final

from headrace_bus.routing.ticket import Ticket

BLOCK: Final = 64  # requests of a block; past twice as many in one the line is cut anew
_arrived = attrgetter("arrived")


class _Block:
    """Neighbours in the line."""

    __slots__ = ("ends", "latest", "tickets")

    def __init__(self, tickets: Iterable[Ticket]) -> None:
        self.tickets = list(tickets)
        self.ends = [_end(ticket) for ticket in self.tickets]
        self.latest = max(self.ends, default=-inf)

    def first_until(self, end: float) -> Ticket:
        return next(self.tickets[at] for at, its in enumerate(self.ends) if its >= end)

    def insert(self, at: int, ticket: Ticket) -> None:
        end = _end(ticket)
        self.tickets.insert(at, ticket)
        self.ends.insert(at, end)
        self.latest = max(self.latest, end)

    def remove(self, ticket: Ticket) -> None:
        at = self.tickets.index(ticket)
        del self.tickets[at]
        if self.ends.pop(at) == self.latest:
            self.latest = max(self.ends, default=-inf)


class Line(deque[Ticket]):
    """Read it as a deque; change it by these methods alone."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[_Block] | None = None
        self._block_of: dict[Ticket, _Block] = {}

    def join(self, ticket: Ticket) -> None:
        """At the end."""
        self.append(ticket)
        if self._blocks is not None:
            if not self._blocks or len(self._blocks[-1].tickets) >= BLOCK:
                self._blocks.append(_Block(()))
            self._file(self._blocks[-1], len(self._blocks[-1].tickets), ticket)

    def rejoin(self, ticket: Ticket) -> None:
        """By its arrival: several that come back, in whatever order, keep their own."""
        at = bisect_left(self, ticket.arrived, key=_arrived)
        if at == len(self):
            self.join(ticket)
            return
        self.insert(at, ticket)
        for block in self._blocks or ():
            if block.tickets[-1].arrived >= ticket.arrived:
                self._file(block, bisect_left(block.tickets, ticket.arrived, key=_arrived), ticket)
                return

    def leave(self, ticket: Ticket) -> None:
        """Raises ValueError when it is not in the line."""
        self.remove(ticket)  # looks from the head on
        if self._blocks is not None:
            block = self._block_of.pop(ticket)
            block.remove(ticket)
            if not block.tickets:
                self._blocks.remove(block)

    def wait_anew(self, now: float) -> None:
        """Each as long as one that has just come."""
        for ticket in self:
            ticket.wait_anew(now)
        self._renew()

    def stood_still(self, seconds: float) -> None:
        """The clocks of the wait did, not those of the callers."""
        for ticket in self:
            ticket.queue_deadline = min(ticket.queue_deadline + seconds, ticket.deadline)
        self._renew()

    def know_ends(self) -> None:
        """From now on; before `first_until` and `last_to_end`."""
        self._blocks = _cut(self)
        self._block_of = {one: block for block in self._blocks for one in block.tickets}

    def first_until(self, end: float) -> Ticket | None:
        """The first whose caller waits until then, or for as long as the deployment allows."""
        for block in self._blocks or ():
            if block.latest >= end:
                return block.first_until(end)
        return None

    def last_to_end(self) -> Ticket | None:
        """Whose caller waits longest; of several the first."""
        latest = max(self._blocks or (), key=attrgetter("latest"), default=None)
        return None if latest is None else latest.tickets[latest.ends.index(latest.latest)]

    def _file(self, block: _Block, at: int, ticket: Ticket) -> None:
        block.insert(at, ticket)
        self._block_of[ticket] = block
        if len(block.tickets) > 2 * BLOCK:
            self.know_ends()

    def _renew(self) -> None:
        """Whether a caller is in a hurry depends on how long it may wait by the limits."""
        if self._blocks is not None:
            self.know_ends()


def _cut(tickets: Iterable[Ticket]) -> list[_Block]:
    rest = iter(tickets)
    return [_Block(some) for some in iter(lambda: list(islice(rest, BLOCK)), [])]


def _end(ticket: Ticket) -> float:
    return ticket.deadline if ticket.hurried else inf
