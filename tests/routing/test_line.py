"""The line of those that wait: whatever is done to it, it finds what a look at each would find."""

from __future__ import annotations

from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_bus.routing.queueing.queue_entry import QueueEntry
from headrace_bus.routing.queueing.wait_queue import BLOCK, WaitQueue

RUN_S = 5.0
WAIT_S = 4.0


def waiting(name: object, arrived: float, patience_s: float) -> QueueEntry:
    """A request whose caller leaves after `patience_s`, if not by the limits before."""
    limit = arrived + WAIT_S
    deadline = min(limit + RUN_S, arrived + patience_s)
    return QueueEntry(
        str(name), arrived=arrived, queue_deadline=limit, deadline=deadline, run_timeout_s=RUN_S
    )


def end(entry: QueueEntry) -> float:
    return entry.deadline if entry.hurried else inf


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 12)),
        st.tuples(st.just("leave"), st.integers(0, 10_000)),
        st.tuples(st.just("rejoin"), st.integers(0, 10_000)),
        st.tuples(st.just("wait anew"), st.integers(0, 3)),
        st.tuples(st.just("stand still"), st.integers(0, 3)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, crowd=st.lists(st.integers(0, 12), max_size=3 * BLOCK), late=st.booleans())
def test_it_finds_what_a_look_at_each_would_find(
    steps: list[tuple[str, int]], crowd: list[int], late: bool
) -> None:
    line, clock = WaitQueue(), 0.0
    plain: list[QueueEntry] = []
    away: list[QueueEntry] = []
    if not late:
        line.know_ends()
    for step, value in [*(("join", cold_start) for cold_start in crowd), *steps]:
        clock += 0.125
        if step == "join":
            one = waiting(clock, clock, value)
            line.join(one)
            plain.append(one)
        elif step == "leave" and plain:
            away.append(plain.pop(value % len(plain)))
            line.leave(away[-1])
        elif step == "rejoin" and away:
            one = away.pop(value % len(away))
            line.rejoin(one)
            plain = sorted([*plain, one], key=lambda each: each.arrived)
        elif step == "wait anew":
            line.wait_anew(clock)
        elif step == "stand still":
            line.stood_still(float(value))
    if late:
        line.know_ends()

    assert list(line) == plain
    assert line.last_to_end() == max(plain, key=end, default=None)
    for until in range(int(clock) + 14):
        found = next((one for one in plain if end(one) >= until), None)
        assert line.first_until(until) is found


def test_what_comes_back_stands_before_those_that_came_later() -> None:
    line = WaitQueue()
    line.know_ends()
    crowd = [waiting(number, float(number), 1.0) for number in range(5 * BLOCK)]
    for one in crowd[::2]:
        line.join(one)
    for one in reversed(crowd[1::2]):
        line.rejoin(one)

    assert list(line) == crowd
    for one in crowd:
        assert line.first_until(0.0) is one
        line.leave(one)
    assert line.first_until(0.0) is None
    assert line.last_to_end() is None


def test_a_look_asks_none_of_those_that_wait() -> None:
    """Several looks a request, and thousands may wait."""
    asked: list[str] = []

    class Asked(QueueEntry):
        @property
        def hurried(self) -> bool:
            asked.append(self.request_id)
            return super().hurried

    line = WaitQueue()
    line.know_ends()
    for number in range(2_000):
        now = float(number)
        line.join(Asked("", arrived=now, queue_deadline=now, deadline=now + 1, run_timeout_s=RUN_S))
    asked.clear()

    assert line.first_until(1_999.5) is line[1_999]
    assert line.first_until(3_000.0) is None
    assert line.last_to_end() is line[-1]
    assert asked == []
