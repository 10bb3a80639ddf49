"""Who may start at an instance: the instance's side of dispatch, pure and synchronous.

    request -> admit -> Admitted | Busy | Draining | Duplicate
    finish, want, set_slots, expire -> grants to send

An ingress that has requests and no slot says how many, and how long the first has waited (`want`);
the instance holds each slot that comes free for who has waited longest, so that all ingresses
together come close to one queue. A slot is unheld only while nobody wants, so a request without a
hold is admitted exactly when no ingress waits for the slot.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from headrace_bus.wire.envelope import RequestFlag
from headrace_bus.wire.instance_control import unpack_backlog

GRANT_HOLD_S: Final = 0.1  # seconds a granted slot waits for its request
REMEMBERED: Final = 1024  # finished requests known by id, so that a resent one is not run twice
REMEMBERED_ONCE: Final = 64 * REMEMBERED  # the same where that would do harm; some 10 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """It has a slot until `finish`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """No slot for it; answer BUSY, the ingress keeps the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draining:
    """The instance takes nothing more; answer DRAINING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Sent again after a reconnect, and here already: do not run it."""

    finished: bool
    """False: it still runs and its answer will come. True: its answer may have been lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Tell an ingress, by an Answer of kind GRANT on `reply`, that a place is held for it."""

    ingress_id: str
    reply: str
    free: int
    """As `free_for`."""


Verdict = Admitted | Busy | Draining | Duplicate

_RESENT: Final = int(RequestFlag.RESENT)  # plain ints: the enum's operators cost 1 us each
_STANDBY: Final = int(RequestFlag.STANDBY)
_ADMITTED: Final = Admitted()
_BUSY: Final = Busy()
_DRAINING: Final = Draining()


@dataclass(slots=True)
class _Ingress:
    reply: str
    wants: int = 0
    since: float = 0.0
    """When the first of those that wait came, or when it was granted its last slot."""
    slot: bool = False
    """The first of those that wait may not stand by."""
    holds: list[float] = field(default_factory=list)
    """When each slot held for it expires."""


class Admission:
    """The slots of one instance. Time is monotonic seconds, given by the caller."""

    def __init__(self, slots: int, remembered: int = REMEMBERED, *, standby: int = 0) -> None:
        self.slots = slots
        self.standby = standby
        self._closed = 0
        self._remembered = remembered
        self.draining = False
        self._running: dict[str, str] = {}
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._queue: OrderedDict[str, _Ingress] = OrderedDict()
        self._known: dict[str, _Ingress] = {}
        self._held = 0

    @property
    def in_flight(self) -> int:
        return len(self._running)

    @property
    def free(self) -> int:
        """Places nobody has and nobody is granted, standby included; never negative."""
        return max(0, self._room)

    @property
    def _room(self) -> int:
        """Where who has waited longest needs a slot, nobody stands by until it has one.

        Else the slot would never be free: who stands by takes it when the run before it ends.
        """
        if self._queue and self._queue[self._first].slot:
            return self.slots - len(self._running) - self._held
        standby = max(0, self.standby - self._closed)  # which closes no slot
        return self.slots + standby - len(self._running) - self._held

    @property
    def _first(self) -> str:
        """The ingress whose request has waited longest."""
        return min(self._queue, key=lambda one: self._queue[one].since)

    @property
    def next_expiry(self) -> float | None:
        """When `expire` has something to do, None while nothing is held."""
        if not self._held:
            return None
        return min(known.holds[0] for known in self._known.values() if known.holds)

    @property
    def wanted(self) -> bool:
        """Whether an ingress waits for a slot here."""
        return bool(self._queue)

    def free_for(self, ingress_id: str) -> int:
        """Slots this ingress may use now: what an answer to it carries in `free`.

        Who holds a slot hears of a place beside each too, lest it take the slot for one of those.
        """
        known = self._known.get(ingress_id)
        if known is None or not known.holds:
            return self.free
        return len(known.holds) + (self.standby if known.slot else self.free)

    def admit(
        self, request_id: str, ingress_id: str, flags: int, backlog: int, now: float
    ) -> Verdict:
        """Take the request if it has a slot; `backlog` is what it leaves waiting.

        While `wanted`, call `grants` right after it.
        """
        if request_id in self._running:
            return Duplicate(finished=False)
        if flags & _RESENT and request_id in self._finished:
            return Duplicate(finished=True)
        if self.draining:
            return _DRAINING
        known = self._known.get(ingress_id)
        if known is not None and known.holds:
            known.holds.pop(0)
            self._held -= 1
        elif self._room <= 0 or (len(self._running) >= self.slots and not flags & _STANDBY):
            return _BUSY
        self._running[request_id] = ingress_id
        if known is not None:
            n, waited_ms, known.slot = unpack_backlog(backlog)
            self._set_wants(ingress_id, known, n, now - waited_ms / 1000)
        return _ADMITTED

    def finish(self, request_id: str, now: float, *, answered: bool = True) -> list[Grant]:
        """Free the slot of a request. Build its answer afterwards, `free_for` then is right.

        A slot that goes to the very ingress the answer goes to needs no grant: the answer says it.
        """
        ingress_id = self._running.pop(request_id, None)
        self._finished[request_id] = None
        if len(self._finished) > self._remembered:
            self._finished.popitem(last=False)
        self._closed = 0
        return self._freed(ingress_id, now, answered)

    def give_back(self, request_id: str, now: float, *, overdue: bool = False) -> list[Grant]:
        """As `finish` for one that has not begun and may come again.

        `overdue`: it has waited for too long, so nobody waits in its place until a slot turns over.
        """
        self._closed += overdue
        return self._freed(self._running.pop(request_id, None), now, True)

    def _freed(self, ingress_id: str | None, now: float, answered: bool) -> list[Grant]:
        if not self._queue or ingress_id is None:
            return []
        grants = self._grant(now)
        return [one for one in grants if not answered or one.ingress_id != ingress_id]

    def want(
        self,
        ingress_id: str,
        n: int,
        reply: str,
        now: float,
        waited_ms: int = 0,
        *,
        slot: bool = False,
    ) -> list[Grant]:
        """Note how many requests of an ingress wait; 0 returns what is held for it.

        So does a want for a `slot`, as what is held may be a place beside one.
        """
        known = self._known.setdefault(ingress_id, _Ingress(reply))
        known.reply, known.slot = reply, slot
        if slot:
            self._held -= len(known.holds)
            known.holds.clear()
        self._set_wants(ingress_id, known, n, now - waited_ms / 1000)
        return self._grant(now)

    def grants(self, now: float) -> list[Grant]:
        """Hand out free slots to those who want, when an `admit` brought a new want."""
        return self._grant(now) if self._queue else []

    def forget(self, ingress_id: str, now: float) -> list[Grant]:
        """Drop what an ingress that has gone wanted and was granted."""
        return self.want(ingress_id, 0, "", now)

    def set_slots(self, slots: int, now: float, standby: int = 0) -> list[Grant]:
        """Change the number of slots; those running are never taken back."""
        self.slots, self.standby = slots, standby
        return self._grant(now)

    def drain(self) -> None:
        """Take nothing more; what is held or wanted is forgotten."""
        self.draining = True
        self._queue.clear()
        self._known.clear()
        self._held = 0

    def expire(self, now: float) -> list[Grant]:
        """Take back slots held past GRANT_HOLD_S and grant them to the next who wants."""
        for known in self._known.values():
            while known.holds and known.holds[0] <= now:
                known.holds.pop(0)
                self._held -= 1
        return self._grant(now)

    def _set_wants(self, ingress_id: str, known: _Ingress, n: int, since: float) -> None:
        known.wants, known.since = n, since
        if n > 0:
            self._queue.setdefault(ingress_id, known)
            return
        self._queue.pop(ingress_id, None)
        self._held -= len(known.holds)
        del self._known[ingress_id]

    def _grant(self, now: float) -> list[Grant]:
        """Give each free slot to who has waited longest.

        How long its next one has waited is not known before the request comes that the slot is
        for; until then it is taken for the newest.
        """
        granted: dict[str, _Ingress] = {}
        while self._queue and self.free:
            ingress_id = self._first
            known = self._queue.pop(ingress_id)
            known.wants -= 1
            known.since = now
            known.holds.append(now + GRANT_HOLD_S)
            self._held += 1
            granted[ingress_id] = known
            if known.wants > 0:
                self._queue[ingress_id] = known
        return [
            Grant(ingress_id=ingress_id, reply=known.reply, free=self.free_for(ingress_id))
            for ingress_id, known in granted.items()
        ]
