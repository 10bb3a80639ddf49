"""Whatever a script does to event loop, console or logging, or by forks, the worker serves on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from headrace_scorer.worker import frames
from scorer.worker_child import WorkerChild, decode_reply

INTERNAL = {"message": "An unexpected internal error occurred. Check the logs for more info."}
RAISED = {
    "message": "An unexpected error occurred in scoring script. Check the logs for more info."
}
BOUND_S = 30.0


def streamed(worker: WorkerChild, number: int) -> tuple[frames.Reply, bytes, frames.Reply]:
    """Head, body and end of a streamed answer."""
    kind, found, payload = worker.next()
    assert (kind, found) == (frames.STREAM, number)
    head, body = decode_reply(payload), b""
    while True:
        kind, _, payload = worker.next()
        if kind == frames.END:
            return head, body, decode_reply(payload)
        assert kind == frames.CHUNK
        body += payload


STREAMED = """
from azureml.contrib.services.aml_response import AMLResponse
def init(): pass
def pieces():
    yield "data: 1\\n\\n"
    yield b"data: 2\\n\\n"
async def apieces():
    for one in pieces():
        yield one
{prefix}def run(raw):
    parts = apieces() if raw == "async" else iter(["a", "b"]) if raw == "iterator" else pieces()
    return AMLResponse(parts, 202, {{"Content-Type": "text/event-stream", "X-Own": "1"}})
"""


@pytest.mark.parametrize(
    ("prefix", "raw", "expected"),
    [
        ("", "sync", b"data: 1\n\ndata: 2\n\n"),
        ("", "iterator", b"ab"),
        ("async ", "sync", b"data: 1\n\ndata: 2\n\n"),
        ("async ", "async", b"data: 1\n\ndata: 2\n\n"),
        ("async ", "iterator", b"ab"),
    ],
)
def test_a_streamed_response_streams_in_both_lanes(
    tmp_path: Path, prefix: str, raw: str, expected: bytes
) -> None:
    with WorkerChild(tmp_path, STREAMED.format(prefix=prefix)) as worker:
        worker.started()
        head, body, end = streamed(worker, worker.send(raw.encode()))
    assert (head.status, body, end.reason) == (202, expected, "")
    assert ("content-type", "text/event-stream") in head.headers
    assert ("x-own", "1") in head.headers


def test_a_batched_run_cannot_stream_and_says_so(tmp_path: Path) -> None:
    script = """
from azureml.contrib.services.aml_response import AMLResponse
from headrace_worker import batched
def init(): pass
@batched(max_size=4, max_delay_ms=1)
def run(many):
    return [AMLResponse(iter(["a"]), 200) for _ in many]
"""
    with WorkerChild(tmp_path, script) as worker:
        worker.started()
        found = worker.ask(b"1")
        assert (found.status, found.json) == (500, INTERNAL)
        assert "stream" in worker.console.read_text()


@pytest.mark.parametrize("prefix", ["", "async "])
@pytest.mark.parametrize(
    "answer",
    [
        'AMLResponse("x", 100400)',
        'AMLResponse("x", 42)',
        "AMLResponse(pieces(), 100400)",
        'AMLResponse("x" * 8_000_000, 100400)',
        'AMLResponse("x", 200, {"X Score": "1"})',
        'AMLResponse("x", 200, {"Transfer-Encoding ": "chunked"})',
        'AMLResponse("x", 200, {"": "1"})',
        'AMLResponse("x", 200, {"X: y": "1"})',
        'AMLResponse("x", 200, {"X-Long": "a" * 3_000_000})',
        'AMLResponse(pieces(), 200, {"X Score": "1"})',
    ],
)
def test_an_answer_that_cannot_be_encoded_is_a_broken_answer(
    tmp_path: Path, prefix: str, answer: str
) -> None:
    script = f"""
from azureml.contrib.services.aml_response import AMLResponse
def init(): pass
def pieces():
    yield "a"
{prefix}def run(raw):
    return {answer} if raw == "bad" else raw
"""
    with WorkerChild(tmp_path, script) as worker:
        worker.started()
        found = worker.ask(b"bad")
        assert (found.status, found.json) == (500, INTERNAL)
        assert worker.ask(b"good").json == "good"


@pytest.mark.parametrize(
    "init",
    [
        "import asyncio; asyncio.run(asyncio.sleep(0))",
        "import asyncio; asyncio.set_event_loop(None)",
        "import asyncio; asyncio.get_event_loop().close()",
        "import asyncio; asyncio.set_event_loop(asyncio.new_event_loop())",
    ],
)
def test_init_may_do_to_the_event_loop_what_it_likes(tmp_path: Path, init: str) -> None:
    script = f"def init():\n    {init}\nasync def run(raw):\n    return raw\n"
    with WorkerChild(tmp_path, script) as worker:
        worker.started()
        assert worker.ask(b"a").json == "a"


def test_a_cancellation_of_the_script_s_own_is_an_error_with_its_traceback(tmp_path: Path) -> None:
    script = """
import asyncio
def init(): pass
async def run(raw):
    if raw == "bad":
        raise asyncio.CancelledError("mine")
    return raw
"""
    with WorkerChild(tmp_path, script) as worker:
        worker.started()
        found = worker.ask(b"bad")
        assert (found.status, found.json) == (500, RAISED)
        assert "CancelledError: mine" in worker.console.read_text()
        assert worker.ask(b"good").json == "good"


POOL = """
import {module}, os, pickle, sys, threading
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
pool = None
def half(x):
    return x / 2
def warm():
    global pool
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context({how!r}))
    pool.submit(half, 2).result()
def init():
    thread = threading.Thread(target=warm)
    thread.start(); thread.join()
def run(raw):
    return list(pool.map(half, [1, 2, 3]))
"""


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore")
def test_functions_of_the_script_run_in_pools_of_processes(tmp_path: Path, how: str) -> None:
    """A pool warmed in a thread that has ended still works, and its children know the script."""
    with WorkerChild(tmp_path, POOL.format(module="json", how=how)) as worker:
        worker.started()
        for _ in range(2):
            assert worker.ask(b"").json == [0.5, 1.0, 1.5]


@pytest.mark.parametrize("prefix", ["", "async "])
@pytest.mark.parametrize("end", ["sys.exit(0)", "return 1", "raise ValueError('child')"])
def test_a_forked_child_never_serves(tmp_path: Path, prefix: str, end: str) -> None:
    script = f"""
import os, sys, warnings
warnings.simplefilter("ignore")
def init(): pass
{prefix}def run(raw):
    if raw == "fork":
        pid = os.fork()
        if pid == 0:
            {end}
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status)
    return raw
"""
    with WorkerChild(tmp_path, script) as worker:
        worker.started()
        expected = 1 if "raise" in end else 0
        assert worker.ask(b"fork").json == expected
        assert worker.ask(b"after").json == "after"


TEXT_STREAM = """
import io, logging, logging.config, sys
def init():
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
    names = [n for n in dir(io.TextIOWrapper) if not n.startswith("_")]
    missing = [n for n in names if not hasattr(sys.stdout, n) or not hasattr(sys.stderr, n)]
    assert not missing, missing
    sys.stdout.buffer.write(b"raw bytes\\n"); sys.stdout.buffer.flush()
    print("no end", end=""); print(" and its end")
    {more}
def run(raw):
    print("printed in run")
    logging.info("info in run"); logging.getLogger("own").warning("warned in run")
    if raw == "bad":
        raise KeyError("the user's own")
    return raw
"""


def console_of(tmp_path: Path, more: str, **variables: str) -> str:
    with WorkerChild(tmp_path, TEXT_STREAM.format(more=more), **variables) as worker:
        worker.started()
        worker.ask(b"good")
        assert worker.ask(b"bad").status == 500
        return worker.console.read_text()


def test_stdout_and_stderr_are_real_text_streams(tmp_path: Path) -> None:
    text = console_of(tmp_path, "pass")
    assert "azmlinfsrv.print - raw bytes" in text
    assert "azmlinfsrv.print - no end and its end" in text


@pytest.mark.parametrize(
    "more",
    [
        'logging.config.dictConfig({"version": 1, "root": {"level": "ERROR", "handlers": []}})',
        "logging.disable(logging.CRITICAL)",
        "logging.getLogger('azmlinfsrv').handlers.clear()",
    ],
)
def test_whatever_a_script_does_to_logging_prints_and_tracebacks_are_written(
    tmp_path: Path, more: str
) -> None:
    text = console_of(tmp_path, more)
    assert "azmlinfsrv.print - printed in run" in text
    assert "KeyError" in text
    assert "POST /score 200" in text


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ("pass", " I [{pid}] root - info in run"),
        ("logging.basicConfig(level=logging.INFO)", " I [{pid}] root - info in run"),
        ('logging.basicConfig(level=10, format="%(name)s says %(message)s")',
         " I [{pid}] root - root says info in run"),
    ],
)  # fmt: skip
def test_log_lines_of_the_script_are_shown_with_their_own_level(
    tmp_path: Path, more: str, shown: str
) -> None:
    text = console_of(tmp_path, more)
    (line,) = [one for one in text.splitlines() if "info in run" in one][:1]
    pid = line.partition("[")[2].partition("]")[0]
    assert shown.format(pid=pid) in line
    assert " W [" in next(one for one in text.splitlines() if "warned in run" in one)


def test_a_higher_level_set_by_the_script_is_kept(tmp_path: Path) -> None:
    text = console_of(tmp_path, "logging.basicConfig(level=logging.WARNING)")
    assert "info in run" not in text
    assert "warned in run" in text


@pytest.mark.parametrize("level", ["verbose", "Debug", ""])
def test_a_log_level_that_is_none_does_not_stop_the_worker(tmp_path: Path, level: str) -> None:
    text = console_of(tmp_path, "pass", AZUREML_LOG_LEVEL=level)
    assert "printed in run" in text


def test_a_broken_logging_json_is_named_and_the_worker_starts(tmp_path: Path) -> None:
    (tmp_path / "logging.json").write_text('{"version": 7}')
    assert "logging.json" in console_of(tmp_path, "pass")


def test_an_alarm_of_the_script_s_own_does_not_end_the_scoring_timeout(tmp_path: Path) -> None:
    script = """
import signal, time
def init(): pass
def run(raw):
    if raw == "quick":
        signal.alarm(30); signal.alarm(0)
    else:
        time.sleep(20)
    return raw
"""
    with WorkerChild(tmp_path, script, SCORING_TIMEOUT_MS="300") as worker:
        worker.started()
        assert worker.ask(b"quick").json == "quick"
        found = worker.ask(b"slow")
        assert found.json == {"message": "Scoring timeout after 300 ms"}


def test_a_child_of_a_thread_ends_with_the_worker(tmp_path: Path) -> None:
    script = """
import os, subprocess, threading
child = None
def warm():
    global child
    child = subprocess.Popen(["sleep", "600"])
def init():
    thread = threading.Thread(target=warm); thread.start(); thread.join()
def run(raw):
    return [child.pid, child.poll()]
"""
    with WorkerChild(tmp_path, script) as worker:
        worker.started()
        pid, ended = worker.ask(b"").json
        assert ended is None
    gone_by = time.monotonic() + BOUND_S
    while os.path.exists(f"/proc/{pid}") and _is_alive(pid):
        assert time.monotonic() < gone_by
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def test_joblib_runs_functions_of_the_script(tmp_path: Path) -> None:
    pytest.importorskip("joblib", reason="joblib is not installed")
    script = """
from joblib import Parallel, delayed
def half(x): return x / 2
def init(): pass
def run(raw): return Parallel(n_jobs=2)(delayed(half)(i) for i in range(4))
"""
    with WorkerChild(tmp_path, script) as worker:
        worker.started()
        assert worker.ask(b"").json == [0.0, 0.5, 1.0, 1.5]
