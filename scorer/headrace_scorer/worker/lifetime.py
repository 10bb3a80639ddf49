"""A worker never outlives its scorer, and neither do the processes it forks."""

from __future__ import annotations

import os
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def follow_parent() -> None:
    """Ask the kernel to kill this process, and what it forks, with the parent."""
    _die_with_parent()
    os.register_at_fork(after_in_child=_die_with_parent)


def _die_with_parent() -> None:
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # not Linux: the end of the control socket still ends the worker


def end_now() -> None:
    """Leave at once from any thread, with everything in our process group."""
    try:
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
    finally:
        os._exit(1)
