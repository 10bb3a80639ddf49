"""What a death means for the requests that were in the worker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.wire.envelope import Request
from headrace_scorer.crash_triage import (
    DIED,
    LIVENESS,
    TIMEOUT,
    judge,
    restart_delay_s,
    retries_at_once,
)
from headrace_scorer.execution import Execution


def execution(number: int, *, deaths: int = 0, chunks: int = 0, sent_s: float = 100.0) -> Execution:
    request = Request(str(number), 0, 0, 0, 0, 0, b"POST\0/score\0", "", "i", b"")
    return Execution(
        number=number,
        request=request,
        reply="r",
        deadline_s=200.0,
        sent_s=sent_s,
        deaths=deaths,
        chunks=chunks,
    )


JOBS = st.lists(
    st.builds(
        execution,
        st.integers(),
        deaths=st.integers(0, 1),
        chunks=st.integers(0, 2),
        sent_s=st.floats(0, 100),
    ),
    max_size=8,
)


@given(
    JOBS, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([DIED, TIMEOUT, LIVENESS])
)
def test_each_request_has_one_fate(
    executions: list[Execution], asynchronous: bool, alone: bool, idempotent: bool, why: str
) -> None:
    found = judge(
        executions,
        asynchronous=asynchronous,
        alone=alone,
        idempotent=idempotent,
        why=why,
        late=50.0,
    )
    fates = [*found.innocent, *found.suspect, *(one for one, _ in found.lost)]
    assert sorted(map(id, fates)) == sorted(map(id, executions))
    if not idempotent:
        assert not found.suspect
    if not asynchronous:
        assert (
            [*executions[1:]] == [one for one in found.innocent if one is not executions[0]]
            if executions
            else True
        )


def test_dying_alone_twice_is_poison_and_dying_in_company_is_not() -> None:
    first = judge(
        [execution(1), execution(2)],
        asynchronous=True,
        alone=False,
        idempotent=True,
        why=DIED,
        late=0,
    )
    alone = judge(
        [execution(1, deaths=1)], asynchronous=True, alone=True, idempotent=True, why=DIED, late=0
    )
    assert len(first.suspect) == 2
    assert [reason for _, reason in alone.lost] == [DIED]


def test_what_a_sync_worker_had_not_started_is_innocent() -> None:
    found = judge(
        [execution(1), execution(2)],
        asynchronous=False,
        alone=False,
        idempotent=False,
        why=DIED,
        late=0,
    )
    assert [one.number for one in found.innocent] == [2]


def test_retries_are_bounded() -> None:
    assert [retries_at_once(active) for active in (0, 10, 100)] == [3, 3, 20]


def test_only_deaths_before_ready_wait() -> None:
    assert [restart_delay_s(n, 1.0, 30.0) for n in (0, 1, 2, 3, 9)] == [0.0, 1.0, 2.0, 4.0, 30.0]
