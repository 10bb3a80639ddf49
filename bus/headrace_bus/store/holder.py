"""Which process holds a lease, so that one on the same machine need not wait for a dead holder.

Only a hint: a lease taken over in error costs its holder a round, since each write is fenced.
"""

from __future__ import annotations

import os

from headrace_api.machine import boot_id, started_ticks


def mark() -> str:
    """This process, as `ended` knows it again; empty where the system has no /proc."""
    place, started = _place(), started_ticks(os.getpid())
    return f"{place} {os.getpid()} {started}" if place and started else ""


def ended(holder: str) -> bool:
    """Whether the process ran here, in this boot and pid namespace, and does not any more."""
    place, _, process = holder.partition(" ")
    pid, _, started = process.partition(" ")
    if not place or place != _place() or not pid.isdecimal() or not started:
        return False
    return started_ticks(int(pid)) != started


def _place() -> str:
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
    return f"{boot}/{namespace}" if (boot := boot_id()) else ""
