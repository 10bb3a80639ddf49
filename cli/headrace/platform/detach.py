"""`headrace up --detach`: the supervisor in a session of its own, heard until it is ready."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

from headrace import errors
from headrace.platform.events import Listener
from headrace.platform.status_file import StatusFile
from headrace_api.home import ENVIRONMENT_VARIABLE, Home

EVENTS_FLAG: Final = "--events-fd"
_COMMAND: Final = (sys.executable, "-m", "headrace", "up")
_TAIL_LINES: Final = 12


class StartFailed(errors.CommandError):
    """The supervisor in the background gave up; its words are passed on."""

    exit_code = errors.OPERATION_FAILED


def start(home: Home, flags: Sequence[str], say: Listener) -> None:
    """Start a supervisor and return when it is ready. Raises StartFailed with its reason."""
    home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    read_end, write_end = os.pipe()
    log = os.open(home.run / "up.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(
            [*_COMMAND, "--home", str(home.root), EVENTS_FLAG, str(write_end), *flags],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(write_end,),
            start_new_session=True,
            env=os.environ | {ENVIRONMENT_VARIABLE: str(home.root)},
        )
    finally:
        os.close(write_end)
        os.close(log)
    with os.fdopen(read_end) as events:
        try:
            ready = _heard_ready(events, say)
        except StartFailed:
            child.wait()  # until all it had started is gone
            raise
        if ready:
            child.returncode = 0  # it goes on without us; nobody waits for it here
            return
    raise StartFailed(
        f"the supervisor exited with status {child.wait()} before it was ready",
        detail=_last_words(home),
        hint=f"the whole log is {home.run / 'up.log'}",
    )


def _heard_ready(events: Any, say: Listener) -> bool:
    """Pass events on until `ready`. Raises StartFailed on `failed`; False when the pipe ends."""
    for line in events:
        fields: dict[str, Any] = json.loads(line)
        event = str(fields.pop("event"))
        if event == "failed":
            raise StartFailed(fields["message"], detail=fields["detail"], hint=fields["hint"])
        if "card" in fields:
            fields["card"] = StatusFile(**fields["card"])
        say(event, **fields)
        if event in ("ready", "already_running"):
            return True
    return False


def _last_words(home: Home) -> str:
    lines = (home.run / "up.log").read_text(errors="replace").splitlines()
    return "\n".join(lines[-_TAIL_LINES:])
