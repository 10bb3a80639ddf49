"""The simulation of dispatch with callers who give up: what is worked for whom under overload."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from headrace_bus.routing.queueing.dispatch import SWEEP_S
from headrace_bus.routing.queueing.queue_entry import QueueEntry
from headrace_simulation.dispatch import (
    DispatchSimulation,
    SimulatedIngress,
    SimulatedInstance,
    SimulatedTicket,
)


class HurriedSimulation(DispatchSimulation):
    """Each caller leaves `patience_s` after it came; a run goes on to its end without it.

    So does `run` of a sync model, which nobody can stop. An instance begins nothing whose caller
    has gone.
    """

    def __init__(self, *, patience_s: float, **world: Any) -> None:
        super().__init__(**world)
        self._patience_s = patience_s
        self.in_time = 0
        """Answers whose caller was still there."""
        self.busy_s = 0.0
        """Slot time that runs took."""
        self.busy_in_vain_s = 0.0
        """Of it, for callers who had gone before the answer came."""
        for ingress in self._ingresses.values():
            self._at(SWEEP_S, self._sweep(ingress))

    def _ticket(self, name: str, now: float) -> SimulatedTicket:
        deadline = now + self._patience_s
        return SimulatedTicket(
            name, arrived=now, queue_deadline=inf, deadline=deadline, run_timeout_s=inf
        )

    def _sweep(self, ingress: SimulatedIngress) -> Callable[[float], None]:
        def event(now: float) -> None:
            late = [entry for entry, _ in ingress.dispatch.overdue(now)]
            for entry in late:
                self._leave(ingress, entry, now)
            if late:
                self._settle(ingress, now)
            self._at(now + SWEEP_S, self._sweep(ingress))

        return event

    def _leave(self, ingress: SimulatedIngress, entry: QueueEntry, now: float) -> None:
        self._ended(now - entry.arrived)
        known = ingress.dispatch.withdraw(entry)
        if known is not None:
            self._send(now, self._cancel(self._instances[known.iid], ingress, entry))

    def _cancel(
        self, instance: SimulatedInstance, ingress: SimulatedIngress, entry: QueueEntry
    ) -> Callable[[float], None]:
        def event(now: float) -> None:
            if (ingress, entry) in instance.waiting:
                instance.waiting.remove((ingress, entry))
                self._told(instance, ingress, entry, now)

        return event

    def _begin(
        self, instance: SimulatedInstance, ingress: SimulatedIngress, entry: QueueEntry, now: float
    ) -> None:
        service_s = self._jobs[entry.request_id].service_s
        if now < entry.deadline:
            self.busy_s += service_s
            if now + service_s > entry.deadline:
                self.busy_in_vain_s += service_s
            super()._begin(instance, ingress, entry, now)
            return
        self._told(instance, ingress, entry, now)
        self._next(instance, now)

    def _answer(self, ingress: SimulatedIngress, entry: QueueEntry, free: int, now: float) -> None:
        if not entry.abandoned:
            self.in_time += now <= entry.deadline
            super()._answer(ingress, entry, free, now)
            return
        ingress.dispatch.answered(entry, free)
        self._settle(ingress, now)
