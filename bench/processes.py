"""All processes of a server: found by a mark in their environment, measured together."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import psutil

MARK: Final = "HEADRACE_BENCH_MARK"
STOP_BOUND_S: Final = 15.0
_PSS: Final = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


def of(marks: Iterable[str]) -> list[psutil.Process]:
    """Live processes whose arguments or environment hold one of the marks, and their children."""
    found: dict[int, psutil.Process] = {}
    wanted = tuple(marks)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            text = " ".join([*process.cmdline(), *process.environ().values()])
            if process.pid != os.getpid() and any(mark in text for mark in wanted):
                for each in (process, *process.children(recursive=True)):
                    found[each.pid] = each
    return list(found.values())


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """User and system seconds so far, children that ended included."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:4])
    return total


def pss_mb(processes: Iterable[psutil.Process]) -> float:
    """Proportional set size: shared pages are split among those who share them."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            total += sum(int(kilobytes) for kilobytes in _PSS.findall(text))
    return total / 1024


def stop(processes: Iterable[psutil.Process]) -> None:
    """Terminate, wait, kill what is left."""
    alive = list(processes)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        alive = psutil.wait_procs(alive, timeout=STOP_BOUND_S)[1]
        if not alive:
            return
