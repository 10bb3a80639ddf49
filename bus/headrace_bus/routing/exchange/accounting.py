"""Counts what became of each accepted request of one gateway: an addition at either end of it."""

from __future__ import annotations

from enum import StrEnum

from headrace_bus.routing.exchange.refusals import Refusal
from headrace_bus.wire.conservation import Terms

_CLOCKS = frozenset({"timeout", "max_queue_wait", "model_not_ready"})


class End(StrEnum):
    """The ways a request ends, by the names of `Terms`."""

    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Tally:
    """Totals since the process began."""

    __slots__ = ("accepted", "ends")

    def __init__(self) -> None:
        self.accepted = 0
        self.ends = dict.fromkeys(End, 0)

    def terms(self, in_flight: int) -> Terms:
        """`in_flight` comes from a look at the requests themselves, so that a lost one shows."""
        ends = {end.value: count for end, count in self.ends.items()}
        return Terms(accepted=self.accepted, in_flight=in_flight, **ends)


def end_of(refusal: Refusal) -> End:
    """What a refusal is to the books."""
    return End.EXPIRED if refusal.reason in _CLOCKS else End.FAILED
