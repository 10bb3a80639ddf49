"""The command as a user runs it, against a control of the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from support.control import ControlClient

BOUND_S: Final = 30.0


async def told(
    control: ControlClient,
    *words: str,
    code: int = 0,
    environment: Mapping[str, str] | None = None,
) -> tuple[str, str]:
    """Its stdout and stderr; fails on another exit code."""
    own = {
        "HEADRACE_HOME": str(control.home.root),
        "HEADRACE_CONTROL_URL": control.base,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "headrace",
        *words,
        "-o",
        "json",
        env={**os.environ, **own, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(BOUND_S):
        out, err = await process.communicate()
    assert process.returncode == code, (out, err)
    return out.decode(), err.decode()


async def headrace(control: ControlClient, *words: str, code: int = 0, url: str = "") -> Any:
    """Its JSON, or its words when it printed none."""
    more = {"HEADRACE_CONTROL_URL": url} if url else {}
    out, err = await told(control, *words, code=code, environment=more)
    return json.loads(out) if out.strip() else err
