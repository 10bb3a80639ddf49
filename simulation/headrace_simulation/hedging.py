"""The simulation of dispatch with hedges: decided by `routing.hedge`, losers cancelled."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from headrace_bus.routing.queueing.hedge import Declined, Hedge
from headrace_bus.routing.queueing.queue_entry import Instance, QueueEntry
from headrace_simulation.dispatch import DispatchSimulation, SimulatedIngress, SimulatedInstance


class HedgedSimulation(DispatchSimulation):
    """Requests that run past the p95 of their ingress get a copy; the first answer counts.

    A loser is cancelled where it runs, as `async def run` is: its slot is free when it hears.
    """

    def __init__(self, **world: Any) -> None:
        super().__init__(**world)
        self.copies: list[float] = []
        """When each copy was sent."""
        self.won = 0
        self.refused = 0
        """Copies that were due and had no room in the budget."""
        self.busy_s = 0.0
        """Slot time that runs took, losers until their cancel included."""
        self._hedges = {name: Hedge() for name in self._ingresses}
        self._originals: dict[str, QueueEntry] = {}
        self._by_original: dict[str, QueueEntry] = {}
        self._started: dict[str, float] = {}
        self._done: set[str] = set()

    def _request(self, ingress: SimulatedIngress, entry: QueueEntry, now: float) -> None:
        super()._request(ingress, entry, now)
        hedge = self._hedges[ingress.name]
        if entry.request_id in self._originals:
            return
        hedge.budget.executed(now)
        if (after_s := hedge.times.value_s) is not None:
            self._at(now + after_s, lambda now: self._late(ingress, entry, now))

    def _late(self, ingress: SimulatedIngress, entry: QueueEntry, now: float) -> None:
        name, instance = entry.request_id, entry.instance
        if instance is None or name in self._done or name in self._by_original:
            return
        other = self._hedges[ingress.name].choose(ingress.dispatch, instance, now)
        if isinstance(other, Declined):
            self.refused += other is Declined.BUDGET
            return
        self._copy(ingress, entry, other, now)

    def _copy(
        self, ingress: SimulatedIngress, entry: QueueEntry, other: Instance, now: float
    ) -> None:
        job = self._jobs[entry.request_id]
        copy = QueueEntry(
            f"{entry.request_id} again",
            arrived=entry.arrived,
            queue_deadline=inf,
            deadline=inf,
            run_timeout_s=inf,
        )
        copy.abandoned = True
        again_s = job.service_s if job.again_s is None else job.again_s
        self._jobs[copy.request_id] = job._replace(service_s=again_s)
        self._originals[copy.request_id] = entry
        self._by_original[entry.request_id] = copy
        self.copies.append(now)
        ingress.dispatch.bind(copy, other, now)
        self._request(ingress, copy, now)

    def _finish(
        self, instance: SimulatedInstance, ingress: SimulatedIngress, entry: QueueEntry
    ) -> Callable[[float], None]:
        """Runs at the end of a service that was not cancelled before."""
        end = super()._finish(instance, ingress, entry)
        self._started[entry.request_id] = self._last_s

        def event(now: float) -> None:
            if entry.request_id in self._started:
                self.busy_s += now - self._started.pop(entry.request_id)
                end(now)

        return event

    def _answer(self, ingress: SimulatedIngress, entry: QueueEntry, free: int, now: float) -> None:
        original = self._originals.get(entry.request_id)
        first = original or entry
        if first.request_id in self._done:  # the loser says that its slot is free
            ingress.dispatch.answered(entry, free)
            self._settle(ingress, now)
            return
        self._done.add(first.request_id)
        hedge, loser = self._hedges[ingress.name], self._by_original.get(first.request_id)
        if original is None:
            hedge.times.add(now - entry.sent)
        elif first.instance is not None:
            self.won += 1
            loser = first
            hedge.times.add(now - first.sent)
            ingress.dispatch.measured(first.instance.iid, now - first.sent)
        super()._answer(ingress, entry, free, now)
        if loser is not None and loser.instance is not None:
            self._send(now, self._cancel(self._instances[loser.instance.iid], ingress, loser))

    def _cancel(
        self, instance: SimulatedInstance, ingress: SimulatedIngress, loser: QueueEntry
    ) -> Callable[[float], None]:
        end = super()._finish(instance, ingress, loser)

        def event(now: float) -> None:
            if loser.request_id in self._started:  # else it has ended by itself
                self.busy_s += now - self._started.pop(loser.request_id)
                end(now)

        return event
