"""`headrace up` beside a platform that runs: the same wish is told so, another one is refused."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from headrace import errors
from headrace.platform import services
from headrace.platform.events import Listener
from headrace.platform.lock import HomeLock
from headrace.platform.ports import PORT_FLAGS
from headrace.platform.status_file import StatusFile
from headrace_api.home import Home

_WAIT_READY_S: Final = 35.0  # for an `up` of somebody else that has not finished
_POLL_S: Final = 0.05
_ANY_PORT: Final = "0"


def tell(home: Home, say: Listener, asked: Mapping[str, str]) -> None:
    """Show the status of the platform that runs, once it is ready.

    `asked` holds the flags of this command line. Raises CommandError when the platform runs with
    others, and Unreachable when it does not become ready.
    """
    status_file = _when_ready(home)
    if differing := differences(asked, _flags_of(home, status_file)):
        _refuse(status_file.pid, differing)
    say("already_running", pid=status_file.pid, card=status_file)


def differences(asked: Mapping[str, str], running: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The flags that ask for something else than what runs, each with (asked, running)."""
    return {
        flag: (value, running.get(flag, ""))
        for flag, value in asked.items()
        if value not in (running.get(flag, ""), _ANY_PORT)
    }


def _when_ready(home: Home) -> StatusFile:
    end = time.monotonic() + _WAIT_READY_S
    while time.monotonic() < end:
        status_file = StatusFile.read(home)
        if status_file is not None and status_file.supervised and status_file.state == "running":
            return status_file
        if not HomeLock(home).held():
            break
        time.sleep(_POLL_S)
    raise errors.Unreachable(
        f"another `headrace up` holds {home.root} and is not ready",
        hint="headrace status, or headrace down",
    )


def _flags_of(home: Home, status_file: StatusFile) -> dict[str, str]:
    """What `up` would have to be given to make the platform that runs."""
    nats_port = status_file.nats_url.rpartition(":")[2]
    found = {"--nats": status_file.nats_url, "--nats-port": nats_port}
    for service, flags in PORT_FLAGS.items():
        for process in services.found(service, home)[:1]:
            for name, flag in flags:
                found[f"--{name}-port"] = services.flag_of(process, flag)
            found["--nats-creds"] = services.flag_of(process, "--nats-creds")
    return found


def _refuse(pid: int, differing: Mapping[str, tuple[str, str]]) -> None:
    asked = " ".join(f"{flag} {value}" for flag, (value, _) in differing.items())
    runs = ", ".join(f"{flag} {value or 'unset'}" for flag, (_, value) in differing.items())
    raise errors.CommandError(
        f"already running (pid {pid}) with {runs}; {asked} is not applied",
        hint=f"headrace down && headrace up -d {asked}",
    )
