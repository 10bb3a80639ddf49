"""A discrete-event simulation of dispatch that calls the very functions ingress and instance call.

    load = pareto_load(seed, ...)
    simulate_dispatch(load, ingresses=2, instances=4) -> Outcome: when each request ended
    central_queue, random_queues, two_choices: the same load under other rules, for comparison

Time is in seconds and virtual. Messages take `latency_s` each way and are never lost. A slot is
held for `beside_s` longer than its run, half before and half after it; what stands by is begun
`begin_s` after the run before it.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf, log
from typing import Final, NamedTuple

from headrace_bus.routing.admission.admission import Admission, Admitted, Grant
from headrace_bus.routing.queueing.dispatch import Dispatch, WantChange
from headrace_bus.routing.queueing.queue_entry import QueueEntry
from headrace_bus.routing.queueing.standby import STANDBY_S
from headrace_bus.wire.envelope import RequestFlag
from headrace_bus.wire.heartbeat import InstanceHeartbeat, InstanceState
from headrace_bus.wire.instance_control import NOTHING_WAITS, pack_backlog

LATENCY_S: Final = 0.0001  # one way through the server, about half a measured round trip
HEARTBEAT_S: Final = 0.5


class Job(NamedTuple):
    """One request of a load."""

    arrives_s: float
    service_s: float
    again_s: float | None = None
    """What a second copy of it takes; None: as long as the first."""
    stands_by: bool = True
    """False for a large body."""


@dataclass(slots=True)
class Outcome:
    """What a rule made of a load."""

    latency_s: list[float] = field(default_factory=list)
    """From arrival to answer, one a request, in order of answers."""
    messages: int = 0
    """Sent over the bus, heartbeats left out."""
    bounced: int = 0
    """Requests an instance answered BUSY."""
    idle_while_waiting_s: float = 0.0
    """Slot-seconds free at instances while requests waited at an ingress."""

    def quantile(self, q: float) -> float:
        ordered = sorted(self.latency_s)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def pareto_load(
    seed: int, *, requests: int, servers: int, load: float, mean_s: float, shape: float = 1.5
) -> list[Job]:
    """Poisson arrivals, Pareto service: `load` is the share of `servers` that is busy.

    Service times are scaled so that their sum is exactly what `load` asks for: with an infinite
    variance the sample's mean is anything, and every rule is to see the same load.
    """
    rng = random.Random(seed)
    services = [rng.paretovariate(shape) for _ in range(requests)]
    scale = mean_s * requests / sum(services)
    now, jobs = 0.0, []
    for service in services:
        now += rng.expovariate(load * servers / mean_s)
        jobs.append(Job(now, service * scale))
    return jobs


def lognormal_load(
    seed: int, *, requests: int, servers: int, load: float, mean_s: float, sigma: float = 1.0
) -> list[Job]:
    """Poisson arrivals, lognormal service with this mean."""
    rng = random.Random(seed)
    mu = log(mean_s) - sigma * sigma / 2
    now, jobs = 0.0, []
    for _ in range(requests):
        now += rng.expovariate(load * servers / mean_s)
        jobs.append(Job(now, rng.lognormvariate(mu, sigma)))
    return jobs


def stalling_load(
    seed: int,
    *,
    requests: int,
    servers: int,
    load: float,
    mean_s: float,
    share: float,
    stall_s: float,
) -> list[Job]:
    """Poisson arrivals, lognormal service (sigma 0.3), and in `share` of the runs a stall.

    A stall is the run's and not the request's, as a page fault or a neighbour's work is: a second
    copy draws anew. `load` counts the stalls.
    """
    rng = random.Random(seed)
    mu, rate = log(mean_s) - 0.3**2 / 2, load * servers / (mean_s + share * stall_s)

    def draw() -> float:
        return rng.lognormvariate(mu, 0.3) + (stall_s if rng.random() < share else 0.0)

    now, jobs = 0.0, []
    for _ in range(requests):
        now += rng.expovariate(rate)
        jobs.append(Job(now, draw(), draw()))
    return jobs


class SimulatedTicket(QueueEntry):
    """A request that may be one of those that do not stand by."""

    __slots__ = ("stands_by",)
    stands_by: bool

    @property
    def may_stand_by(self) -> bool:
        return self.stands_by and super().may_stand_by


class SimulatedIngress:
    """The real dispatch, whose messages the simulation carries."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.dispatch = Dispatch(random.Random(seed))


class SimulatedInstance:
    """The real admission, and runs that take as long as they are said to."""

    def __init__(self, name: str, slots: int, standby: int) -> None:
        self.name = name
        self.admission = Admission(slots, standby=standby)
        self.running = 0
        self.waiting: deque[tuple[SimulatedIngress, QueueEntry]] = deque()


class DispatchSimulation:
    """Ingresses and instances with messages between them, one event after the other."""

    def __init__(
        self,
        *,
        ingresses: int,
        instances: int,
        slots: int,
        latency_s: float,
        seed: int,
        standby: int = 0,
        beside_s: float = 0.0,
        begin_s: float = 0.0,
        slowed: float = 1.0,
        slowed_from_s: float = 0.0,
    ) -> None:
        self.outcome = Outcome()
        self._latency_s = latency_s
        self._beside_s, self._begin_s = beside_s, begin_s
        self._slowed, self._slowed_from_s = slowed, slowed_from_s
        self._rng = random.Random(seed)
        self._ingresses = {
            f"i{n}": SimulatedIngress(f"i{n}", self._rng.randrange(2**32)) for n in range(ingresses)
        }
        self._instances = {
            f"s{n}": SimulatedInstance(f"s{n}", slots, standby) for n in range(instances)
        }
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self._jobs: dict[str, Job] = {}
        self._last_s = 0.0
        for instance in self._instances.values():
            self._beat(instance, 0.0)

    def run(self, jobs: Sequence[Job]) -> Outcome:
        for number, job in enumerate(jobs):
            self._jobs[str(number)] = job
            ingress = self._rng.choice(list(self._ingresses.values()))
            self._at(job.arrives_s, self._arrival(ingress, str(number)))
        while self._events and len(self.outcome.latency_s) < len(jobs):
            now, _, event = heapq.heappop(self._events)
            self._measure(now)
            event(now)
        return self.outcome

    def _at(self, when: float, event: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _send(self, now: float, event: Callable[[float], None]) -> None:
        self.outcome.messages += 1
        self._at(now + self._latency_s, event)

    def _measure(self, now: float) -> None:
        """Waiting requests and free slots at the same time are what the law forbids."""
        waiting = sum(len(one.dispatch.queue) for one in self._ingresses.values())
        if waiting:
            free = sum(one.admission.slots - one.running for one in self._instances.values())
            self.outcome.idle_while_waiting_s += min(waiting, free) * (now - self._last_s)
        self._last_s = now

    def _ticket(self, name: str, now: float) -> SimulatedTicket:
        return SimulatedTicket(
            name, arrived=now, queue_deadline=inf, deadline=inf, run_timeout_s=inf
        )

    def _arrival(self, ingress: SimulatedIngress, name: str) -> Callable[[float], None]:
        def event(now: float) -> None:
            entry = self._ticket(name, now)
            entry.stands_by = self._jobs[name].stands_by
            if ingress.dispatch.submit(entry, now) is not None:
                self._request(ingress, entry, now)
            self._settle(ingress, now)

        return event

    def _request(self, ingress: SimulatedIngress, entry: QueueEntry, now: float) -> None:
        known = entry.instance
        assert known is not None, "a request is sent after it was bound"
        behind = ingress.dispatch.more_waiting(known, now) if known.wanted else NOTHING_WAITS
        backlog = pack_backlog(behind)
        flags = int(RequestFlag.STANDBY) if entry.standby else 0
        instance = self._instances[known.iid]

        def event(now: float) -> None:
            admission = instance.admission
            verdict = admission.admit(entry.request_id, ingress.name, flags, backlog, now)
            self._grants(instance, admission.grants(now), now)
            if isinstance(verdict, Admitted):
                self._admitted(instance, ingress, entry, now)
            else:
                self._busy(instance, ingress, entry, now)

        self._send(now, event)

    def _admitted(
        self, instance: SimulatedInstance, ingress: SimulatedIngress, entry: QueueEntry, now: float
    ) -> None:
        if instance.running < instance.admission.slots:
            self._begin(instance, ingress, entry, now + self._beside_s / 2)
            return
        instance.waiting.append((ingress, entry))
        give_back = self._give_back(instance, ingress, entry, entry.sent, overdue=True)
        self._at(now + STANDBY_S, give_back)

    def _begin(
        self, instance: SimulatedInstance, ingress: SimulatedIngress, entry: QueueEntry, now: float
    ) -> None:
        instance.running += 1
        service = self._jobs[entry.request_id].service_s
        if instance.name == "s0" and now >= self._slowed_from_s:
            service *= self._slowed
        self._at(now + service, self._finish(instance, ingress, entry))

    def _give_back(
        self,
        instance: SimulatedInstance,
        ingress: SimulatedIngress,
        entry: QueueEntry,
        sent: float,
        *,
        overdue: bool = False,
    ) -> Callable[[float], None]:
        def event(now: float) -> None:
            if (ingress, entry) not in instance.waiting or entry.sent != sent:
                return
            instance.waiting.remove((ingress, entry))
            grants = instance.admission.give_back(entry.request_id, now, overdue=overdue)
            self._busy(instance, ingress, entry, now)
            self._grants(instance, grants, now)

        return event

    def _busy(
        self, instance: SimulatedInstance, ingress: SimulatedIngress, entry: QueueEntry, now: float
    ) -> None:
        free = instance.admission.free_for(ingress.name)

        def event(now: float) -> None:
            self.outcome.bounced += 1
            ingress.dispatch.refused(entry, free)
            self._settle(ingress, now)

        self._send(now, event)

    def _finish(
        self, instance: SimulatedInstance, ingress: SimulatedIngress, entry: QueueEntry
    ) -> Callable[[float], None]:
        def event(now: float) -> None:
            instance.running -= 1
            self._next(instance, now)
            told = now + self._beside_s / 2
            self._at(told, lambda now: self._told(instance, ingress, entry, now))

        return event

    def _next(self, instance: SimulatedInstance, now: float) -> None:
        if instance.waiting and instance.running < instance.admission.slots:
            self._begin(instance, *instance.waiting.popleft(), now + self._begin_s)

    def _told(
        self, instance: SimulatedInstance, ingress: SimulatedIngress, entry: QueueEntry, now: float
    ) -> None:
        self._grants(instance, instance.admission.finish(entry.request_id, now), now)
        free = instance.admission.free_for(ingress.name)
        self._send(now, lambda now: self._answer(ingress, entry, free, now))

    def _ended(self, latency_s: float) -> None:
        """One request is over."""
        self.outcome.latency_s.append(latency_s)

    def _answer(self, ingress: SimulatedIngress, entry: QueueEntry, free: int, now: float) -> None:
        self._ended(now - entry.arrived)
        if entry.instance is not None:
            took_s = now - entry.sent
            if entry.standby:
                took_s = min(took_s, self._jobs[entry.request_id].service_s)
            ingress.dispatch.measured(entry.instance.iid, took_s)
        ingress.dispatch.answered(entry, free)
        self._settle(ingress, now)

    def _grants(self, instance: SimulatedInstance, grants: Sequence[Grant], now: float) -> None:
        for grant in grants:
            self._send(now, self._granted(self._ingresses[grant.ingress_id], instance, grant.free))
        expiry = instance.admission.next_expiry
        if grants and expiry is not None:
            self._at(
                expiry,
                lambda now: self._grants(instance, instance.admission.expire(now), now),
            )

    def _granted(
        self, ingress: SimulatedIngress, instance: SimulatedInstance, held: int
    ) -> Callable[[float], None]:
        def event(now: float) -> None:
            ingress.dispatch.granted(instance.name, held)
            self._settle(ingress, now)

        return event

    def _settle(self, ingress: SimulatedIngress, now: float) -> None:
        while (entry := ingress.dispatch.next(now)) is not None:
            self._request(ingress, entry, now)
        for entry in ingress.dispatch.recalls():
            assert entry.instance is not None, "it waits at one"
            instance = self._instances[entry.instance.iid]
            self._send(now, self._give_back(instance, ingress, entry, entry.sent))
        for change in ingress.dispatch.wants(now):
            self._send(now, self._want(ingress, change))

    def _want(self, ingress: SimulatedIngress, change: WantChange) -> Callable[[float], None]:
        instance, name = self._instances[change.instance.iid], ingress.name
        n, waited_ms, slot = change.backlog

        def event(now: float) -> None:
            grants = instance.admission.want(name, n, name, now, waited_ms, slot=slot)
            self._grants(instance, grants, now)

        return event

    def _beat(self, instance: SimulatedInstance, now: float) -> None:
        heartbeat = InstanceHeartbeat(
            iid=instance.name,
            epoch=1,
            client=instance.name,
            state=InstanceState.READY,
            slots=instance.admission.slots,
            standby=instance.admission.standby,
            in_flight=instance.admission.in_flight,
        )
        for ingress in self._ingresses.values():
            ingress.dispatch.beat(heartbeat, now)
            self._settle(ingress, now)
        self._at(now + HEARTBEAT_S, lambda now: self._beat(instance, now))


def simulate_dispatch(
    jobs: Sequence[Job],
    *,
    ingresses: int,
    instances: int,
    slots: int = 1,
    latency_s: float = LATENCY_S,
    seed: int = 0,
    standby: int = 0,
    beside_s: float = 0.0,
    begin_s: float = 0.0,
    slowed: float = 1.0,
    slowed_from_s: float = 0.0,
) -> Outcome:
    """Run a load through our dispatch and admission.

    One instance takes `slowed` times as long from a time on.
    """
    simulation = DispatchSimulation(
        ingresses=ingresses,
        instances=instances,
        slots=slots,
        latency_s=latency_s,
        seed=seed,
        standby=standby,
        beside_s=beside_s,
        begin_s=begin_s,
        slowed=slowed,
        slowed_from_s=slowed_from_s,
    )
    return simulation.run(jobs)


def central_queue(jobs: Sequence[Job], *, servers: int, latency_s: float = LATENCY_S) -> Outcome:
    """The ideal: one queue, no news to wait for, and the same way there and back."""
    free, outcome = [0.0] * servers, Outcome()
    for job in jobs:
        start = max(job.arrives_s, heapq.heappop(free))
        heapq.heappush(free, start + job.service_s)
        outcome.latency_s.append(start + job.service_s - job.arrives_s + 2 * latency_s)
    return outcome


def random_queues(
    jobs: Sequence[Job], *, servers: int, latency_s: float = LATENCY_S, seed: int = 0
) -> Outcome:
    """What a NATS queue group does: any instance, which then keeps a queue of its own."""
    rng = random.Random(seed)
    return _own_queues(jobs, servers, latency_s, lambda _: rng.randrange(servers))


def two_choices(
    jobs: Sequence[Job], *, servers: int, latency_s: float = LATENCY_S, seed: int = 0
) -> Outcome:
    """The better of two instances at random, by requests there; exact knowledge, early binding."""
    rng = random.Random(seed)

    def choose(depth: list[int]) -> int:
        return min(rng.sample(range(servers), 2), key=depth.__getitem__)

    return _own_queues(jobs, servers, latency_s, choose)


def _own_queues(
    jobs: Sequence[Job], servers: int, latency_s: float, choose: Callable[[list[int]], int]
) -> Outcome:
    ends: list[list[float]] = [[] for _ in range(servers)]
    outcome = Outcome()
    for job in jobs:
        for queue in ends:
            while queue and queue[0] <= job.arrives_s:
                queue.pop(0)
        chosen = ends[choose([len(queue) for queue in ends])]
        end = max(job.arrives_s, chosen[-1] if chosen else 0.0) + job.service_s
        chosen.append(end)
        outcome.latency_s.append(end - job.arrives_s + 2 * latency_s)
    return outcome
