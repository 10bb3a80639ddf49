"""Processes of this machine, told apart across pid reuse and reboots.

A pid alone names nobody for long. A pid with the moment its process started names one process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from headrace_api.machine import boot_id, started_ticks

_PROC: Final = Path("/proc")
_LINUX: Final[bool] = sys.platform.startswith("linux")
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process that lived, or lives, on this machine."""

    pid: int
    started: str
    """Boot and tick of its start; compared, never read. The wall clock does not move it."""

    def alive(self) -> bool:
        """Whether this very process still runs; a zombie does not."""
        return identify(self.pid) == self

    def send(self, number: signal.Signals) -> bool:
        """Signal it unless it is gone. Returns whether a signal was sent."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def identify(pid: int) -> ProcessId | None:
    """Name the live process behind a pid; None when there is none or it is a zombie."""
    if pid <= 0:
        return None
    return _identify_linux(pid) if _LINUX else _identify_elsewhere(pid)


def _identify_elsewhere(pid: int) -> ProcessId | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessId(pid, f"{psutil.boot_time():.0f}:{process.create_time():.3f}")
    except psutil.Error:
        return None


def _identify_linux(pid: int) -> ProcessId | None:
    started = started_ticks(pid)
    return ProcessId(pid, f"{boot_id()}:{started}") if started else None


def arguments(pid: int) -> tuple[str, ...]:
    """The command line; empty when the process is gone or not ours to read."""
    try:
        return tuple(psutil.Process(pid).cmdline())
    except (psutil.Error, OSError):
        return ()


def environment(pid: int) -> dict[str, str]:
    """The environment it was started with; empty when gone or not ours to read."""
    try:
        return psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return {}


def mentions(pid: int, folder: Path) -> bool:
    """Whether an argument or an environment value is the folder or lies below it."""
    values = [*arguments(pid), *environment(pid).values()]
    return any(_names(value, str(folder)) for value in values)


def _names(value: str, folder: str) -> bool:
    path = value.partition("=")[2] if value.startswith("--") else value
    return path == folder or path.startswith(folder + "/")


def find(*wanted: str) -> list[ProcessId]:
    """Live processes of our own user whose command line holds these arguments in this order."""
    return [one for one in ours() if _contains(arguments(one.pid), wanted)]


def _contains(found: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    width = len(wanted)
    return any(found[at : at + width] == wanted for at in range(len(found) - width + 1))


def ours() -> Iterator[ProcessId]:
    """Live processes that run as our user, this one left out."""
    for pid in psutil.pids():
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if _LINUX and (_PROC / str(pid)).stat().st_uid != os.getuid():
                continue
            found = identify(pid)
            if found is not None:
                yield found


def session_members(session: int) -> list[ProcessId]:
    """Live processes of one session, its leader included."""
    members = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == session and (found := identify(pid)) is not None:
                members.append(found)
    return members


def kill_session(leader: ProcessId, folder: Path) -> None:
    """Kill a session leader and whatever else lives in its session.

    A leader that is gone leaves a number that may be another's by now, so without it only
    processes that mention `folder` die.
    """
    current = identify(leader.pid)
    if current is not None and current != leader:
        return
    led = current is not None
    for member in session_members(leader.pid):
        if led or mentions(member.pid, folder):
            member.send(signal.SIGKILL)


def wait_gone(processes: Iterable[ProcessId], timeout_s: float) -> list[ProcessId]:
    """Wait until they have ended; returns those that have not."""
    end = time.monotonic() + timeout_s
    left = [one for one in processes if one.alive()]
    while left and time.monotonic() < end:
        time.sleep(_POLL_S)
        left = [one for one in left if one.alive()]
    return left
