"""This machine: what it has, its boot, and when a process of it started."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_BOOT: Final = _PROC / "sys/kernel/random/boot_id"
_GPUS: Final = ("nvidia[0-9]*", "dxg")  # the second is Windows' own, seen from its Linux
_ENDED: Final = ("Z", "X")  # a zombie does nothing any more
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
