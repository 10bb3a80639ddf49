"""The plan of a rollout: rules one by one, then a fleet that only ever follows it."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace

import pytest

from headrace_bus.wire.heartbeat import InstanceState
from headrace_services.control.fleet.rollout import (
    BACKOFF_LAST_S,
    RESTARTS_ALLOWED,
    SILENCE_BOUND_S,
    Drain,
    Goal,
    Kill,
    Launch,
    Plan,
    Remove,
    Seen,
    Start,
    Step,
    backoff_s,
    in_crash_loop,
    plan,
    surge,
)

ROLL = Goal(template="new", count=2, ready_budget_s=30.0, rolling=True)
SERVE = replace(ROLL, rolling=False)


def ready(iid: str, template: str = "new", **more: object) -> Seen:
    return Seen(iid=iid, template=template, state=InstanceState.READY, was_ready=True, **more)  # type: ignore[arg-type]


def loading(iid: str, template: str = "new", **more: object) -> Seen:
    return Seen(iid=iid, template=template, state=InstanceState.LOADING, **more)  # type: ignore[arg-type]


def dead(iid: str, template: str = "new", **more: object) -> Seen:
    return Seen(iid=iid, template=template, alive=False, **more)  # type: ignore[arg-type]


def kinds(found: Plan) -> list[Step]:
    return sorted(found.steps, key=repr)


def test_a_create_starts_as_many_as_wanted() -> None:
    assert plan(ROLL, []).steps == (Start(), Start())


def test_a_record_without_a_start_is_started_under_its_own_id() -> None:
    found = plan(ROLL, [loading("a"), Seen(iid="b", template="new", started=False, alive=False)])

    assert found.steps == (Launch(iid="b"),)


def test_it_has_converged_when_all_are_ready_and_nothing_else_is_left() -> None:
    assert plan(ROLL, [ready("a"), ready("b")]).converged
    assert not plan(ROLL, [ready("a"), loading("b")]).converged
    assert not plan(ROLL, [ready("a"), ready("b"), ready("c", "old", draining=True)]).converged


def test_an_update_starts_one_more_before_it_drains_any() -> None:
    old = [ready("a", "old"), ready("b", "old")]

    assert plan(ROLL, old).steps == (Start(),)
    assert plan(ROLL, [*old, loading("c")]).steps == ()


def test_an_update_drains_one_old_for_each_new_that_is_ready() -> None:
    found = plan(ROLL, [ready("a", "old", age_s=9), ready("b", "old"), ready("c")])

    assert kinds(found) == [Drain(iid="a")]


def test_the_surge_is_a_fifth_and_at_least_one() -> None:
    assert [surge(count) for count in (1, 4, 5, 6, 10, 11)] == [1, 1, 1, 2, 2, 3]


def test_a_count_that_grows_or_shrinks_touches_no_other_instance() -> None:
    assert plan(replace(SERVE, count=3), [ready("a"), ready("b")]).steps == (Start(),)
    fewer = plan(replace(SERVE, count=1), [ready("a", age_s=9), loading("b")])
    assert fewer.steps == (Kill(iid="b"),)


def test_a_death_after_ready_is_replaced_at_once() -> None:
    found = plan(SERVE, [ready("a"), dead("b", was_ready=True)])

    assert kinds(found) == [Remove(iid="b"), Start(restarts=0)]


def test_a_death_before_ready_is_replaced_after_a_growing_pause() -> None:
    early = plan(SERVE, [ready("a"), dead("b", restarts=2, ended_s=1.0)])
    later = plan(SERVE, [ready("a"), dead("b", restarts=2, ended_s=4.0)])

    assert early.steps == ()
    assert early.look_again_s == pytest.approx(3.0)
    assert kinds(later) == [Remove(iid="b"), Start(restarts=3)]
    assert backoff_s(50) == BACKOFF_LAST_S


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (
            replace(
                loading("a"), state=InstanceState.FAILED, error_code="BadArgument", error="boom"
            ),
            "BadArgument",
        ),
        (dead("a", exit_code=3), "ResourceNotReady"),
        (dead("a", exit_code=-9, restarts=RESTARTS_ALLOWED), "ResourceNotReady"),
        (loading("a", in_state_s=31.0), "ResourceNotReady"),
        (replace(loading("a", in_state_s=31.0), state=InstanceState.UNREADY), "ResourceNotReady"),
    ],
)
def test_what_can_never_become_ready_fails_the_rollout(one: Seen, code: str) -> None:
    found = plan(ROLL, [one])

    assert found.failure is not None
    assert found.failure.code == code
    assert found.failure.error
    assert not any(isinstance(step, Start) for step in found.steps)


def test_an_environment_may_take_longer_than_the_probe_allows() -> None:
    building = replace(loading("a"), state=InstanceState.BUILDING, in_state_s=600.0, age_s=600.0)

    assert plan(ROLL, [building]).failure is None


def test_an_instance_that_was_ready_does_not_fail_the_rollout() -> None:
    unready = replace(ready("a"), state=InstanceState.UNREADY, in_state_s=999.0)

    assert plan(ROLL, [unready, ready("b")]).failure is None


def test_an_instance_that_says_nothing_is_killed() -> None:
    found = plan(SERVE, [ready("a"), ready("b", silent_s=SILENCE_BOUND_S + 1)])

    assert found.steps == (Kill(iid="b"),)


def test_an_old_one_that_is_unready_for_a_moment_stays_until_the_new_serve() -> None:
    unready = replace(ready("a", "old"), state=InstanceState.UNREADY)

    assert plan(replace(ROLL, count=1), [unready, loading("b")]).steps == ()
    assert plan(replace(ROLL, count=1), [unready, ready("b")]).steps == (Drain(iid="a"),)


def test_a_delete_drains_what_serves_and_kills_what_never_did() -> None:
    goal = replace(SERVE, deleting=True)
    found = plan(goal, [ready("a"), loading("b"), dead("c"), ready("d", draining=True)])

    assert kinds(found) == [Drain(iid="a"), Drain(iid="d"), Kill(iid="b"), Remove(iid="c")]
    assert plan(goal, []).converged


@dataclass
class Fleet:
    """Instances that do what the steps say, and become ready or die at random."""

    chance: random.Random
    broken: frozenset[str] = frozenset()
    """Templates whose instances fail to load."""
    instances: dict[str, Seen] = field(default_factory=dict)
    ids: itertools.count[int] = field(default_factory=itertools.count)
    deaths: int = 0

    def take(self, goal: Goal, step: Step) -> None:
        match step:
            case Start(restarts=restarts):
                iid = f"i{next(self.ids)}"
                self.instances[iid] = Seen(iid=iid, template=goal.template, restarts=restarts)
            case Launch(iid=iid):
                self.instances[iid] = replace(self.instances[iid], started=True, alive=True)
            case Drain(iid=iid):
                self.instances[iid] = replace(self.instances[iid], draining=True)
            case Kill(iid=iid):
                self.instances[iid] = replace(self.instances[iid], alive=False)
            case Remove(iid=iid):
                del self.instances[iid]

    def pass_time(self) -> None:
        for iid, one in list(self.instances.items()):
            self.instances[iid] = replace(
                one,
                age_s=one.age_s + 1,
                ended_s=one.ended_s + (0 if one.alive else 1),
                in_state_s=one.in_state_s + 1,
            )
            if one.alive and self.chance.random() < 0.5:
                self.instances[iid] = self._next(self.instances[iid])

    def _next(self, one: Seen) -> Seen:
        if one.draining:
            return replace(one, alive=False)
        if self.deaths and self.chance.random() < 0.3:
            self.deaths -= 1
            return replace(one, alive=False)
        if one.template in self.broken:
            return replace(one, state=InstanceState.FAILED, error="boom", error_code="X")
        return replace(one, state=InstanceState.READY, was_ready=True)

    @property
    def serving(self) -> int:
        return sum(one.ready and not one.draining for one in self.instances.values())

    @property
    def taken(self) -> int:
        return sum(one.alive and not one.draining for one in self.instances.values())


def settle(fleet: Fleet, goal: Goal, *, least: int = 0) -> bool:
    """Follow the plan until it has converged (True) or failed (False)."""
    for _ in range(500):
        found = plan(goal, list(fleet.instances.values()))
        if found.converged:
            return True
        if found.failure is not None and goal.rolling:
            return False
        for step in found.steps:
            fleet.take(goal, step)
        assert fleet.taken <= goal.count + surge(goal.count)
        assert fleet.serving >= least
        fleet.pass_time()
    raise AssertionError(f"no end: {fleet.instances}")


@pytest.mark.parametrize("seed", range(40))
def test_an_update_of_a_healthy_fleet_never_serves_with_fewer(seed: int) -> None:
    chance = random.Random(seed)
    fleet = Fleet(chance)
    goal = replace(ROLL, template="one", count=chance.randint(1, 12))
    assert settle(fleet, goal)

    after = replace(goal, template="two")

    assert settle(fleet, after, least=goal.count)
    assert {one.template for one in fleet.instances.values()} == {"two"}
    assert fleet.serving == goal.count


@pytest.mark.parametrize("seed", range(40))
def test_a_failed_update_falls_back_and_never_serves_with_fewer(seed: int) -> None:
    chance = random.Random(seed)
    fleet = Fleet(chance, broken=frozenset({"two"}))
    goal = replace(ROLL, template="one", count=chance.randint(1, 12))
    assert settle(fleet, goal)

    assert not settle(fleet, replace(goal, template="two"), least=goal.count)
    assert settle(fleet, replace(goal, rolling=False), least=goal.count)
    assert {one.template for one in fleet.instances.values()} == {"one"}


@pytest.mark.parametrize("seed", range(40))
def test_deaths_at_any_time_end_in_the_wanted_fleet(seed: int) -> None:
    chance = random.Random(seed)
    fleet = Fleet(chance, deaths=6)
    goal = replace(SERVE, template="one", count=chance.randint(1, 6))

    assert settle(fleet, goal)
    assert settle(fleet, replace(goal, template="two", count=chance.randint(1, 6)))
    assert settle(fleet, replace(goal, deleting=True))
    assert fleet.instances == {}


@pytest.mark.parametrize(
    ("restarts", "expected"),
    [
        ([], False),
        ([0], False),
        ([RESTARTS_ALLOWED - 1], False),
        ([RESTARTS_ALLOWED], True),
        ([RESTARTS_ALLOWED, RESTARTS_ALLOWED + 4], True),
        ([RESTARTS_ALLOWED + 4, 0], False),
    ],
)
def test_who_dies_again_and_again_is_not_waited_for_unless_another_may_come(
    restarts: list[int], expected: bool
) -> None:
    assert in_crash_loop(restarts) is expected


def test_one_that_we_ended_while_it_was_starting_is_no_death_and_does_not_spin() -> None:
    ended = dead("a", restarts=RESTARTS_ALLOWED, exit_code=0)
    goal = replace(SERVE, count=1)
    assert plan(replace(goal, rolling=True), [ended]).failure is None
    assert plan(goal, [ended]).steps == ()
    later = plan(goal, [replace(ended, ended_s=BACKOFF_LAST_S)])
    assert later.steps == (Remove(iid="a"), Start(restarts=RESTARTS_ALLOWED))
