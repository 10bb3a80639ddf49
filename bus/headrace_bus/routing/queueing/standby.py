"""Requests that wait at an instance, so that a freed slot has its next one at once; pure.

A slot told to the ingress over the bus stands empty for a turn of all the processes between, which
at 80 % load and 5 ms a run is the difference between keeping up and not. So while no slot of the
deployment is free, an ingress lets the oldest that wait do so at the instances, one for each slot:
the instance begins it without a word. What is behind a long run is not stuck there: it is called
back when a slot stands empty elsewhere, and given back after STANDBY_S. Until `run` begins nothing
has happened to it, and the instance alone says whether it has begun.
"""

from __future__ import annotations

from typing import Final

from headrace_bus.routing.queueing.queue_entry import Instance, QueueEntry

STANDBY_S: Final = 0.04  # seconds a request waits at an instance at most before it is given back
QUICK_S: Final = 0.1  # mean seconds of `run` up to which an instance lets requests wait


def standby_places(service_s: float | None, slots: int, max_concurrent: int) -> int:
    """Requests that may wait at an instance: one a slot while its runs are measured and short.

    Where they are long the turn is nothing beside them.
    """
    if service_s is None or service_s > QUICK_S:
        return 0
    return max(0, min(slots, 2 * max_concurrent - slots))


class Standbys:
    """Requests of one ingress that were sent to wait at an instance."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[str, QueueEntry] = {}
        """In the order in which they were sent."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, entry: QueueEntry) -> None:
        entry.recalled = False
        self._waiting[entry.request_id] = entry

    def discard(self, entry: QueueEntry) -> None:
        self._waiting.pop(entry.request_id, None)

    def recall(self, idle: int) -> list[QueueEntry]:
        """Those to call back for so many slots that stand empty, the oldest first."""
        called = []
        for entry in list(self._waiting.values()):
            instance = entry.instance
            if instance is None or _has_begun(entry, instance):
                self.discard(entry)
            elif idle > 0:
                idle -= 1
                if not entry.recalled:
                    entry.recalled = True
                    called.append(entry)
        return called


def _has_begun(entry: QueueEntry, instance: Instance) -> bool:
    """Whether the instance, by what is known here, has no more than it can run at once.

    Wrong at most for as long as nothing is heard of slots that others use: then it is called back
    in vain.
    """
    return len(instance.open) + instance.others <= instance.slots
