"""An instance answers over the bus, from workers of its own, whatever becomes of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from headrace_bus.client.connection import Bus
from headrace_bus.routing.admission.admission import REMEMBERED
from headrace_bus.routing.exchange.refusals import failed
from headrace_bus.wire.envelope import CHUNK_WINDOW, AnswerKind, Request, RequestFlag
from headrace_bus.wire.heartbeat import InstanceState
from headrace_bus.wire.instance_control import Cancel, Credit, Recall, Want
from headrace_bus.wire.launch import Probe
from headrace_telemetry.clock import unix_ms
from scorer.caller import BOUND_S, Caller, Instance
from scorer.conftest import Serve

ECHO = """
import json, os
def init():
    print("loaded")
def run(raw):
    return {"said": json.loads(raw), "pid": os.getpid()}
"""


async def test_echo_comes_back_from_an_isolated_worker(serve: Serve) -> None:
    instance, caller = await serve(ECHO)

    answer = await caller.ask({"a": 1})

    assert answer.kind == AnswerKind.DONE
    assert answer.status == 200
    assert answer.exec_us >= 0
    found = json.loads(answer.body)
    assert found["said"] == {"a": 1}
    assert instance.last is not None
    assert found["pid"] in instance.last.workers
    assert found["pid"] != instance.pid
    assert set(instance.last.phases) == {"fetch", "environment", "load", "ready"}


FAULTY = """
import asyncio, ctypes, json, os, signal, time
def init():
    pass
def die():
    os.kill(os.getpid(), 11)
def run(raw):
    asked = json.loads(raw)
    what = asked.get("do")
    if what == "die":
        die()
    if what == "die once" and not os.path.exists(asked["marker"]):
        open(asked["marker"], "w").close()
        die()
    if what == "hang":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        ctypes.PyDLL(None).sleep(3600)  # holds the interpreter's lock
    if what == "sleep":
        time.sleep(asked["s"])
    if what == "stream":
        return (asked["text"] for _ in range(asked["n"]))
    if what == "object":
        return object()
    return os.getpid()
"""
ASYNC = FAULTY.replace("def run(", "async def run(").replace("time.sleep", "await asyncio.sleep")


def kill_soon(instance: Instance) -> int:
    """Kill the only worker from outside; return its pid."""
    assert instance.last is not None
    (pid,) = instance.last.workers
    os.kill(pid, signal.SIGKILL)
    return pid


async def test_a_request_that_kills_its_worker_twice_is_lost_and_nothing_else(
    serve: Serve,
) -> None:
    instance, caller = await serve(FAULTY)
    before = json.loads((await caller.ask({})).body)

    poison = await caller.ask({"do": "die"})
    after = await caller.ask({})

    assert (poison.kind, poison.reason) == (AnswerKind.FAILED, "worker_died")
    assert after.status == 200
    assert json.loads(after.body) != before
    assert "Segmentation fault" in instance.log(), "the stack of the crash is on the console"


async def test_a_worker_that_dies_once_costs_no_answer(serve: Serve, tmp_path: Path) -> None:
    _, caller = await serve(FAULTY)
    answer = await caller.ask({"do": "die once", "marker": str(tmp_path / "died")})
    assert (answer.kind, answer.status) == (AnswerKind.DONE, 200)


async def test_of_many_requests_in_a_dead_worker_only_the_poison_is_lost(serve: Serve) -> None:
    _, caller = await serve(ASYNC, max_concurrent=20)
    innocent = [asyncio.create_task(caller.ask({"do": "sleep", "s": 0.05})) for _ in range(10)]
    poison = await caller.ask({"do": "die"})

    answers = await asyncio.gather(*innocent)

    assert poison.kind == AnswerKind.FAILED
    assert {answer.kind for answer in answers} == {AnswerKind.DONE}


async def test_what_must_not_run_twice_is_lost_with_its_worker(
    serve: Serve, tmp_path: Path
) -> None:
    _, caller = await serve(FAULTY, idempotent=False)
    answer = await caller.ask({"do": "die once", "marker": str(tmp_path / "died")})
    assert (answer.kind, answer.reason) == (AnswerKind.FAILED, "worker_died")


async def test_out_of_rotation_while_the_only_worker_is_replaced(serve: Serve) -> None:
    instance, caller = await serve(FAULTY)

    pid = kill_soon(instance)
    await instance.when(lambda beat: pid not in beat.workers and beat.state == InstanceState.READY)

    assert InstanceState.UNREADY in instance.states
    assert (await caller.ask({})).status == 200


async def test_a_hang_past_the_scoring_timeout_is_killed(serve: Serve) -> None:
    """A run that Python cannot interrupt: the alarm rings, nobody hears it."""
    patience = Probe(initial_delay_s=1, period_s=1, timeout_s=1, failure_threshold=2)
    _, caller = await serve(
        FAULTY, environment_variables={"SCORING_TIMEOUT_MS": "200"}, liveness=patience
    )
    answer = await caller.ask({"do": "hang"})
    assert answer.kind == AnswerKind.FAILED
    assert answer.reason in ("timeout", "liveness")
    assert (await caller.ask({})).status == 200


async def test_a_slow_run_past_the_scoring_timeout_answers_500(serve: Serve) -> None:
    _, caller = await serve(FAULTY, environment_variables={"SCORING_TIMEOUT_MS": "1500"})
    before = await caller.ask({})
    answer = await caller.ask({"do": "sleep", "s": 30})
    assert answer.status == 500
    assert json.loads(answer.body) == {"message": "Scoring timeout after 1500 ms"}
    assert (await caller.ask({})).body == before.body, "the worker lives on"


async def test_a_full_instance_says_busy_and_grants_the_freed_slot(serve: Serve) -> None:
    _, caller = await serve(FAULTY)
    running = asyncio.create_task(caller.ask({"do": "sleep", "s": 1.5}))
    await asyncio.sleep(0)
    busy = await caller.send(caller.request(b"{}")).get()
    grants = caller.grants()

    caller.control(Want(ingress_id=caller.id, n=1, reply=caller.reply))
    done = await running

    assert (busy.kind, busy.free) == (AnswerKind.BUSY, 0)
    assert done.free == 1, "the answer itself says that its slot is free again"
    assert grants.empty()


@pytest.mark.parametrize("flags", [0, RequestFlag.TRAINS])
async def test_requests_in_one_message_are_answered_each_and_together_where_that_is_read(
    serve: Serve, flags: int
) -> None:
    """The first runs and the others, for which there is no slot, are refused in the same turn."""
    _, caller = await serve(FAULTY)
    body = json.dumps({"do": "sleep", "s": 0.3}).encode()
    requests = [caller.request(body, flags=flags) for _ in range(8)]

    first, *others = caller.send_together(*requests, broken=b"no envelope")

    async with asyncio.timeout(30):
        refused = [await one.get() for one in others]
        assert {one.kind for one in refused} == {AnswerKind.BUSY}
        assert caller.messages == (1 if flags else 7)
        assert (await first.get()).kind == AnswerKind.DONE


COUNTING = """
import json, os, time
def init():
    pass
def run(raw):
    asked = json.loads(raw)
    with open(asked["log"], "a") as log:
        log.write(asked["name"] + "\\n")
    time.sleep(asked.get("s", 0))
    return {}
"""


async def standing_by(serve: Serve, log: Path, **fields: Any) -> tuple[Instance, Caller]:
    """An instance whose runs are measured and short, so that one may stand by.

    One that the machine held up is no short run: the next ones make up for it.
    """
    log.touch()
    instance, caller = await serve(COUNTING, **fields)
    async with asyncio.timeout(BOUND_S):
        while instance.last is None or not instance.last.standby:
            await caller.ask({"log": os.devnull, "name": "first", "s": 0.02})
    return instance, caller


def counted(caller: Caller, log: Path, name: str, run_s: float = 0.0, flags: int = 0) -> Request:
    body = json.dumps({"log": str(log), "name": name, "s": run_s}).encode()
    return caller.request(body, flags=flags)


STANDBY = int(RequestFlag.STANDBY)


async def test_one_stands_by_and_begins_when_the_run_before_it_ends(
    serve: Serve, tmp_path: Path
) -> None:
    """On a machine that stalls it may be given back instead: then all are sent anew."""
    log = tmp_path / "runs"
    _, caller = await standing_by(serve, log)
    expected = [AnswerKind.DONE, AnswerKind.BUSY, AnswerKind.DONE, AnswerKind.BUSY]
    for again in range(20):
        before = caller.send(counted(caller, log, f"before{again}", 0.02))
        impatient = caller.send(counted(caller, log, f"impatient{again}"))
        waiting = caller.send(counted(caller, log, f"waiting{again}", flags=STANDBY))
        surplus = caller.send(counted(caller, log, f"surplus{again}", flags=STANDBY))
        kinds = [(await one.get()).kind for one in (before, impatient, waiting, surplus)]
        if kinds == expected:
            break

    assert kinds == expected
    assert log.read_text().split()[-2:] == [f"before{again}", f"waiting{again}"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_stands_by_is_given_back_when_it_is_called_or_waits_for_too_long(
    serve: Serve, tmp_path: Path, workers: int
) -> None:
    """It has run nowhere, and may come again under the same id."""
    log, variables = tmp_path / "runs", {"WORKER_COUNT": str(workers)}
    _, caller = await standing_by(
        serve, log, max_concurrent=workers, environment_variables=variables
    )
    long = [caller.send(counted(caller, log, "long", 2.0)) for _ in range(workers)]
    called, late = (counted(caller, log, name, flags=STANDBY) for name in ("called", "late"))

    answers = caller.send(called)
    caller.control(Recall(request_id=called.request_id))
    back = await answers.get()
    given = await caller.send(late).get()
    shut = await caller.send(late).get()

    assert all(one.empty() for one in long), "the runs before them still run"
    assert [back.kind, given.kind, shut.kind] == [AnswerKind.BUSY] * 3
    assert given.free == workers - 1, "nobody waits in its place until a slot turns over"
    for one in long:
        assert (await one.get()).kind == AnswerKind.DONE
    assert (await caller.send(called).get()).kind == AnswerKind.DONE
    assert log.read_text().split() == [*["long"] * workers, "called"]


async def test_what_stands_by_outlives_the_worker_before_it(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "runs"
    instance, caller = await standing_by(serve, log)
    caller.send(counted(caller, log, "killed", 5.0))
    waiting = caller.send(counted(caller, log, "waiting", flags=STANDBY))
    surplus = caller.send(counted(caller, log, "surplus", flags=STANDBY))
    assert (await surplus.get()).kind == AnswerKind.BUSY, "both are there"
    assert instance.last is not None
    os.kill(instance.last.workers[0], signal.SIGKILL)

    answer = await waiting.get()

    assert answer.kind in (AnswerKind.DONE, AnswerKind.BUSY), "begun by the next, or given back"
    assert log.read_text().split().count("waiting") == (answer.kind == AnswerKind.DONE)


async def test_a_model_that_must_not_run_twice_lets_nobody_stand_by(
    serve: Serve, tmp_path: Path
) -> None:
    instance, caller = await serve(COUNTING, idempotent=False)
    await caller.ask({"log": str(tmp_path / "runs"), "name": "first"})
    beat = await instance.when(lambda beat: beat.served > 0)
    ticks = beat.served
    for _ in range(3):
        await caller.ask({"log": str(tmp_path / "runs"), "name": "again"})
    beat = await instance.when(lambda beat: beat.served > ticks)

    assert beat.standby == 0


async def test_a_stream_comes_in_numbered_chunks_with_credit(serve: Serve) -> None:
    _, caller = await serve(FAULTY)
    request = caller.request(json.dumps({"do": "stream", "n": 30, "text": "ab"}).encode())
    answers = caller.send(request)
    got = [await answers.get() for _ in range(CHUNK_WINDOW)]
    caller.control(Credit(request_id=request.request_id, n=100))
    while got[-1].kind == AnswerKind.CHUNK:
        got.append(await answers.get())

    assert got[0].status == 200
    assert ("content-type", "text/plain; charset=utf-8") in got[0].headers
    assert [one.seq for one in got] == list(range(len(got)))
    assert b"".join(one.body for one in got) == b"ab" * 30
    assert (got[-1].kind, got[-1].reason) == (AnswerKind.END, "")


@pytest.mark.parametrize("script", [FAULTY, ASYNC], ids=["sync", "async"])
async def test_cancel_stops_a_stream_or_an_async_run(serve: Serve, script: str) -> None:
    _, caller = await serve(script)
    request = caller.request(json.dumps({"do": "stream", "n": 10**9, "text": "ab"}).encode())
    answers = caller.send(request)
    for _ in range(CHUNK_WINDOW):
        await answers.get()
    caller.control(Cancel(request_id=request.request_id))
    last = await answers.get()
    assert (last.kind, last.reason) == (AnswerKind.END, "cancelled")
    assert (await caller.ask({})).status == 200


@pytest.mark.parametrize("what", [{"a": 1}, {"do": "stream", "n": 30, "text": "ab"}])
async def test_a_mirrors_copy_is_answered_without_a_body(
    serve: Serve, what: dict[str, int]
) -> None:
    """The slot is known free again, and a stream that nobody reads does not stand still."""
    _, caller = await serve(FAULTY)

    answer = await caller.ask(what, flags=int(RequestFlag.MIRROR))

    assert answer.kind in (AnswerKind.DONE, AnswerKind.END)
    assert (answer.body, answer.headers, answer.free) == (b"", (), 1)


async def test_expired_work_is_not_started(serve: Serve) -> None:
    _, caller = await serve(FAULTY)
    await caller.ask({}, deadline_ms=unix_ms() + 10_000, remaining_ms=10_000)
    answer = await caller.ask({"do": "die"}, deadline_ms=unix_ms() - 1, remaining_ms=10)
    assert answer.kind == AnswerKind.EXPIRED


async def test_a_resent_request_is_answered_once_more_and_not_run_again(serve: Serve) -> None:
    script = "n = 0\ndef init(): pass\ndef run(raw):\n    global n\n    n += 1\n    return n\n"
    _, caller = await serve(script, idempotent=False)
    request = caller.request(b"{}")
    first = await caller.send(request).get()
    second = await caller.send(request._replace(flags=int(RequestFlag.RESENT))).get()
    assert first.body == second.body == b"1"


async def test_what_comes_again_while_it_is_being_cancelled_may_come_later(serve: Serve) -> None:
    """An instance that was silent is told to drop what it has, and may get it as a retry."""
    _, caller = await serve(FAULTY)
    request = caller.request(json.dumps({"do": "sleep", "s": 0.5}).encode())
    answers = caller.send(request)
    caller.control(Cancel(request_id=request.request_id))
    caller.send(request._replace(flags=int(RequestFlag.RETRY)))

    assert (await answers.get()).kind == AnswerKind.BUSY


async def test_a_thousand_requests_later_a_resent_one_is_still_not_run_again(
    serve: Serve,
) -> None:
    """One ingress is cut off while another goes on; the answer is gone by then, and it says so."""
    script = "n = 0\ndef init(): pass\ndef run(raw):\n    global n\n    n += 1\n    return n\n"
    _, caller = await serve(script, idempotent=False)
    request = caller.request(b"{}")
    await caller.send(request).get()
    for _ in range(REMEMBERED):
        await caller.ask({})
    again = await caller.send(request._replace(flags=int(RequestFlag.RESENT))).get()

    assert (again.kind, again.reason) == (AnswerKind.FAILED, "answer_lost")
    assert "answer was lost" in failed(again, kubernetes=False).message


async def test_drain_finishes_what_runs_and_takes_nothing_more(serve: Serve) -> None:
    instance, caller = await serve(FAULTY)
    request = caller.request(b'{"do": "sleep", "s": 3}')
    running = caller.send(request)
    await instance.when(lambda beat: beat.in_flight == 1)

    instance.signal(signal.SIGTERM)
    await instance.until(InstanceState.DRAINING)
    refused = await caller.ask({})

    assert refused.kind == AnswerKind.DRAINING
    assert (await running.get()).status == 200
    assert await instance.exit_code() == 0


async def test_a_killed_scorer_leaves_no_worker(serve: Serve) -> None:
    instance, caller = await serve(FAULTY)
    assert instance.last is not None
    (pid,) = instance.last.workers
    caller.send(caller.request(b'{"do": "hang"}'))
    await instance.when(lambda beat: beat.in_flight == 1)

    instance.signal(signal.SIGKILL)
    await instance.exit_code()

    left = [psutil.Process(pid)] if psutil.pid_exists(pid) else []
    await asyncio.to_thread(psutil.wait_procs, left, 30)
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("script", "words"),
    [("def init(): raise RuntimeError('no weights')\ndef run(a): pass", "no weights"),
     ("import nothing_like\ndef init(): pass\ndef run(a): pass", "nothing_like")],
)  # fmt: skip
async def test_a_script_that_cannot_start_fails_with_the_users_traceback(
    serve: Serve, script: str, words: str
) -> None:
    instance, _ = await serve(script, wait=False)
    beat = await instance.until(InstanceState.FAILED)
    assert beat.error_code == "ResourceNotReady"
    assert words in beat.error
    assert 'score.py", line 1' in beat.error
    assert await instance.exit_code() == 3
    assert words in instance.log()


async def test_a_crash_while_loading_is_tried_again(serve: Serve, tmp_path: Path) -> None:
    marker = tmp_path / "tried"
    script = (
        f"import os, pathlib\ndef init():\n    p = pathlib.Path({str(marker)!r})\n"
        "    if not p.exists():\n        p.touch(); os.kill(os.getpid(), 9)\ndef run(a): return 1\n"
    )
    _, caller = await serve(script)
    assert (await caller.ask({})).status == 200


async def test_two_workers_serve_two_at_once(serve: Serve) -> None:
    instance, caller = await serve(
        FAULTY, max_concurrent=2, environment_variables={"WORKER_COUNT": "2"}
    )
    asked = [caller.ask({"do": "sleep", "s": 0.2}) for _ in range(2)]
    pids = {json.loads(one.body) for one in await asyncio.gather(*asked)}
    assert instance.last is not None
    assert pids == set(instance.last.workers)


async def test_who_needs_a_slot_is_granted_none_beside_one(
    serve: Serve, bus: Bus, tmp_path: Path
) -> None:
    log = tmp_path / "runs"
    instance, first = await standing_by(serve, log)
    second = await Caller(bus, instance.address).open()

    running = first.send(counted(first, log, "before", 0.05))
    second.control(Want(ingress_id=second.id, n=1, reply=second.reply, slot=True))
    granted = await asyncio.wait_for(second.grants().get(), 30)

    assert granted.free == 2, "the slot and the place beside it"
    assert running.get_nowait().kind == AnswerKind.DONE


async def test_a_grant_that_nobody_uses_goes_to_the_next_who_wants(serve: Serve, bus: Bus) -> None:
    instance, first = await serve(FAULTY)
    second = await Caller(bus, instance.address).open()

    first.control(Want(ingress_id=first.id, n=1, reply=first.reply))
    granted = await first.grants().get()
    second.control(Want(ingress_id=second.id, n=1, reply=second.reply))
    passed_on = await second.grants().get()

    assert (granted.kind, granted.free) == (AnswerKind.GRANT, 1)
    assert (passed_on.kind, passed_on.free) == (AnswerKind.GRANT, 1)
