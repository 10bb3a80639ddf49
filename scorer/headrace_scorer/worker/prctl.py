"""What a worker asks of the Linux kernel; elsewhere, and where it refuses, nothing happens."""

from __future__ import annotations

import signal
from typing import Final

FINE_NS: Final = 1000  # how late a timer may end; the kernel's own is 50 times that

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_TIMERSLACK: Final = 29


def die_with_parent() -> None:
    """Be killed when the parent ends; a fork has to ask anew."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def fine_timers() -> None:
    """Let a sleep of the script end when it is due, in its later threads and forks too.

    What it oversleeps is capacity of its instance.
    """
    _prctl(_PR_SET_TIMERSLACK, FINE_NS)


def _prctl(option: int, value: int) -> None:
    try:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass
