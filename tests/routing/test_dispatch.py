"""Late binding at the ingress: a request waits only while no instance has room for it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from math import inf

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.errors import MalformedEnvelope
from headrace_bus.routing.admission.admission import Admission, Admitted, Busy
from headrace_bus.routing.edge.route import NO_ROUTE, RouteDecision, Router, RouteRefused
from headrace_bus.routing.queueing.dispatch import Dispatch, Overdue
from headrace_bus.routing.queueing.limits import Peers, pending_limit
from headrace_bus.routing.queueing.liveness import Judge, Verdict
from headrace_bus.routing.queueing.outliers import MIN_SAMPLES
from headrace_bus.routing.queueing.queue_entry import Instance, QueueEntry
from headrace_bus.routing.queueing.retry import may_retry
from headrace_bus.wire.envelope import RequestFlag
from headrace_bus.wire.heartbeat import IngressHeartbeat, InstanceHeartbeat, InstanceState
from headrace_bus.wire.liveness_bounds import AMNESTY_S, INGRESS_LIVE_S, INSTANCE_LIVE_S
from headrace_bus.wire.route_record import DeploymentRoute, Route
from headrace_simulation.dispatch import (
    central_queue,
    pareto_load,
    random_queues,
    simulate_dispatch,
    two_choices,
)

NAMES = ("blue", "green", "red")


def entry(
    name: str, queue_s: float = 10.0, run_s: float = 1.0, *, arrived: float = 0.0
) -> QueueEntry:
    return QueueEntry(
        name,
        arrived=arrived,
        queue_deadline=queue_s,
        deadline=queue_s + run_s,
        run_timeout_s=run_s,
    )


def beat(iid: str, slots: int = 1, in_flight: int = 0, epoch: int = 1) -> InstanceHeartbeat:
    return InstanceHeartbeat(
        iid=iid,
        epoch=epoch,
        client=f"inst:{iid}",
        state=InstanceState.READY,
        slots=slots,
        in_flight=in_flight,
    )


def dispatch_with(**slots: int) -> Dispatch:
    dispatch = Dispatch(random.Random(1))
    for iid, count in slots.items():
        dispatch.beat(beat(iid, count), 0.0)
    return dispatch


def make_route(traffic: dict[str, int], mirror: dict[str, int] | None = None) -> Route:
    deployments = {name: DeploymentRoute(name=name) for name in NAMES}
    return Route(endpoint="e", traffic=traffic, mirror=mirror or {}, deployments=deployments)


@given(blue=st.integers(0, 100), seed=st.integers(0, 1000), start=st.integers(0, 250))
def test_any_hundred_requests_in_a_row_are_split_exactly(blue: int, seed: int, start: int) -> None:
    router = Router(make_route({"blue": blue, "green": 100 - blue}), random.Random(seed))
    chosen = [router.choose(None) for _ in range(start + 100)][start:]
    found = Counter(one.deployment.name for one in chosen if isinstance(one, RouteDecision))

    assert (found["blue"], found["green"]) == (blue, 100 - blue)


@given(percent=st.integers(1, 50), seed=st.integers(0, 1000))
def test_the_mirror_gets_its_percentage_and_no_request_with_a_header(
    percent: int, seed: int
) -> None:
    router = Router(make_route({"blue": 100}, {"green": percent}), random.Random(seed))
    chosen = [router.choose(None) for _ in range(100)]
    named = router.choose("Blue")

    assert sum(isinstance(one, RouteDecision) and one.mirror is not None for one in chosen) == (
        percent
    )
    assert isinstance(named, RouteDecision)
    assert named.mirror is None


def test_nothing_with_weight_and_an_unknown_name_are_refused_with_the_known_words() -> None:
    router = Router(make_route({"blue": 0}), random.Random(0))
    nowhere, unknown = router.choose(None), router.choose("yellow")

    assert nowhere == RouteRefused(code="NotFound", message=NO_ROUTE)
    assert isinstance(unknown, RouteRefused)
    assert unknown.code == "DeploymentNotFound"


def test_different_ingresses_begin_their_split_at_different_points() -> None:
    route = make_route({"blue": 50, "green": 50})
    first = {str(Router(route, random.Random(seed)).choose(None)) for seed in range(20)}

    assert len(first) == 2


def test_the_least_loaded_gets_the_next_and_ties_go_to_all() -> None:
    dispatch = dispatch_with(one=4, two=4)
    for number in range(8):
        assert dispatch.submit(entry(str(number)), 0.0) is not None
    firsts = {
        chosen.iid
        for seed in range(20)
        if (chosen := _first(Dispatch(random.Random(seed)))) is not None
    }

    assert [len(one.open) for one in dispatch.instances.values()] == [4, 4]
    assert firsts == {"one", "two"}


def _first(dispatch: Dispatch) -> Instance | None:
    for iid in ("one", "two"):
        dispatch.beat(beat(iid), 0.0)
    return dispatch.submit(entry("a"), 0.0)


def test_a_busy_answer_puts_the_request_at_the_head_and_asks_for_a_slot() -> None:
    dispatch = dispatch_with(one=1)
    first, second = entry("a"), entry("b")
    dispatch.submit(first, 0.0)
    dispatch.submit(second, 0.0)

    assert dispatch.wants(0.0) == []  # the one slot is ours: its answer will tell
    assert dispatch.refused(first)
    assert [one.request_id for one in dispatch.queue] == ["a", "b"]
    assert dispatch.next(0.0) is None
    (change,) = dispatch.wants(0.0)
    assert (change.instance.iid, change.backlog.n) == ("one", 2)
    dispatch.granted("one", 1)
    assert dispatch.next(0.0) is first
    assert dispatch.more_waiting(change.instance, 0.0).n == 1


@given(
    order=st.permutations(range(5)),
    ways=st.lists(st.sampled_from(["busy", "draining", "lost"]), min_size=5, max_size=5),
)
def test_whatever_comes_back_in_whatever_order_waits_by_its_arrival(
    order: list[int], ways: list[str]
) -> None:
    dispatch = dispatch_with(one=5)
    entries = [entry(str(at), arrived=float(at)) for at in range(7)]
    for one in entries:
        dispatch.submit(one, one.arrived)
    for at in order:
        if ways[at] == "busy":
            dispatch.refused(entries[at])
        elif ways[at] == "draining":
            dispatch.turned_away(entries[at])
        else:
            dispatch.unsent(entries[at])
            dispatch.retry(entries[at])

    assert list(dispatch.queue) == entries
    assert dispatch.waited_ms(9.0) == 9000


def test_who_wants_nothing_any_more_says_so() -> None:
    dispatch = dispatch_with(one=1)
    dispatch.beat(beat("one", in_flight=1), 0.0)
    waiting = entry("a")
    assert dispatch.submit(waiting, 0.0) is None
    assert [change.backlog.n for change in dispatch.wants(0.0)] == [1]

    dispatch.withdraw(waiting)
    assert [change.backlog.n for change in dispatch.wants(0.0)] == [0]


def test_a_timed_out_run_keeps_its_slot_until_its_answer() -> None:
    dispatch = dispatch_with(one=1)
    slow = entry("a", run_s=1.0)
    dispatch.submit(slow, 0.0)
    assert dispatch.overdue(1.0) == [(slow, Overdue.RUN)]

    dispatch.withdraw(slow)
    assert dispatch.submit(entry("b"), 1.0) is None
    assert dispatch.overdue(1.5) == []
    dispatch.answered(slow, 1)
    assert dispatch.next(2.0) is not None


def test_a_dead_instance_or_a_new_life_of_it_gives_up_its_requests() -> None:
    dispatch = dispatch_with(one=2)
    first, second = entry("a"), entry("b")
    dispatch.submit(first, 0.0)
    assert dispatch.beat(beat("one", 2, epoch=2), 0.0) == ([first], [])
    dispatch.retry(first)
    assert dispatch.next(0.0) is first
    dispatch.submit(second, 0.0)

    assert dispatch.remove("one") == [first, second]
    assert (dispatch.pending, first.attempt) == (0, 2)


def test_queue_clocks_stand_still_while_the_ingress_is_cut_off() -> None:
    dispatch = dispatch_with(one=1)
    dispatch.submit(entry("a", run_s=5.0), 0.0)
    waiting = entry("b", queue_s=2.0, run_s=10.0)
    dispatch.submit(waiting, 0.0)
    dispatch.paused = True

    assert dispatch.overdue(3.0) == []
    assert [one.request_id for one in dispatch.resume(3.0, 3.0)] == ["a"]
    assert dispatch.overdue(4.9 + AMNESTY_S) == []
    assert dispatch.overdue(5.0 + AMNESTY_S) == [(waiting, Overdue.QUEUE)]


def test_a_request_whose_instance_is_back_later_than_the_ingress_may_wait_for_it() -> None:
    """Sent again after the cut and answered by nobody, its queue wait begins anew."""
    dispatch = dispatch_with(one=1)
    running = entry("a", queue_s=0.3, run_s=20.0)
    dispatch.submit(running, 0.0)
    dispatch.paused = True
    assert dispatch.resume(1.5, 1.5) == [running]

    assert dispatch.turned_away(running)
    assert dispatch.overdue(1.7 + AMNESTY_S) == []
    dispatch.beat(beat("one"), 2.0)
    assert dispatch.next(2.0) is not None


def hurried(name: str, deadline: float) -> QueueEntry:
    return QueueEntry(name, arrived=0.0, queue_deadline=10.0, deadline=deadline, run_timeout_s=1.0)


def test_who_cannot_be_done_in_time_lets_those_behind_go_first_and_is_told_so() -> None:
    """No work is begun whose caller will be gone at its end."""
    dispatch = dispatch_with(one=1)
    running = entry("runs")
    dispatch.submit(running, 0.0)
    near, far, patient = hurried("near", 0.3), hurried("far", 0.5), entry("patient")
    for one in (near, patient, far):
        dispatch.submit(one, 0.0)
    for _ in range(MIN_SAMPLES):
        dispatch.measured("one", 0.1)
    dispatch.answered(running, 1)

    assert dispatch.next(0.25) is patient  # waits by the deployment's limits, which hold for it
    dispatch.answered(patient, 1)
    assert dispatch.overdue(0.25) == [(near, Overdue.DEADLINE)]
    assert dispatch.next(0.25) is far
    assert dispatch.next(0.25) is None
    assert list(dispatch.queue) == [near]


def test_a_hurried_request_starts_while_nobody_knows_how_long_it_takes() -> None:
    dispatch = dispatch_with(one=1)
    running, near = entry("runs"), hurried("near", 0.3)
    dispatch.submit(running, 0.0)
    dispatch.submit(near, 0.0)
    dispatch.answered(running, 1)

    assert dispatch.next(0.299) is near


def test_a_waiting_request_learns_whether_anybody_was_ready() -> None:
    dispatch = Dispatch(random.Random(0))
    dispatch.cold_start.expected = False
    waiting = entry("a", queue_s=0.5)
    dispatch.submit(waiting, 0.0)

    assert dispatch.overdue(0.5) == [(waiting, Overdue.NOT_READY)]


def starting(iid: str) -> InstanceHeartbeat:
    return replace(beat(iid, slots=0), state=InstanceState.LOADING)


def test_a_request_waits_inside_its_deadline_for_an_instance_that_starts() -> None:
    dispatch = Dispatch(random.Random(0))
    waiting = entry("a", queue_s=0.5, run_s=30.0)
    dispatch.submit(waiting, 0.0)
    for now in range(31):
        dispatch.beat(starting("one"), float(now))
        assert dispatch.overdue(float(now)) == []

    assert dispatch.overdue(waiting.deadline) == [(waiting, Overdue.NOT_READY)]


def test_who_waited_for_a_start_then_waits_for_room_as_one_that_has_just_come() -> None:
    dispatch = Dispatch(random.Random(0))
    first, second = (entry(name, queue_s=0.5, run_s=30.0) for name in ("a", "b"))
    dispatch.submit(first, 0.0)
    dispatch.submit(second, 0.0)
    dispatch.beat(starting("one"), 7.0)
    dispatch.beat(beat("one"), 8.0)

    assert dispatch.next(8.0) is first
    assert dispatch.overdue(8.4) == []
    assert dispatch.overdue(8.5) == [(second, Overdue.QUEUE)]


def test_who_waited_for_a_doubtful_instance_to_speak_then_waits_for_room() -> None:
    dispatch = dispatch_with(one=1)
    dispatch.suspect("one")
    first, second = (entry(name, queue_s=0.5, run_s=30.0) for name in ("a", "b"))
    dispatch.submit(first, 0.0)
    dispatch.submit(second, 0.0)
    assert dispatch.overdue(1.9) == []
    dispatch.beat(beat("one"), 2.0)

    assert dispatch.next(2.0) is first
    assert dispatch.overdue(2.4) == []
    assert dispatch.overdue(2.5) == [(second, Overdue.QUEUE)]


def test_what_is_kept_twice_is_sent_again_once() -> None:
    """Each of its sendings may be refused."""
    dispatch = dispatch_with(one=1)
    sent = entry("a")
    dispatch.submit(sent, 0.0)
    dispatch.kept(sent)
    dispatch.kept(sent)

    assert dispatch.beat(beat("one"), 1.0).again == [sent]


def test_what_was_at_an_instance_that_lost_its_connection_is_sent_again() -> None:
    """Once for each connection; what nobody waits for is no more counted as ours then."""
    dispatch = dispatch_with(one=4)
    running, kept, gone = (entry(name, queue_s=0.5, run_s=30.0) for name in ("a", "b", "gone"))
    for one in (running, kept, gone):
        dispatch.submit(one, 0.0)
    dispatch.kept(kept)
    dispatch.withdraw(gone)
    assert dispatch.beat(beat("one", 4, in_flight=2), 1.0).again == [kept]
    dispatch.kept(kept)

    heard = dispatch.beat(replace(beat("one", 4, in_flight=2), links=1), 29.5)
    assert heard == ([], [running, kept, gone])
    dispatch.disowned(gone)
    assert dispatch.in_flight == 2
    assert dispatch.instances["one"].others == 1
    assert dispatch.overdue(30.4) == []  # each has the whole time for `run`, within its deadline
    assert dispatch.overdue(30.5) == [(running, Overdue.RUN), (kept, Overdue.RUN)]
    for links in (1, 0):  # one that is late was said before
        late = replace(beat("one", 4, in_flight=2), links=links)
        assert dispatch.beat(late, 29.6) == ([], [])


def test_what_is_refused_after_its_instance_lost_its_connection_waits_as_if_it_had_just_come() -> (
    None
):
    dispatch = dispatch_with(one=1)
    sent = entry("a", queue_s=0.5, run_s=30.0)
    dispatch.submit(sent, 0.0)
    assert dispatch.beat(replace(beat("one", in_flight=1), links=1), 5.0).again == [sent]

    assert dispatch.refused(sent)
    assert dispatch.overdue(5.4) == []
    assert dispatch.overdue(5.5) == [(sent, Overdue.QUEUE)]


def test_what_is_kept_for_its_instance_has_its_turn_among_those_of_other_ingresses() -> None:
    """Tried at each heartbeat alone, it is refused for as long as others want the slots."""
    dispatch, admission = dispatch_with(one=1), Admission(1)
    kept, behind = entry("kept"), entry("behind", arrived=1.0)
    dispatch.submit(kept, 0.0)
    dispatch.submit(behind, 1.0)
    admission.admit("others 0", "others", 0, 0, 0.0)  # while this ingress was cut off
    admission.want("others", 9, "inbox.others", 2.0)
    assert isinstance(admission.admit("kept", "in", RequestFlag.RESENT, 0, 2.0), Busy)
    dispatch.kept(kept)
    assert dispatch.restless

    (change,) = dispatch.wants(0.0)
    assert (change.instance.iid, change.backlog.n) == ("one", 2)
    waited_ms = dispatch.waited_ms(2.0, change.instance)
    assert admission.want("in", change.backlog.n, "inbox.in", 2.0, waited_ms) == []
    assert dispatch.room_again(2.0) == []
    (grant,) = admission.finish("others 0", 3.0)
    assert grant.ingress_id == "in"
    dispatch.granted("one", grant.free)

    assert dispatch.room_again(3.0) == [kept]
    assert dispatch.room_again(3.0) == []
    assert dispatch.next(3.0) is None, "that was the only slot"
    assert isinstance(admission.admit("kept", "in", RequestFlag.RESENT, 0, 3.0), Admitted)


def test_without_a_queue_what_is_kept_still_asks_and_then_wants_nothing() -> None:
    dispatch = dispatch_with(one=1)
    kept = entry("kept")
    dispatch.submit(kept, 0.0)
    dispatch.kept(kept)
    assert [change.backlog.n for change in dispatch.wants(0.0)] == [1]

    dispatch.granted("one", 1)
    assert dispatch.room_again(1.0) == [kept]
    assert [change.backlog.n for change in dispatch.wants(0.0)] == [0]
    dispatch.kept(kept)
    dispatch.remove("one")
    assert not dispatch.restless


@pytest.mark.parametrize(
    "said", [{"slots": 0, "standby": 1}, {"slots": -1}, {"in_flight": "3"}, {"epoch": 1.5}]
)
def test_a_heartbeat_without_sensible_counts_is_refused(said: dict[str, object]) -> None:
    """Dispatch adds them up and divides by them, for every request of the deployment."""
    with pytest.raises(MalformedEnvelope):
        InstanceHeartbeat.decode(msgpack.packb(beat("one").plain() | said))


def test_the_limit_counts_what_the_others_last_said_and_forgets_the_silent() -> None:
    peers = Peers("me")
    for name in ("me", "you"):
        said = IngressHeartbeat(ingress_id=name, waiting={"e.blue": 2}, in_flight={"e.blue": 3})
        peers.heard(said, 0.0)

    assert peers.pending("e.blue") == 5
    peers.forget_silent(INGRESS_LIVE_S + 0.1)
    assert peers.pending("e.blue") == 0
    blue = DeploymentRoute(name="blue", max_concurrent=3, desired_instances=0)
    assert pending_limit(blue) == 6


def test_nobody_is_judged_while_cut_off_and_two_seconds_after() -> None:
    judge = Judge()
    assert judge.silent(0.0, INSTANCE_LIVE_S + 0.1) is Verdict.DEAD
    assert judge.disconnected("Read Error", 0.0) is Verdict.DEAD
    assert judge.disconnected("Slow Consumer", 0.0) is Verdict.SUSPECT
    judge.cut_off(10.0)
    assert judge.silent(0.0, 50.0) is Verdict.ALIVE
    assert judge.reconnected(60.0) == 50.0
    assert judge.disconnected("Read Error", 60.0 + AMNESTY_S - 0.1) is Verdict.SUSPECT
    assert judge.silent(60.0, 60.0 + AMNESTY_S) is Verdict.DEAD


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({}, True),
        ({"attempt": 2}, False),
        ({"idempotent": False}, False),
        ({"answering": True}, False),
        ({"now": 9.0}, False),
    ],
)
def test_a_lost_request_gets_one_more_attempt_when_it_does_no_harm(
    change: dict[str, float], allowed: bool
) -> None:
    facts = {"attempt": 1, "idempotent": True, "answering": False, "now": 0.0, "deadline": 9.0}

    assert may_retry(**facts | change) is allowed  # type: ignore[arg-type]  # one bag of facts


def test_two_ingresses_come_close_to_one_central_queue_under_a_heavy_tail() -> None:
    """Pareto(1.5) at 80 % load on 4 instances: the 99th percentile, over ten loads."""
    ours, ideal, choices, queues, idle = [], [], [], [], 0.0
    for seed in range(10):
        load = pareto_load(seed, requests=4000, servers=4, load=0.8, mean_s=0.02)
        outcome = simulate_dispatch(load, ingresses=2, instances=4, seed=seed)
        assert len(outcome.latency_s) == len(load)
        ours.append(outcome.quantile(0.99))
        ideal.append(central_queue(load, servers=4).quantile(0.99))
        choices.append(two_choices(load, servers=4).quantile(0.99))
        queues.append(random_queues(load, servers=4).quantile(0.99))
        idle = max(idle, outcome.idle_while_waiting_s / (4 * load[-1].arrives_s))

    assert sum(ours) <= 1.1 * sum(ideal)
    assert sum(choices) > 1.2 * sum(ours)
    assert sum(queues) > 2 * sum(ours)
    assert idle < 0.01  # of all slot time was free while a request waited


def test_one_ingress_needs_no_message_beside_request_and_answer() -> None:
    load = pareto_load(3, requests=2000, servers=4, load=0.95, mean_s=0.02)
    outcome = simulate_dispatch(load, ingresses=1, instances=4)

    assert outcome.messages == 2 * len(load)
    assert outcome.bounced == 0


@given(seed=st.integers(0, 10_000), ingresses=st.integers(1, 3), slots=st.integers(1, 3))
def test_every_request_of_any_run_is_answered_once(seed: int, ingresses: int, slots: int) -> None:
    load = pareto_load(seed, requests=60, servers=2 * slots, load=1.2, mean_s=0.01)
    outcome = simulate_dispatch(load, ingresses=ingresses, instances=2, slots=slots, seed=seed)

    assert len(outcome.latency_s) == len(load)
    assert min(outcome.latency_s) < inf
