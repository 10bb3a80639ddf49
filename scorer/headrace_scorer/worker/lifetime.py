"""A worker never outlives its scorer, and neither do the processes it forks."""

from __future__ import annotations

import os
import signal

from .prctl import die_with_parent


def follow_parent() -> None:
    """Ask the kernel to kill this process, and what it forks, with the parent.

    Where there is no such kernel, the end of the control socket still ends the worker.
    """
    die_with_parent()
    os.register_at_fork(after_in_child=die_with_parent)


def end_now() -> None:
    """Leave at once from any thread, with everything in our process group."""
    try:
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
    finally:
        os._exit(1)
