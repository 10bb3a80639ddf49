"""An instance answers over the bus, from a worker of its own."""

from __future__ import annotations

import json

from headrace_bus.wire.envelope import AnswerKind
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
