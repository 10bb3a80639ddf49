"""Finds the Python an environment asks for, and lets uv fetch it where this machine has none.

`UV_PYTHON_DOWNLOADS=never` (or `manual`) in the platform's environment forbids fetching; uv's other
settings (mirror, index, offline) hold as well.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Final

from headrace_scorer import interpreters, uv_command
from headrace_scorer.errors import EnvironmentFailed
from headrace_scorer.interpreters import Interpreter
from headrace_scorer.uv_command import Say

DOWNLOADS: Final = "UV_PYTHON_DOWNLOADS"
_FORBIDDEN: Final = frozenset({"never", "manual", "false", "0"})


async def find_or_fetch(environment: str, wanted: str, folder: Path, say: Say) -> Interpreter:
    """The Python that satisfies `wanted` (PEP 440 clauses, `|` between choices; empty takes ours).

    What uv fetches lies below `folder`. Raises EnvironmentFailed.
    """
    if interpreters.matches(interpreters.own().version, wanted):
        return interpreters.own()
    if interpreters.is_too_old(wanted):
        words = f"needs Python {wanted}, and workers run on {interpreters.OLDEST} or later"
        raise EnvironmentFailed(environment, words, hint="change the version in the conda file")
    found = await asyncio.to_thread(interpreters.find, folder)
    if (fit := interpreters.choose(wanted, found)) is not None:
        return fit
    there = ", ".join(sorted({one.text for one in found}))
    missing = f"needs Python {wanted}, and this machine has {there}"
    if os.environ.get(DOWNLOADS, "").lower() in _FORBIDDEN:
        words = f"{missing}; {DOWNLOADS}={os.environ[DOWNLOADS]} forbids fetching it"
        raise EnvironmentFailed(environment, words, hint=_hint(wanted))
    say(f"this machine has no Python {wanted}, uv fetches it")
    try:
        await _fetch(environment, wanted, folder, say)
    except EnvironmentFailed as error:
        words = f"{missing}; uv could not fetch it:\n{error.words}"
        raise EnvironmentFailed(environment, words, hint=_hint(wanted)) from None
    fit = interpreters.choose(wanted, await asyncio.to_thread(interpreters.find, folder))
    if fit is None:
        words = f"{missing}; what uv fetched does not run here"
        raise EnvironmentFailed(environment, words, hint=_hint(wanted))
    return fit


async def _fetch(environment: str, wanted: str, folder: Path, say: Say) -> None:
    """Let uv install one of the choices, the last first, as the newest stands there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    *others, newest = requests(wanted)
    arguments = ("python", "install", "--no-bin", "--install-dir", str(folder))
    try:
        await uv_command.run(environment, say, *arguments, newest, home=folder.parent)
    except EnvironmentFailed:
        if not others:
            raise
        await _fetch(environment, "|".join(others), folder, say)


def requests(wanted: str) -> list[str]:
    """What is asked of uv: each choice by its series, `3.12` where it is just that."""
    choices = interpreters.series(wanted).split("|")
    return [re.sub(r"^==(\d+\.\d+)\.\*$", r"\1", choice) for choice in choices]


def _hint(wanted: str) -> str:
    request = requests(wanted)[-1]
    quoted = request if request[0].isdigit() else f"'{request}'"
    return (
        f"run `uv python install {quoted}` on the instance's host, or change the version in the "
        "conda file"
    )
