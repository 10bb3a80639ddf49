"""This machine: what it has, its boot, and when a process of it started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

WORKER_VARIABLE: Final = "HEADRACE_WORKER"
"""Which worker a process descends from: a path below its instance's folder."""
_PROC: Final = Path("/proc")
_BOOT: Final = _PROC / "sys/kernel/random/boot_id"
_GPUS: Final = ("nvidia[0-9]*", "dxg")  # the second is Windows' own, seen from its Linux
_ENDED: Final = ("Z", "X")  # a zombie does nothing any more
_KILL_ROUNDS: Final = 5  # what is killed may fork meanwhile
_STATE_FIELD, _START_FIELD = 0, 19  # of /proc/<pid>/stat, after the name in parentheses


def cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def gpu_count() -> int:
    """GPUs whose devices are here."""
    return sum(len(list(Path("/dev").glob(name))) for name in _GPUS)


@cache
def boot_id() -> str:
    """The same until the machine starts again; empty where the system has none."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def started_ticks(pid: int) -> str:
    """Ticks from boot to the process' start, which no clock moves; empty when it has ended."""
    try:
        # The name may hold anything, a ')' too.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return ""
    return "" if fields[_STATE_FIELD] in _ENDED else fields[_START_FIELD]


def kill_marked(mark: Path) -> int:
    """Kill whatever was started with WORKER_VARIABLE at or below this path; return how many.

    A child inherits it, into a session or process group of its own too. Only where there is /proc.
    """
    killed: set[int] = set()
    for _ in range(_KILL_ROUNDS):
        found = set(_marked(f"{WORKER_VARIABLE}={mark}".encode()))
        if not found - killed:
            break
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
    return len(killed)


def _marked(entry: bytes) -> Iterator[int]:
    if not _PROC.is_dir():
        return
    for process in _PROC.iterdir():
        if not process.name.isdecimal():
            continue
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or is another user's
        if any(one == entry or one.startswith(entry + b"/") for one in variables):
            yield int(process.name)
