"""What became of accepted requests: the terms of conservation, and their sum.

accepted = completed + failed + expired + cancelled + dead-lettered + lost + in flight
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Self

from headrace_api.record import Unreadable, load
from headrace_bus.errors import MalformedEnvelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """One lane's counts, of one process or summed over all. None is made from the others."""

    accepted: int = 0
    """Requests taken past admission; one turned away with 401, 404 or 429 at once is not."""
    completed: int = 0
    """The model answered, with whatever status."""
    failed: int = 0
    expired: int = 0
    """One of the request's clocks ran out, in the queue or inside `run`."""
    cancelled: int = 0
    """The caller went first."""
    dead_lettered: int = 0
    lost_with_ingress: int = 0
    """In flight at the last word of an ingress that is gone; online only."""
    in_flight: int = 0
    """Waiting and running, counted one by one."""

    @property
    def balanced(self) -> bool:
        """Whether every accepted request is in exactly one of the other terms."""
        return bool(2 * self.accepted == sum(asdict(self).values()))

    @classmethod
    def decode(cls, found: Mapping[str, object]) -> Self:
        """Raises MalformedEnvelope; names of a newer version are left out."""
        try:
            terms = load(cls, found)
        except Unreadable as error:
            raise MalformedEnvelope("terms of conservation", str(error)) from error
        for name, value in asdict(terms).items():
            if value < 0:
                raise MalformedEnvelope("terms of conservation", f"{name} is {value!r}")
        return terms

    @classmethod
    def sum(cls, some: Iterable[Self]) -> Self:
        rows = [asdict(one) for one in some]
        return cls(**{field.name: sum(row[field.name] for row in rows) for field in fields(cls)})

    def with_its_ingress_gone(self) -> Self:
        """What was in flight went with the process."""
        lost = self.lost_with_ingress + self.in_flight
        return replace(self, in_flight=0, lost_with_ingress=lost)
