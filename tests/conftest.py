"""Fixtures that every folder of tests shares."""

from __future__ import annotations

import ast
import gc
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from support.nats_server import NatsServer

_parse = ast.parse


def _parse_without_collecting(*args: Any, **kwargs: Any) -> Any:
    """CPython 3.11 counts the depth of a parse in one place for the whole interpreter. Garbage
    collected amid a parse may be a task whose error nobody read; its traceback is rendered by way
    of ast.parse, and the outer parse (pytest's, when it rewrites or shows an assertion) ends in
    "SystemError: AST constructor recursion depth mismatch". So no garbage is collected in one."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _parse(*args, **kwargs)
    finally:
        if collecting:
            gc.enable()


ast.parse = _parse_without_collecting

# A machine that stalls for 0.2 s in the middle of an example has found no fault.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Who starts the tests behind a shell's `&` has them ignore Ctrl-C, and so would every command that
# a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A running server of this test's own, with JetStream in the test's folder."""
    with NatsServer(tmp_path / "nats-server") as server:
        yield server
