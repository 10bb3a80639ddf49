"""What is asked of every server: bodies, and how to tell a right answer."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MEGABYTE: Final = 1 << 20
OPEN: Final = "open"
"""Not a workload but a way to ask: echo at fixed rates."""
ECHO: Final = {
    "id": 12345,
    "text": "a hundred bytes of JSON, give or take a few ",
    "flags": [1, 0, 1, 1],
}
ROWS: Final = [[0.1 * (row + 1) * column for column in range(10)] for row in range(2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One kind of request."""

    name: str
    body: bytes
    content_type: str = "application/json"
    script: str = "score.py"
    """Of bench/apps/scoring, for servers that run a score.py."""
    connections: tuple[int, ...] = (1, 16, 64)
    """Closed-loop clients, one measurement each."""
    capacity: int = 1
    """Requests one instance runs at once, where the server can."""
    instances: int = 1
    """Scorers, each with `capacity`."""
    service_s: float = 0.0
    """Time `run` waits, when that is what the workload is about."""
    min_seconds: float = 0.0
    """Of a measurement: what is under way at its end must not count."""
    note: str = ""
    """What a reader of its figures must know."""

    @property
    def parsed(self) -> Any:
        return json.loads(self.body)

    def is_right(self, answer: bytes) -> bool:
        """Whether the answer holds what was asked for, in any server's wrapping."""
        if self.name == "bin":
            return answer == self.body or base64.b64encode(self.body) in answer
        if self.name == "ridge":
            return b"29.5" in answer or b"29.499" in answer
        if self.name == "echo":
            return b"give or take a few" in answer
        return answer.startswith(b"{")


WORKLOADS: Final[Mapping[str, Workload]] = {
    workload.name: workload
    for workload in (
        Workload(name="echo", body=json.dumps(ECHO).encode()),
        Workload(name="ridge", body=json.dumps({"data": ROWS}).encode()),
        Workload(
            name="bin",
            body=os.urandom(MEGABYTE),
            content_type="application/octet-stream",
            script="score_raw.py",
            min_seconds=4.0,
            note="1 MB of bytes there and back; MLServer's protocol has them as base64 in JSON.",
        ),
        Workload(
            name="sleep20",
            body=b'{"sleep_s": 0.02}',
            script="score_async.py",
            capacity=16,
            service_s=0.02,
            min_seconds=5.0,
            note=(
                "Where handlers may wait, one worker runs all at once; where a worker runs one "
                "request at a time (azureml-inference-server-http, mosec) there are 16 workers, so "
                "64 clients can have 800 a second there and 3,200 elsewhere."
            ),
        ),
        Workload(name="heavy", body=b'{"sleep_s": 0.005}', connections=(), instances=4),
    )
}
