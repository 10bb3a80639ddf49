"""Which instance gets which request, and when: late binding at the ingress, pure.

    submit -> an instance with a free slot | the queue
    answered, refused, granted, beat -> next() binds from the head of the queue while there is room
    wants() -> what to tell instances whose slots others use

An ingress hears of each slot its own requests free. Only slots that others hold come free unheard,
so it asks for those alone (`Want`), and with one ingress no such message is ever sent.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final, NamedTuple

from headrace_bus.routing.queueing.cold_start import ColdStartGrace
from headrace_bus.routing.queueing.deadline_scheduler import DeadlineScheduler
from headrace_bus.routing.queueing.outliers import JUDGE_EACH, PROBE_EACH, is_slow, takes
from headrace_bus.routing.queueing.queue_entry import Instance, QueueEntry
from headrace_bus.routing.queueing.standby import STANDBY_S, Standbys
from headrace_bus.routing.queueing.wait_queue import WaitQueue
from headrace_bus.wire.heartbeat import InstanceHeartbeat, InstanceState
from headrace_bus.wire.instance_control import NOTHING_WAITS, Backlog
from headrace_bus.wire.liveness_bounds import AMNESTY_S, DUE_S

SWEEP_S: Final = 0.05  # between two looks for who is `overdue`: how late a timeout may be told
STALE_ANSWER_S: Final = 2.0  # an abandoned request older than this is not waited for when idle


class Overdue(StrEnum):
    """Which of its clocks a request has run past."""

    QUEUE = "queue"  # waited past max_queue_wait (or wake_timeout) with instances there
    NOT_READY = "not_ready"  # the same, and no instance is ready
    RUN = "run"  # `run` past request_timeout
    DEADLINE = "deadline"  # the caller's own deadline passed in the queue, or is too near


@dataclass(frozen=True, slots=True, kw_only=True)
class WantChange:
    """Tell an instance what waits here; of none: nothing does any more."""

    instance: Instance
    backlog: Backlog


class Heard(NamedTuple):
    """What a heartbeat tells of the requests that were at its instance."""

    lost: list[QueueEntry]
    """It is a new life of the instance, which knows nothing of them."""
    again: list[QueueEntry]
    """Still bound to it, and to be sent once more; or cancelled, where nobody waits any more."""


class Dispatch:
    """The requests of one deployment at one ingress."""

    def __init__(self, rng: random.Random) -> None:
        self.instances: dict[str, Instance] = {}
        self.queue = WaitQueue()
        self.in_flight = 0
        self.paused = False
        """True while the ingress is cut off: nothing is bound, and only deadlines end a request."""
        self.cold_start = ColdStartGrace()
        self._rng = rng
        self._wanted = 0
        self._bound = 0
        self._slow = 0
        self._standbys = Standbys()
        self._kept = 0
        self._deadlines = DeadlineScheduler(self.queue)

    @property
    def pending(self) -> int:
        """Requests waiting and running, those nobody waits for any more included."""
        return len(self.queue) + self.in_flight

    @property
    def restless(self) -> bool:
        """Whether `next` or `wants` may have something to say."""
        waits = bool(self.queue) or self._kept > 0
        return waits or self._wanted > 0 or bool(self._standbys)

    @property
    def ready(self) -> int:
        """Instances that take requests."""
        return sum(one.usable for one in self.instances.values())

    def submit(self, entry: QueueEntry, now: float) -> Instance | None:
        """Bind the request to an instance, or queue it behind those that wait."""
        if not self.queue:
            instance = self._least_loaded()
            if instance is not None and self._in_time(entry, instance, now):
                self._bind(entry, instance, now)
                return instance
        self.cold_start.missed(now)
        self.queue.join(entry)
        self._deadlines.waits(entry)
        return None

    def next(self, now: float) -> QueueEntry | None:
        """Bind the first of the queue that can be done in time; None without one, or room."""
        if not self.queue:
            return None
        instance = self._least_loaded()
        if instance is None:
            return None
        entry = self._deadlines.first(now, 1 + instance.full)
        if entry is None or (instance.full and not entry.may_stand_by):
            return None
        self.queue.leave(entry)
        self._bind(entry, instance, now)
        return entry

    def another(self, than: Instance) -> Instance | None:
        """The least loaded instance with room beside the given one, for a second copy."""
        best: Instance | None = None
        for one in self.instances.values():
            room = one.usable and len(one.open) + one.others < one.slots
            if one is than or not room or one.latency.slow or self.paused:
                continue
            if best is None or len(one.open) * best.slots < len(best.open) * one.slots:
                best = one
        return best

    def bind(self, entry: QueueEntry, instance: Instance, now: float) -> None:
        """Give a copy to the instance that `another` found; it never waits in the queue."""
        self._bind(entry, instance, now)

    def more_waiting(self, instance: Instance, now: float) -> Backlog:
        """What waits behind a request just bound; the request carries it to the instance."""
        n = self._hopeful(now) + len(instance.returning)
        if n == 0:
            instance.wanted = False
            self._wanted -= 1
        instance.wanted_slot = self.needs_slot(now)
        return Backlog(n, self.waited_ms(now), instance.wanted_slot)

    def needs_slot(self, now: float) -> bool:
        """Whether a place to stand by is of no use to those that wait."""
        if not self.queue:
            return False
        first = self._deadlines.first(now, 2)
        return first is None or not first.may_stand_by

    def _hopeful(self, now: float) -> int:
        """Requests that wait; 0 while all have too little time, lest a slot be held for them."""
        return len(self.queue) if self._deadlines.first(now, 1) is not None else 0

    def waited_ms(self, now: float, instance: Instance | None = None) -> int:
        """How long the head of the queue, or what is kept for the instance, has waited."""
        waiting = [self.queue[0]] if self.queue else []
        if instance is not None:
            waiting += instance.returning
        oldest = min((one.arrived for one in waiting), default=now)
        return max(0, int((now - oldest) * 1000))

    def measured(self, iid: str, took_s: float) -> None:
        """A request came back from the instance `took_s` after it was sent."""
        self._deadlines.measured(took_s)
        instance = self.instances.get(iid)
        if instance is None or len(self.instances) == 1:
            return
        latency = instance.latency
        latency.add(took_s)
        if latency.samples % JUDGE_EACH and not latency.slow:
            return
        peers = (one for one in self.instances.values() if one is not instance and one.usable)
        slow = is_slow(latency, [one.latency for one in peers])
        if slow and not latency.slow:
            latency.probe_at = self._bound + PROBE_EACH
        self._slow += slow - latency.slow
        latency.slow = slow

    def answered(self, entry: QueueEntry, free: int) -> None:
        """The instance is done with the request; `free` is what it says of its slots."""
        instance = self._release(entry)
        if instance is not None:
            instance.learn(free)

    def refused(self, entry: QueueEntry, free: int = 0) -> bool:
        """BUSY: nothing ran. Back into the queue by its arrival; False when nobody waits for it."""
        instance = self._release(entry)
        if instance is not None:
            instance.learn(free)
            if not entry.standby:  # what is free is for those who would wait there
                instance.others = max(instance.others, instance.slots - len(instance.open))
        return self._requeue(entry)

    def unsent(self, entry: QueueEntry) -> None:
        """The request never left: forget that it was bound."""
        self._release(entry)

    def disowned(self, entry: QueueEntry) -> None:
        """Nobody waits for it, and its answer may have been lost: it is not counted as ours."""
        instance = self._release(entry)
        if instance is not None:
            instance.others += 1  # until the instance says how many it has

    def turned_away(self, entry: QueueEntry) -> bool:
        """DRAINING or nobody there: as `refused`, and the instance gets nothing more for now."""
        instance = self._release(entry)
        if instance is not None:
            instance.suspect = True
        return self._requeue(entry)

    def kept(self, entry: QueueEntry) -> None:
        """Not taken now, but perhaps before the cut: only this life of the instance may get it."""
        instance = entry.instance
        if instance is not None:
            if entry not in instance.returning:  # it may be refused once for each sending
                instance.returning.append(entry)
                self._kept += 1
            instance.learn(0)  # it is full without this one

    def room_again(self, now: float) -> list[QueueEntry]:
        """Return what was kept for instances that have room, still bound to them."""
        again: list[QueueEntry] = []
        for instance in self.instances.values() if self._kept and not self.paused else ():
            room = instance.slots + instance.standby - instance.sent - instance.others
            if instance.returning and instance.usable and room > 0:
                again += self._take_back(instance, room, now)
        return again

    def _take_back(self, instance: Instance, most: int, now: float) -> list[QueueEntry]:
        taken, instance.returning = instance.returning[:most], instance.returning[most:]
        self._kept -= len(taken)
        again = [one for one in taken if one.request_id in instance.open]
        for entry in again:
            entry.run_anew(now)
        return again

    def retry(self, entry: QueueEntry) -> None:
        """Put a request lost with its instance before those that came later, outside the wait."""
        entry.attempt += 1
        entry.queue_deadline = entry.deadline
        self.queue.rejoin(entry)

    def granted(self, iid: str, free: int) -> None:
        """The instance holds `free` slots for this ingress."""
        instance = self.instances.get(iid)
        if instance is not None:
            instance.learn(free)

    def beat(self, heartbeat: InstanceHeartbeat, now: float) -> Heard:
        """Take a heartbeat.

        A connection of the instance that ended took with it what was on its way, both ways: all
        that is open there is sent again, as after a cut of our own.
        """
        instance = self.instances.get(heartbeat.iid)
        lost: list[QueueEntry] = []
        if instance is not None and instance.epoch != heartbeat.epoch:
            if heartbeat.epoch < instance.epoch:
                return Heard([], [])
            lost, instance = self.remove(heartbeat.iid), None
        if instance is None:
            instance = self.instances[heartbeat.iid] = Instance(heartbeat.iid)
            instance.epoch, instance.links = heartbeat.epoch, heartbeat.links
        was_cut = heartbeat.links > instance.links
        instance.links = max(instance.links, heartbeat.links)
        if heartbeat.state == InstanceState.READY and not self.ready:
            self.queue.wait_anew(now)  # for room, as until now for an instance to be ready
        instance.heard(heartbeat, now)
        self.cold_start.heard(heartbeat.state, now)
        if heartbeat.in_flight == 0:
            self._forget_stale(instance, now)
        instance.others = max(0, heartbeat.in_flight - instance.sent)
        if instance.wanted and self.queue:
            self._unwant(instance)  # say it again: a want or a grant may have been lost
        if was_cut:
            return Heard(lost, self._all_again(instance, now, now))
        kept = len(instance.returning) if instance.usable else 0
        return Heard(lost, self._take_back(instance, kept, now))

    def suspect(self, iid: str) -> None:
        """Give the instance nothing new until its next heartbeat."""
        instance = self.instances.get(iid)
        if instance is not None:
            instance.suspect = True

    def suspect_silent(self, now: float) -> None:
        """Give nothing new to those that missed one or two heartbeats, until the next.

        For when one is struck out for its silence: what froze it or cut it off may have hit
        others, and a request that is lost twice is lost.
        """
        for instance in self.instances.values():
            if now - instance.seen > DUE_S:
                instance.suspect = True

    def remove(self, iid: str) -> list[QueueEntry]:
        """Forget a dead instance; return the requests that were lost with it."""
        instance = self.instances.pop(iid, None)
        if instance is None:
            return []
        self._unwant(instance)
        self._slow -= instance.latency.slow
        self._kept -= len(instance.returning)
        lost = list(instance.open.values())
        for entry in lost:
            self._release(entry)
        return [entry for entry in lost if not entry.abandoned]

    def withdraw(self, entry: QueueEntry) -> Instance | None:
        """Nobody waits for the request any more; return the instance that has it, if one has."""
        entry.abandoned = True
        entry.run_deadline = inf
        if entry.instance is None:
            self._unqueue(entry)
        return entry.instance

    def wants(self, now: float) -> list[WantChange]:
        """What instances must hear now: that requests wait, or that none does any more."""
        hopeful = self._hopeful(now)
        if not hopeful and not self._kept:
            return self._want_nothing() if self._wanted else []
        changes, slot = [], self.needs_slot(now)
        for instance in self.instances.values():
            n = hopeful + len(instance.returning)
            known = instance.wanted and instance.wanted_slot >= slot
            if (
                n
                and instance.others
                and instance.usable
                and not known
                and not instance.latency.slow
            ):
                self._wanted += not instance.wanted
                instance.wanted, instance.wanted_slot = True, slot
                backlog = Backlog(n, self.waited_ms(now, instance), slot)
                changes.append(WantChange(instance=instance, backlog=backlog))
        return changes

    def recalls(self) -> list[QueueEntry]:
        """Requests that wait at an instance while another could begin them at once."""
        if self.queue or self.paused or not self._standbys:
            return []
        free = (
            one.slots - len(one.open) - one.others
            for one in self.instances.values()
            if one.usable and not one.latency.slow
        )
        return self._standbys.recall(sum(n for n in free if n > 0))

    def overdue(self, now: float) -> list[tuple[QueueEntry, Overdue]]:
        """Return the requests past a deadline; they stay where they are until `withdraw`."""
        paused = self.paused
        late = [
            (entry, Overdue.RUN)
            for instance in self.instances.values()
            for entry in instance.open.values()
            if now >= (entry.deadline if paused else entry.run_deadline) and not entry.abandoned
        ]
        ready = self.ready > 0
        waited = Overdue.QUEUE if ready else Overdue.NOT_READY
        patient = not ready and self.cold_start.starting(now)
        for entry in self.queue:
            if not paused and now >= (entry.deadline if patient else entry.queue_deadline):
                late.append((entry, waited))
            elif now >= entry.deadline or (not paused and self._deadlines.too_late(entry, now)):
                late.append((entry, Overdue.DEADLINE))
        return late

    def resume(self, cut_off_s: float, now: float) -> list[QueueEntry]:
        """The connection is back after `cut_off_s`; return what must be sent again.

        Queue-wait clocks stood still, and stand until nobody's return is due any more (design
        3.1); `run` has its whole time again. What is sent again may find its instance not back
        yet: it waits as long as one that has just come.
        """
        self.paused = False
        self.queue.stood_still(cut_off_s + AMNESTY_S)
        again = []
        for instance in self.instances.values():
            instance.seen = now
            again += self._all_again(instance, now, now + AMNESTY_S)
        return again

    def _all_again(self, instance: Instance, now: float, waits_from: float) -> list[QueueEntry]:
        """All that is open there; what is refused waits in the queue as if it had just come."""
        self._kept -= len(instance.returning)
        instance.returning.clear()
        for entry in instance.open.values():
            entry.run_anew(now)
            entry.wait_anew(waits_from)
        return list(instance.open.values())

    def _least_loaded(self) -> Instance | None:
        if self.paused:
            return None
        best: Instance | None = None
        least, ties = inf, 1
        for instance in self.instances.values():
            taken = len(instance.open) + instance.others
            places = instance.slots + instance.standby
            if taken >= places or not instance.ready or instance.suspect:
                continue
            if instance.latency.slow and not self._worth_it(instance):
                continue
            load = taken / instance.slots
            if load < least:
                best, least, ties = instance, load, 1
            elif load == least:
                ties += 1
                if self._rng.random() * ties < 1:
                    best = instance
        return best

    def _in_time(self, entry: QueueEntry, instance: Instance, now: float) -> bool:
        """Whether it may stand by where there is no slot, with a run before its own."""
        return not instance.full or (
            entry.may_stand_by and not self._deadlines.too_late(entry, now, 2)
        )

    def _worth_it(self, slow: Instance) -> bool:
        """Whether a slow instance gets the next request."""
        others = [one for one in self.instances.values() if one.usable and not one.latency.slow]
        return takes(
            slow.latency,
            number=self._bound,
            waiting=len(self.queue),
            slots=sum(one.slots for one in others),
            usual_s=min((one.latency.seconds for one in others), default=0.0),
        )

    def _bind(self, entry: QueueEntry, instance: Instance, now: float) -> None:
        entry.instance = instance
        entry.sent = now
        entry.run_anew(now)
        entry.standby = instance.full
        if entry.standby:
            entry.run_deadline = min(entry.run_deadline + STANDBY_S, entry.deadline)
            self._standbys.add(entry)
        instance.open[entry.request_id] = entry
        self._bound += 1
        if self._slow and instance.latency.slow:
            instance.latency.probe_at = self._bound + PROBE_EACH
        self.in_flight += 1

    def _release(self, entry: QueueEntry) -> Instance | None:
        instance = entry.instance
        if instance is None or instance.open.pop(entry.request_id, None) is None:
            return None
        entry.instance, entry.run_deadline = None, inf
        if entry.standby:
            self._standbys.discard(entry)
        if entry.abandoned:
            entry.close()
        self.in_flight -= 1
        return instance

    def _requeue(self, entry: QueueEntry) -> bool:
        if entry.abandoned:
            return False
        self.queue.rejoin(entry)
        return True

    def _unqueue(self, entry: QueueEntry) -> None:
        try:
            self.queue.leave(entry)
        except ValueError:
            return  # it was lost, and is between two instances

    def _forget_stale(self, instance: Instance, now: float) -> None:
        """An idle instance answers nothing any more: the answers were lost on the way."""
        stale = [
            entry
            for entry in instance.open.values()
            if entry.abandoned and now - entry.sent > STALE_ANSWER_S
        ]
        for entry in stale:
            self._release(entry)

    def _want_nothing(self) -> list[WantChange]:
        changes = []
        for instance in self.instances.values():
            if instance.wanted:
                self._unwant(instance)
                changes.append(WantChange(instance=instance, backlog=NOTHING_WAITS))
        return changes

    def _unwant(self, instance: Instance) -> None:
        if instance.wanted:
            instance.wanted = False
            self._wanted -= 1


MakeDispatch = Callable[[str, int], Dispatch]
"""From `<ep>.<dep>` and a seed."""


def plain_dispatch(_: str, seed: int) -> Dispatch:
    return Dispatch(random.Random(seed))
