"""How workers end when they are asked to, and that nothing of theirs outlives them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from headrace_api.machine import started_ticks
from headrace_scorer.worker import frames
from scorer.conftest import Serve
from scorer.worker_child import WorkerChild

BOUND_S = 30.0
ORDERLY = """
import atexit, signal, sys
from pathlib import Path
folder = Path({folder!r})
def leave(*_):
    (folder / "handler").touch()
    {end}
def init():
    atexit.register((folder / "atexit").touch)
    if {handler}: signal.signal(signal.SIGTERM, leave)
"""


@pytest.mark.parametrize("lane", ["sync", "async", "batched"])
@pytest.mark.parametrize(
    ("handler", "end"), [(False, ""), (True, "pass"), (True, "sys.exit(0)")], ids=str
)
def test_a_worker_that_is_asked_to_stop_runs_its_handlers(
    tmp_path: Path, lane: str, handler: bool, end: str
) -> None:
    runs = {
        "sync": "def run(raw): return 1",
        "async": "async def run(raw): return 1",
        "batched": "def run_batch(many): return [1 for _ in many]",
    }
    script = ORDERLY.format(folder=str(tmp_path), handler=handler, end=end) + runs[lane]
    with WorkerChild(tmp_path, script) as worker:
        worker.started()
        assert worker.ask(b"{}").json == 1
        worker.tell(frames.STOP)
        assert worker.process.wait(BOUND_S) == 0
    assert (tmp_path / "atexit").exists()
    assert (tmp_path / "handler").exists() == handler


def test_a_fork_of_the_script_ends_by_sigterm_as_it_would_elsewhere(tmp_path: Path) -> None:
    script = """
import multiprocessing, time
def init(): pass
def run(raw):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    child.start()
    child.terminate()
    child.join(20)
    return child.exitcode
"""
    with WorkerChild(tmp_path, script) as worker:
        worker.started()
        assert worker.ask(b"{}").json == -signal.SIGTERM


DETACHED = """
import os, subprocess
def init():
    global child
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
def run(raw):
    return [child.pid, os.getpid()]
"""


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_a_child_in_a_session_of_its_own_ends_with_its_worker(serve: Serve, how: str) -> None:
    instance, caller = await serve(DETACHED)
    child, worker = json.loads((await caller.ask({})).body)
    assert started_ticks(child)

    if how == "killed":
        os.kill(worker, signal.SIGKILL)
    else:
        instance.signal(signal.SIGTERM)
        assert await instance.exit_code() == 0

    async with asyncio.timeout(BOUND_S):
        while started_ticks(child):  # noqa: ASYNC110  # no child of ours
            await asyncio.sleep(0.02)


async def test_a_worker_that_does_not_stop_is_killed_after_the_grace(serve: Serve) -> None:
    """A thread that Python waits for holds up its end."""
    instance, _ = await serve("""
import threading, time
def init(): threading.Thread(target=time.sleep, args=(600,)).start()
def run(raw): return 1
""")
    instance.signal(signal.SIGTERM)
    assert await instance.exit_code() == 0
    assert "it did not stop in time" in instance.log("scorer.log")
