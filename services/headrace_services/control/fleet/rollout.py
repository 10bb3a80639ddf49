"""What to do next about one deployment: goal and instances in, steps out. Pure.

A rollout starts new instances (20 % more than wanted, at least one), waits until they are ready,
and drains old ones only as far as the wanted number stays served. What died is replaced: at once
after a life that was ready, after a growing pause when it never was.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from headrace_bus.wire.heartbeat import InstanceState

SURGE: Final = 0.2  # of the wanted number, azure_behaviour.md 7.3
BACKOFF_FIRST_S: Final = 1.0
BACKOFF_LAST_S: Final = 30.0
RESTARTS_ALLOWED: Final = (
    3  # deaths before ready, one after the other, that a rollout and callers endure
)
NEVER_EXIT: Final = 3  # a scorer whose start can never succeed leaves with this
PREPARE_BOUND_S: Final = 3600.0  # fetch and environment together
SILENCE_BOUND_S: Final = 60.0  # a scorer that says nothing for so long is no use to anybody
CODE_NOT_READY: Final = "ResourceNotReady"
_PREPARING: Final = (None, InstanceState.FETCHING, InstanceState.BUILDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is wanted of one deployment."""

    template: str
    """Digest of all that an instance is made from; instances of another are replaced."""
    count: int
    ready_budget_s: float
    """From the begin of `init` until ready, by the readiness probe."""
    deleting: bool = False
    rolling: bool = False
    """An operation is open: what cannot become ready fails it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One instance of ours, as records, provider and heartbeats show it."""

    iid: str
    template: str
    draining: bool = False
    started: bool = True
    """The provider lists it, living or ended."""
    alive: bool = True
    exit_code: int | None = None
    state: InstanceState | None = None
    """By its last heartbeat; None before the first."""
    was_ready: bool = False
    age_s: float = 0.0
    """Since control first knew of it."""
    in_state_s: float = 0.0
    """Since it entered this state."""
    silent_s: float = 0.0
    """Without a heartbeat while the bus was up."""
    ended_s: float = 0.0
    """Since its end was noticed."""
    restarts: int = 0
    """Deaths before ready that led to this instance, one after the other."""
    error_code: str = ""
    error: str = ""
    hint: str = ""

    @property
    def ready(self) -> bool:
        return self.alive and self.state is InstanceState.READY


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Write down a new instance and start it."""

    restarts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Start an instance that is written down and was never started."""

    iid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Take it out of service and let it end."""

    iid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """End it now: it never served, or answers nobody."""

    iid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Forget one that has ended."""

    iid: str


Step = Start | Launch | Drain | Kill | Remove


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why the goal cannot be reached."""

    code: str
    error: str
    iid: str
    hint: str = ""
    """What the instance, or the asset that is missing, says to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do now, and what is true now."""

    steps: tuple[Step, ...] = ()
    converged: bool = False
    """As many ready instances of the goal's template as wanted, and no other."""
    failure: Failure | None = None
    ready: int = 0
    look_again_s: float | None = None
    """When time alone changes the answer."""


def plan(goal: Goal, seen: Sequence[Seen]) -> Plan:
    """Decide the next steps. Steps of one plan may be taken in any order."""
    if goal.deleting or goal.count == 0:
        return _emptied(seen)
    ours = [one for one in seen if one.template == goal.template and not one.draining]
    failure = first_failure(goal, ours)
    steps = [*_drained(seen), *_launches(ours), *_lost(goal, ours)]
    if failure is None or not goal.rolling:
        more, wait_s = _replacements(ours)
        steps += more
        steps += _starts(goal, seen, ours)
    else:
        wait_s = None
    steps += _surplus(goal, ours) + _outdated(goal, seen, ours)
    ready = sum(one.ready for one in seen if not one.draining)
    return Plan(
        steps=tuple(steps),
        converged=_converged(goal, seen, ours),
        failure=failure,
        ready=ready,
        look_again_s=wait_s,
    )


def first_failure(goal: Goal, ours: Iterable[Seen]) -> Failure | None:
    """The first instance that shows that the goal's template cannot become ready."""
    for one in ours:
        if one.was_ready:
            continue
        if one.state is InstanceState.FAILED:
            return _failed(one, one.error or "the instance reported that it cannot start")
        if not one.alive and one.started:
            if one.exit_code == NEVER_EXIT:
                return _failed(one, one.error or "the scorer exited: this deployment cannot start")
            if one.restarts >= RESTARTS_ALLOWED and one.exit_code != 0:
                how = "" if one.exit_code is None else f" with exit code {one.exit_code}"
                times = one.restarts + 1
                return _failed(one, one.error or f"the instance died {times} times{how}")
        elif one.alive and _overdue(goal, one):
            return _failed(one, one.error or _overdue_words(goal, one))
    return None


def in_crash_loop(restarts: Collection[int]) -> bool:
    """Whether nobody should wait for a deployment: each instance is the last of several deaths.

    `restarts` of all its instances, as in Seen, and 0 for one that has been ready.
    """
    return bool(restarts) and min(restarts) >= RESTARTS_ALLOWED


def backoff_s(restarts: int) -> float:
    """The pause before the next start after so many deaths before ready."""
    return min(BACKOFF_FIRST_S * 2.0**restarts, BACKOFF_LAST_S)


def surge(count: int) -> int:
    """How many more than wanted a rollout may run."""
    return max(1, math.ceil(count * SURGE))


def _failed(one: Seen, words: str) -> Failure:
    code = one.error_code or CODE_NOT_READY
    return Failure(code=code, error=words, iid=one.iid, hint=one.hint)


def _overdue(goal: Goal, one: Seen) -> bool:
    if one.state in _PREPARING:
        return one.age_s > PREPARE_BOUND_S
    if one.state in (InstanceState.LOADING, InstanceState.UNREADY):
        return one.in_state_s > goal.ready_budget_s
    return False


def _overdue_words(goal: Goal, one: Seen) -> str:
    if one.state in _PREPARING:
        return f"the environment was not ready within {PREPARE_BOUND_S:.0f} s"
    return f"not ready within {goal.ready_budget_s:.0f} s of loading, by the readiness probe"


def _emptied(seen: Sequence[Seen]) -> Plan:
    return Plan(
        steps=tuple(_leave(one) for one in seen),
        converged=not seen,
        ready=sum(one.ready and not one.draining for one in seen),
    )


def _leave(one: Seen) -> Step:
    """The way out for one instance: drained when it serves, killed when it never did."""
    if not one.alive or not one.started:
        return Remove(iid=one.iid)
    return Drain(iid=one.iid) if one.was_ready or one.ready or one.draining else Kill(iid=one.iid)


def _drained(seen: Iterable[Seen]) -> list[Step]:
    return [_leave(one) for one in seen if one.draining]


def _launches(ours: Iterable[Seen]) -> list[Step]:
    return [Launch(iid=one.iid) for one in ours if not one.started]


def _lost(goal: Goal, ours: Iterable[Seen]) -> list[Step]:
    """Living instances that will not serve again: frozen, or failed but still there."""
    return [
        Kill(iid=one.iid)
        for one in ours
        if one.started
        and one.alive
        and (
            one.silent_s > SILENCE_BOUND_S
            or one.state is InstanceState.FAILED
            or (not one.was_ready and _overdue(goal, one))
        )
    ]


def _replacements(ours: Iterable[Seen]) -> tuple[list[Step], float | None]:
    """A new instance for each that ended, and when the next is due."""
    steps: list[Step] = []
    waits = []
    for one in ours:
        if one.alive or not one.started:
            continue
        # One that we ended while it was still starting has not failed, nor may it spin.
        failed = not one.was_ready and one.exit_code != 0
        pause_s = 0.0 if one.was_ready else backoff_s(one.restarts)
        if one.ended_s < pause_s:
            waits.append(pause_s - one.ended_s)
            continue
        steps += [
            Remove(iid=one.iid),
            Start(restarts=0 if one.was_ready else one.restarts + failed),
        ]
    return steps, min(waits, default=None)


def _starts(goal: Goal, seen: Sequence[Seen], ours: Sequence[Seen]) -> list[Step]:
    """New instances up to the wanted number, within the surge while old ones serve.

    An ended one holds its place: its replacement is `_replacements`' to start.
    """
    old = [one for one in seen if one.template != goal.template and one.alive and not one.draining]
    room = goal.count + surge(goal.count) - len(old) if old else goal.count
    return [Start() for _ in range(min(goal.count, room) - len(ours))]


def _surplus(goal: Goal, ours: Sequence[Seen]) -> list[Step]:
    """Scale-in: those that serve least go first."""
    ranked = sorted(ours, key=lambda one: (one.ready, one.alive, one.age_s), reverse=True)
    return [_leave(one) for one in ranked[goal.count :]]


def _outdated(goal: Goal, seen: Sequence[Seen], ours: Sequence[Seen]) -> list[Step]:
    """Old instances that are no longer needed to serve the wanted number."""
    old = [one for one in seen if one.template != goal.template and not one.draining]
    useless = [one for one in old if not one.ready]
    serving = sorted((one for one in old if one.ready), key=lambda one: one.age_s, reverse=True)
    new_ready = sum(one.ready for one in ours)
    spare = max(0, new_ready + len(serving) - goal.count)
    # An old one that is only unready for a moment may be all there is until the new ones serve.
    if new_ready < goal.count:
        useless = [one for one in useless if not one.alive or not one.was_ready]
    return [_leave(one) for one in (*useless, *serving[:spare])]


def _converged(goal: Goal, seen: Sequence[Seen], ours: Sequence[Seen]) -> bool:
    return len(seen) == len(ours) == goal.count and all(one.ready for one in ours)
