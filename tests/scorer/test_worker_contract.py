"""A worker does with score.py what azure_behaviour.md 5.1 and 6 say, on every Python it meets."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace_scorer.worker import frames, prctl
from scorer.worker_child import WorkerChild, decode_reply

EVERYTHING = """
import json, logging, sys, os, threading, time
def init():
    print("init was here")
def run(data, request_headers):
    asked = json.loads(data) if data else {}
    what = asked.get("do") if isinstance(asked, dict) else None
    if what == "none":
        return None
    if what == "text":
        return "hello"
    if what == "headers":
        return request_headers
    if what == "object":
        return object()
    if what == "nan":
        return {float("nan"): set()}
    if what == "raise":
        raise KeyError("the user's own")
    if what == "exit":
        sys.exit(5)
    if what == "sleep":
        time.sleep(asked["s"])
    while what == "wait" and not os.path.exists(asked["for"]):
        time.sleep(0.005)
    if what == "print":
        print("two", "words"); print("no end", end=""); sys.stderr.write("to stderr\\n")
        logging.debug("hidden"); logging.warning("shown")
    if what == "stream":
        return (("x" * asked.get("size", 1)) for _ in range(asked["n"]))
    if what == "broken stream":
        def broken():
            yield "one"
            raise ValueError("later")
        return broken()
    if what == "model dir":
        return [os.environ.get("AZUREML_MODEL_DIR"), os.getcwd(), sys.path[-1], sys.path[0]]
    return asked
"""
PYENV = Path.home() / ".pyenv" / "versions"
OTHERS = ["3.8", "3.13"]


def interpreter(version: str) -> str:
    found = sorted(PYENV.glob(f"{version}.*/bin/python")) if PYENV.is_dir() else []
    if not found:
        pytest.skip(f"no Python {version} on this machine")
    return str(found[-1])


@pytest.fixture(scope="module", params=["ours", *OTHERS])
def worker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerChild]:
    python = sys.executable if request.param == "ours" else interpreter(request.param)
    folder = tmp_path_factory.mktemp("worker")
    with WorkerChild(folder, EVERYTHING, python=python, SCORING_TIMEOUT_MS="400") as child:
        child.started()
        yield child


INTERNAL = {"message": "An unexpected internal error occurred. Check the logs for more info."}
RAISED = {
    "message": "An unexpected error occurred in scoring script. Check the logs for more info."
}
FORM = [("content-type", "application/x-www-form-urlencoded")]
# what, fields of the call, status, body as JSON (None: not looked at), run-function-failed
CASES = [
    ("any value", {"body": b'{"a": [1, 2]}'}, 200, {"a": [1, 2]}, "False"),
    ("None is {}", {"body": b'{"do": "none"}'}, 200, {}, "False"),
    ("str is quoted", {"body": b'{"do": "text"}'}, 200, "hello", "False"),
    ("GET query", {"method": "GET", "query": "a=1&b=[1,2]&c=a&d=null&e=x&e=2"}, 200,
     {"a": 1, "b": [1, 2], "c": "a", "d": None, "e": ["x", 2]}, "False"),
    ("a form is swallowed", {"body": b"a=1", "headers": FORM}, 200, {}, "False"),
    ("not UTF-8", {"body": b"\xff"}, 400, None, "False"),
    ("unserialisable", {"body": b'{"do": "object"}'}, 500, INTERNAL, "False"),
    ("odd keys", {"body": b'{"do": "nan"}'}, 500, INTERNAL, "False"),
    ("run raises", {"body": b'{"do": "raise"}'}, 500, RAISED, "True"),
    ("run exits", {"body": b'{"do": "exit"}'}, 500, RAISED, "True"),
    ("too slow", {"body": b'{"do": "sleep", "s": 5}'}, 500,
     {"message": "Scoring timeout after 400 ms"}, "True"),
    ("OPTIONS", {"method": "OPTIONS"}, 200, None, "False"),
    ("PUT", {"method": "PUT"}, 405,
     {"message": "The method is not allowed for the requested URL."}, "False"),
    ("unknown path", {"path": "/nope"}, 404, None, "False"),
    ("swagger 9", {"path": "/swagger.json", "method": "GET", "query": "version=9"}, 404,
     {"message": "Swagger version [9] is not valid. Supported versions: [2, 3, 3.1]."}, "False"),
    ("long id", {"headers": [("x-request-id", "x" * 101)]}, 431,
     {"message": "x-request-id must not exceed 100 characters"}, "False"),
    ("long client id", {"headers": [("x-ms-client-request-id", "x" * 101)]}, 431,
     {"message": "x-ms-request-id and x-ms-client-request-id must not exceed 100 characters"},
     "False"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "status", "body", "failed"), [c[1:] for c in CASES],
                         ids=[c[0] for c in CASES])  # fmt: skip
def test_answers_are_those_of_the_original(
    worker: WorkerChild, fields: dict[str, object], status: int, body: object, failed: str | None
) -> None:
    found = worker.ask(**fields)  # type: ignore[arg-type]  # a table of mixed fields

    assert found.status == status
    if body is not None:
        assert found.json == body
    assert found.headers.get("x-ms-run-function-failed") == failed
    ran = status == 200 and fields.get("method") != "OPTIONS"
    assert ("x-ms-run-fn-exec-ms" in found.headers) == ran


def test_a_body_that_is_not_utf8_is_named(worker: WorkerChild) -> None:
    assert worker.ask(b"\xff").json["message"].startswith("Input cannot be decoded as UTF-8: ")


def test_headers_reach_run_in_title_case(worker: WorkerChild) -> None:
    headers = [("content-type", "application/json"), ("x-own-thing", "1")]
    found = worker.ask(b'{"do": "headers"}', headers=headers)
    assert found.json == {"Content-Type": "application/json", "X-Own-Thing": "1"}


def test_ids_are_echoed_and_the_missing_one_is_made(worker: WorkerChild) -> None:
    plain = worker.ask(b"{}")
    given = worker.ask(b"{}", headers=[("x-request-id", "r"), ("x-ms-client-request-id", "c"),
                                       ("traceid", "t")])  # fmt: skip

    assert len(plain.headers["x-request-id"]) == 36
    assert plain.headers["x-ms-request-id"] == plain.headers["x-request-id"]
    assert "x-ms-client-request-id" not in plain.headers
    assert plain.headers["x-ms-server-version"].startswith("headrace/")
    assert given.headers["x-request-id"] == "r"
    assert given.headers["x-ms-request-id"] == given.headers["x-ms-client-request-id"] == "c"
    assert given.headers["traceid"] == "t"


@pytest.mark.parametrize("version", ["2", "2.0", "3", "3.0", "3.1"])
def test_swagger_is_made_in_each_version(worker: WorkerChild, version: str) -> None:
    found = worker.ask(path="/swagger.json", method="GET", query=f"version={version}").json

    said = found.get("swagger") or found["openapi"]
    assert said.startswith({"2": "2.0"}.get(version, version))
    schemas = found.get("definitions") or found["components"]["schemas"]
    assert schemas["ServiceInput"] == {"type": "object", "example": {}}
    assert found["paths"]["/score"]["post"]["operationId"] == "RunMLService"


def test_a_generator_is_streamed_in_order(worker: WorkerChild) -> None:
    number = worker.send(b'{"do": "stream", "n": 3}')

    kinds = [worker.next() for _ in range(5)]

    assert [kind for kind, _, _ in kinds] == [
        frames.STREAM, frames.CHUNK, frames.CHUNK, frames.CHUNK, frames.END
    ]  # fmt: skip
    assert {found for _, found, _ in kinds} == {number}
    assert decode_reply(kinds[-1][2]).reason == ""


def test_a_stream_waits_for_credit(worker: WorkerChild) -> None:
    number = worker.send(json.dumps({"do": "stream", "n": 20}).encode())
    first = [worker.next()[0] for _ in range(frames.WINDOW)]
    assert first == [frames.STREAM] + [frames.CHUNK] * (frames.WINDOW - 1)
    worker.data.settimeout(0.1)
    with pytest.raises(TimeoutError):
        worker.next()
    worker.data.settimeout(20)

    worker.tell(frames.CREDIT, number, (100).to_bytes(4, "big"))

    rest = [worker.next()[0] for _ in range(20 - len(first) + 1 + 1)]
    assert rest[-1] == frames.END


def test_a_stream_that_breaks_ends_with_a_reason(worker: WorkerChild) -> None:
    worker.send(b'{"do": "broken stream"}')
    assert worker.next()[0] == frames.STREAM
    assert worker.next()[0] == frames.CHUNK
    kind, _, payload = worker.next()
    assert (kind, decode_reply(payload).reason) == (frames.END, "run_failed")


def test_a_cancelled_stream_frees_the_worker(worker: WorkerChild) -> None:
    number = worker.send(json.dumps({"do": "stream", "n": 10**6}).encode())
    for _ in range(frames.WINDOW):
        worker.next()

    worker.tell(frames.CANCEL, number)

    kind, _, payload = worker.next()
    assert (kind, decode_reply(payload).reason) == (frames.END, "cancelled")
    assert worker.ask(b"{}").status == 200


def test_a_long_run_still_answers_pings(worker: WorkerChild) -> None:
    worker.send(b'{"do": "sleep", "s": 0.3}')
    worker.tell(frames.PING, 7)
    assert worker.told()[:2] == (frames.PONG, 7)
    assert worker.next()[0] == frames.ANSWER


@pytest.mark.parametrize("version", ["ours", *OTHERS])
def test_what_has_not_begun_is_given_back_and_never_runs(tmp_path: Path, version: str) -> None:
    """The run before it lasts until that is done."""
    python = sys.executable if version == "ours" else interpreter(version)
    done = tmp_path / "done"
    with WorkerChild(tmp_path, EVERYTHING, python=python) as worker:
        worker.started()
        running = worker.send(json.dumps({"do": "wait", "for": str(done)}).encode())
        waiting = worker.send(b'{"do": "raise"}')
        after = worker.send(b"{}")
        worker.tell(frames.RECALL, waiting)
        worker.tell(frames.RECALL, waiting)
        assert worker.told()[:2] == (frames.RECALLED, waiting)
        done.touch()

        assert [worker.next()[:2] for _ in range(2)] == [
            (frames.ANSWER, running),
            (frames.ANSWER, after),
        ]
        worker.tell(frames.RECALL, after)
        worker.tell(frames.PING, 9)
        assert worker.told()[:2] == (frames.PONG, 9), "what has begun is not given back"


def test_print_and_logging_are_lines_of_the_console(worker: WorkerChild) -> None:
    worker.ask(b'{"do": "print"}')

    text, pid = worker.console.read_text(), worker.process.pid

    assert f" I [{pid}] azmlinfsrv.print - two words\n" in text
    assert f" E [{pid}] azmlinfsrv.print - to stderr\n" in text
    assert "init was here" in text
    assert "shown" in text
    assert "hidden" not in text
    assert "POST /score 200 " in text


def test_the_traceback_of_run_is_in_the_log_alone(worker: WorkerChild) -> None:
    assert b"KeyError" not in worker.ask(b'{"do": "raise"}').body
    text = worker.console.read_text()
    assert 'KeyError: "the user\'s own"' in text
    last = text.rsplit("Traceback", 1)[1]
    assert "/score.py" in last.split("File ")[1], "the first frame is the user's"


def test_folders_are_where_the_original_has_them(tmp_path: Path) -> None:
    with WorkerChild(tmp_path, EVERYTHING, AZUREML_MODEL_DIR="/m/azureml-models/a/1") as worker:
        worker.started()
        model, cwd, last, first = worker.ask(b'{"do": "model dir"}').json
    assert (model, cwd, last) == ("/m/azureml-models/a/1", str(tmp_path), str(tmp_path))
    assert "headrace" not in first


def test_overrides_in_the_app_root_win(tmp_path: Path) -> None:
    (tmp_path / "swagger3.json").write_text('{"mine": true}')
    with WorkerChild(tmp_path, EVERYTHING) as worker:
        worker.started()
        found = worker.ask(path="/swagger.json", method="GET", query="version=3")
    assert found.json == {"mine": True}


RAW = """
from {module}.aml_request import AMLRequest, rawhttp
from {module}.aml_response import AMLResponse
def init(): pass
@rawhttp
def run(request):
    if request.method == "GET":
        return AMLResponse({{"n": request.args.get("n"), "all": request.args.getlist("n")}},
                           200, {{}}, json_str=True)
    if request.method == "OPTIONS":
        return AMLResponse("options", 202)
    if request.args.get("fail"):
        return AMLResponse("broken", 503)
    if request.files:
        return {{"name": request.files["f"].filename, "data": request.files["f"].read().decode(),
                 "field": request.form["g"]}}
    assert request.get_json(silent=True) is None or request.json == request.get_json()
    return AMLResponse(request.get_data(), 201, {{"Content-Type": "image/png", "X-A": "1, 2"}})
"""
MULTIPART = (
    b'--B\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\nhey\r\n'
    b'--B\r\nContent-Disposition: form-data; name="g"\r\n\r\nval\r\n--B--\r\n'
)


@pytest.mark.parametrize(
    "module", ["azureml_inference_server_http.api", "azureml.contrib.services"]
)
@pytest.mark.parametrize("version", ["ours", "3.8"])
def test_rawhttp_under_both_names(tmp_path: Path, module: str, version: str) -> None:
    python = sys.executable if version == "ours" else interpreter(version)
    with WorkerChild(tmp_path, RAW.format(module=module), python=python) as worker:
        worker.started()
        posted = worker.ask(b"\x00\xff", headers=[("content-type", "image/png")])
        asked = worker.ask(method="GET", query="n=1&n=2")
        options = worker.ask(method="OPTIONS")
        failed = worker.ask(query="fail=1")
        kind = [("content-type", "multipart/form-data; boundary=B")]
        uploaded = worker.ask(MULTIPART, headers=kind)

    assert (posted.status, posted.body) == (201, b"\x00\xff")
    assert [v for k, v in posted.pairs if k == "x-a"] == ["1", "2"]
    assert [v for k, v in posted.pairs if k == "content-type"] == ["image/png"]
    assert asked.json == {"n": "1", "all": ["1", "2"]}
    assert (options.status, options.body) == (202, b"options")
    assert (failed.status, failed.headers["x-ms-run-function-failed"]) == (503, "True")
    assert uploaded.json == {"name": "a.txt", "data": "hey", "field": "val"}


ASYNC = """
import asyncio, json
together = 0
def init(): pass
async def run(raw):
    global together
    asked = json.loads(raw)
    if asked.get("stream"):
        async def parts():
            for i in range(2):
                await asyncio.sleep(0)
                yield {"i": i}
        return parts()
    if asked.get("raise"):
        raise ValueError("no")
    together += 1
    while together < asked.get("together", 0):
        await asyncio.sleep(0.005)
    await asyncio.sleep(asked.get("s", 0))
    return together
"""


@pytest.mark.parametrize("version", ["ours", *OTHERS])
def test_an_async_run_serves_many_at_once(tmp_path: Path, version: str) -> None:
    python = sys.executable if version == "ours" else interpreter(version)
    with WorkerChild(tmp_path, ASYNC, python=python, SCORING_TIMEOUT_MS="1500") as worker:
        assert worker.started()["async"] is True
        for _ in range(5):
            worker.send(b'{"together": 5}')
        together = [json.loads(decode_reply(worker.next()[2]).body) for _ in range(5)]
        raised = worker.ask(b'{"raise": 1}')
        number = worker.send(b'{"stream": 1}')
        streamed = [worker.next() for _ in range(4)]
        worker.send(b'{"s": 60}')
        worker.tell(frames.CANCEL, number + 1)
        cancelled = worker.next()
        late = worker.ask(b'{"s": 60}')

    assert together == [5] * 5
    assert raised.json == RAISED
    assert b"".join(p for k, _, p in streamed if k == frames.CHUNK) == b'{"i": 0}\n{"i": 1}\n'
    assert cancelled[0] == frames.END
    assert late.json == {"message": "Scoring timeout after 1500 ms"}


TOGETHER = """
import asyncio
waiting, gate = [], asyncio.Event()
def init(): pass
async def run(raw):
    waiting.append(raw)
    if len(waiting) == 8:
        gate.set()
    await gate.wait()
    return len(waiting)
"""


def test_what_ends_in_one_turn_of_the_loop_leaves_in_two_writes(tmp_path: Path) -> None:
    numbers: list[int] = []
    reads = 0
    with WorkerChild(tmp_path, TOGETHER) as worker:
        worker.started()
        for _ in range(8):
            worker.send()
        while len(numbers) < 8:
            numbers += [one for _, one, _ in frames.Decoder().feed(worker.data.recv(65536))]
            reads += 1

    assert numbers == [8, *range(1, 8)]
    assert reads <= 2, "one of the first, one of all others"


LATE = """
import asyncio
def init(): pass
async def run(raw):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        if raw == '"insist"':
            return "what there is"
        raise
"""


def test_a_late_async_run_may_answer_with_what_it_has(tmp_path: Path) -> None:
    with WorkerChild(tmp_path, LATE, SCORING_TIMEOUT_MS="100") as worker:
        worker.started()
        insisted, ended = worker.ask(b'"insist"'), worker.ask(b"{}")

    assert (insisted.status, insisted.json) == (200, "what there is")
    assert (ended.status, ended.json["message"]) == (500, "Scoring timeout after 100 ms")


def test_a_sleep_of_a_script_ends_when_it_is_due(tmp_path: Path) -> None:
    slack = "def init(): pass\ndef run(raw): return open('/proc/self/timerslack_ns').read()"
    with WorkerChild(tmp_path, slack) as worker:
        worker.started()
        assert int(worker.ask().json) == prctl.FINE_NS


BAD = [
    ("def init(): raise RuntimeError('no weights')\ndef run(a): pass", "init", "no weights"),
    ("import nothing_like_this\ndef init(): pass\ndef run(a): pass", "import", "nothing_like"),
    ("def run(a): pass", "contract", "does not have a init() function"),
    ("def init(): pass\ndef run(*a): pass", "contract", "cannot accept positional-only"),
    ("def init(): pass\ndef run(): pass", "contract", "an argument for input data"),
    ("def init(): pass\ndef run(request_headers): pass", "contract", "other than"),
    ("def init(): pass\ndef run(", "import", "SyntaxError"),
    ("import sys\nsys.exit(0)", "import", "SystemExit"),
]


@pytest.mark.parametrize(("script", "phase", "words"), BAD)
def test_a_script_that_cannot_serve_says_why(
    tmp_path: Path, script: str, phase: str, words: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").touch()
    model_dir = str(tmp_path / "model")
    with WorkerChild(tmp_path, script, AZUREML_MODEL_DIR=model_dir) as worker:
        kind, _, payload = worker.told()
        code = worker.process.wait(20)

    told = json.loads(payload)
    assert (kind, code) == (frames.FAILED, 3)
    assert told["phase"] == phase
    assert words in told["traceback"]
    assert told["listing"] == ["weights.bin"]
    assert words in worker.console.read_text()


def test_a_busy_worker_ends_with_its_scorer(tmp_path: Path) -> None:
    forking = EVERYTHING.replace(
        'print("init was here")', 'open("child", "w").write(str(os.fork() or time.sleep(60)))'
    )
    with WorkerChild(tmp_path, forking) as worker:
        worker.started()
        child = int((tmp_path / "child").read_text())
        worker.send(b'{"do": "sleep", "s": 60}')

    assert worker.process.returncode == -signal.SIGKILL
    end = time.monotonic() + 30
    while _running(child) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _running(child), "what the worker forked goes with it"


def _running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z" and os.path.exists(f"/proc/{pid}")
