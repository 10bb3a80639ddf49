"""What the log of a deployment says of its requests, by the command a user has."""

from __future__ import annotations

import time
from typing import Final

from headrace.demo.commands import Commands
from headrace.demo.ticks import Ticks
from headrace.demo.traffic import Caller

ASKED: Final = 40  # requests between two looks: far more than leave one of two instances idle
BOUND_S: Final = 30.0


def named_request(
    commands: Commands,
    caller: Caller,
    ticks: Ticks,
    *,
    endpoint: str,
    deployment: str,
    bound_s: float = BOUND_S,
) -> str:
    """The last line that names a request, as `POST /score 200 0.581ms 36` after its head.

    get-logs shows one instance, as Azure's does: the newest, which may just have become ready and
    served nothing yet. So the caller asks until it has. Raises DemoFailed when no line comes.
    """
    words = ("online-deployment", "get-logs", "-e", endpoint, "-n", deployment)
    begun = time.monotonic()
    while True:
        errors = caller.many(ASKED).errors
        ticks.require(not errors, "every request is answered", errors[:3])
        lines = commands.run(*words).splitlines()
        named = [line for line in lines if "POST /score 200" in line]
        if named:
            return named[-1]
        within = time.monotonic() - begun < bound_s
        ticks.require(within, "the log names the requests", lines[-3:])
