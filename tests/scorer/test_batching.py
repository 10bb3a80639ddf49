"""Requests that wait together become one call of a batched `run`, and each caller gets its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_bus.wire.envelope import AnswerKind
from headrace_bus.wire.instance_control import Cancel
from headrace_scorer.worker import batching, frames
from scorer.conftest import Serve
from scorer.test_worker_contract import OTHERS, interpreter
from scorer.worker_child import WorkerChild, decode_reply

TOGETHER = 16
SCRIPT = """
import json, os, time
from headrace_worker import batched
def init():
    pass
@batched(max_size=8, max_delay_ms=5)
def run(many):
    asked = [json.loads(one) for one in many]
    if any(one.get("do") == "raise" for one in asked):
        raise ValueError("bad element")
    if any(one.get("do") == "die" for one in asked):
        os.kill(os.getpid(), 11)
    time.sleep(max(one.get("s", 0) for one in asked))
    return [KeyError("mine") if one.get("do") == "error" else {"n": one.get("n"), "of": len(many)}
            for one in asked]
"""


@pytest.mark.parametrize("version", ["ours", *OTHERS])
def test_what_waits_together_is_one_call_and_each_gets_its_own(
    tmp_path: Path, version: str
) -> None:
    python = sys.executable if version == "ours" else interpreter(version)
    with WorkerChild(tmp_path, SCRIPT, python=python) as worker:
        assert worker.started()["async"] is True  # takes many at once
        worker.send(b'{"s": 0.5}')
        numbers = [worker.send(json.dumps({"n": n}).encode()) for n in range(TOGETHER)]
        answers = [worker.next()[2] for _ in [0, *numbers]]
        found = [json.loads(decode_reply(one).body) for one in answers]

    assert [one["n"] for one in found] == [None, *range(TOGETHER)]
    assert max(one["of"] for one in found) == 8  # max_size, and never more


async def test_only_the_caller_at_fault_gets_the_error(serve: Serve) -> None:
    _, caller = await serve(SCRIPT, max_concurrent=20)
    blocker = asyncio.create_task(caller.ask({"s": 0.2}))
    what = ["fine", "raise", "fine", "error", "fine"]
    answers = await asyncio.gather(*(caller.ask({"do": do, "n": n}) for n, do in enumerate(what)))
    await blocker

    assert [one.status for one in answers] == [200, 500, 200, 500, 200]
    assert [json.loads(answers[n].body)["n"] for n in (0, 2, 4)] == [0, 2, 4]


async def test_a_cancelled_element_never_reaches_run(serve: Serve) -> None:
    instance, caller = await serve(SCRIPT, max_concurrent=20)
    blocker = asyncio.create_task(caller.ask({"s": 3}))
    await instance.when(lambda beat: beat.in_flight)
    request = caller.request(b'{"n": 1}')
    queue = caller.send(request)
    other = asyncio.create_task(caller.ask({"n": 2}))
    await asyncio.sleep(0)
    caller.control(Cancel(request_id=request.request_id))

    assert (await queue.get()).reason == "cancelled"
    assert json.loads((await other).body) == {"n": 2, "of": 1}
    await blocker


async def test_a_death_of_the_worker_costs_only_the_element_that_kills(serve: Serve) -> None:
    _, caller = await serve(SCRIPT, max_concurrent=20)
    asked: list[dict[str, object]] = [{"s": 0.1}, {"n": 1}, {"do": "die"}, {"n": 2}]
    answers = await asyncio.gather(*(caller.ask(one) for one in asked))

    assert [one.kind for one in answers] == [
        AnswerKind.DONE, AnswerKind.DONE, AnswerKind.FAILED, AnswerKind.DONE,
    ]  # fmt: skip


BATCH_ONLY = """
def init():
    pass
def run_batch(many):
    return [len(one) for one in many]
"""
WRONG = """
def init():
    pass
def run_batch(many):
    return "all"
"""


def test_run_batch_alone_is_a_script(tmp_path: Path) -> None:
    with WorkerChild(tmp_path, BATCH_ONLY) as worker:
        worker.started()
        assert worker.ask(b"four").json == 4


def test_another_number_of_answers_is_the_scripts_error_and_not_a_swap(tmp_path: Path) -> None:
    with WorkerChild(tmp_path, WRONG) as worker:
        worker.started()
        assert worker.ask(b"four").status == 500


def test_an_async_batch_is_refused_with_words(tmp_path: Path) -> None:
    with WorkerChild(tmp_path, BATCH_ONLY.replace("def run_b", "async def run_b")) as worker:
        kind, _, payload = worker.told()
    assert kind == frames.FAILED
    assert "ordinary function of one list" in json.loads(payload)["message"]


@given(waiting=st.integers(1, 100), before=st.integers(1, 100))
def test_a_delay_is_never_spent_where_nobody_is_missing(waiting: int, before: int) -> None:
    batch = batching.Batch(list, 32, 5.0)
    waits = batching.wait_s(waiting, before, batch) > 0

    assert waits == (waiting < min(before, 32))


def test_by_hand_the_decorated_function_answers_for_one() -> None:
    @batching.batched(4, 1)
    def run(many: list[int]) -> list[int]:
        return [2 * one for one in many]

    assert run(21) == 42
    with pytest.raises(ValueError, match="max_size=0"):
        batching.batched(0)
