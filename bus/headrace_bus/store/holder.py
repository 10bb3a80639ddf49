"""Which process holds a lease, so that one on the same machine need not wait for a dead holder.

Only a hint: a lease taken over in error costs its holder a round, since each write is fenced.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_ENDED: Final = ("Z", "X")  # a zombie does nothing any more


def mark() -> str:
    """This process, as `ended` knows it again; empty where the system has no /proc."""
    place, started = _place(), _started(os.getpid())
    return f"{place} {os.getpid()} {started}" if place and started else ""


def ended(holder: str) -> bool:
    """Whether the process ran here, in this boot and pid namespace, and does not any more."""
    place, _, process = holder.partition(" ")
    pid, _, started = process.partition(" ")
    if not place or place != _place() or not pid.isdecimal() or not started:
        return False
    return _started(int(pid)) != started


def _place() -> str:
    try:
        return f"{_BOOT.read_text().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Ticks from boot to the process' start, which no clock moves; empty when it has ended."""
    try:
        # The name in parentheses may hold anything; state is the first field after it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in _ENDED else fields[19]
