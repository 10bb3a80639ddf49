"""A worker never outlives its scorer, and no process it forks takes its place."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from typing import Any, Final

from .prctl import die_with_parent

RAISED: Final = 1  # exit code of a fork whose `run` raised

_state: dict[str, Any] = {"forked": False}


def follow_parent() -> None:
    """Ask the kernel to kill this process, and what its main thread forks, with the parent.

    Where there is no such kernel, the end of the control socket still ends the worker. To the
    kernel a parent is a thread, so that a pool which another thread started would end with that
    thread: such forks end with the worker's process group alone.
    """
    die_with_parent()
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


def leave_if_forked(error: BaseException | None) -> None:
    """End a process that the script forked and that came back out of `init` or `run`.

    It shares the worker's sockets and would answer requests as a second worker.
    """
    if _state["forked"]:
        _flush()
        os._exit(_exit_code(error))


def end_in_order(data: socket.socket) -> None:
    """Let the main thread come to the end of its loop, so that what atexit knows is run.

    A script's own handler of SIGTERM is called first. Ours would be inherited by its forks, which
    a pool of processes ends by that signal; so there is none.
    """
    if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN):
        main = threading.main_thread().ident
        if main is not None:
            signal.pthread_kill(main, signal.SIGTERM)
    with contextlib.suppress(OSError):
        data.shutdown(socket.SHUT_RD)


def end_now() -> None:
    """Leave at once from any thread, with everything in our process group."""
    try:
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
    finally:
        os._exit(1)


def _before_fork() -> None:
    _state["main"] = threading.current_thread() is threading.main_thread()


def _after_fork() -> None:
    _state["forked"] = True
    if _state["main"]:
        die_with_parent()


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        return (error.code or 0) & 0xFF
    return RAISED


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
