"""Runs uv to its end, its output line by line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import uv

from headrace_scorer.errors import EnvironmentFailed

BOUND_S: Final = 3600.0
WORDS_MAX: Final = 8_000  # characters of its output in an error
_NOISE: Final = "Using Python "  # what uv says before it works, for the log only
_PLAIN: Final = {"UV_NO_PROGRESS": "1", "NO_COLOR": "1"}

Say = Callable[[str], None]


def _cache(home: Path) -> dict[str, str]:
    """Where uv keeps what it downloads, unless its own place is good."""
    if "UV_CACHE_DIR" in os.environ:
        return {}
    chosen = os.environ.get("XDG_CACHE_HOME")
    usual = Path(chosen) if chosen else Path.home() / ".cache"
    there = next(one for one in (usual, *usual.parents) if one.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return {}
    return {"UV_CACHE_DIR": str(home / "cache" / "uv")}


async def run(
    environment: str,
    say: Say,
    *arguments: str,
    home: Path,
    settings: Mapping[str, str] | None = None,
) -> None:
    """Say each line as it comes; `settings` are variables beside those of this process.

    Its cache lies where uv keeps it for the user, or below `home` where nothing can be written.

    Raises EnvironmentFailed with uv's own words.
    """
    process = await asyncio.create_subprocess_exec(
        uv.find_uv_bin(),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **_PLAIN, **_cache(home), **(settings or {})},
    )
    words: list[str] = []
    try:
        async with asyncio.timeout(BOUND_S):
            assert process.stdout is not None
            async for line in process.stdout:
                words.append(line.decode(errors="replace").rstrip())
                say(words[-1])
            code = await process.wait()
    except TimeoutError:
        raise EnvironmentFailed(environment, f"not finished within {BOUND_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code != 0:
        told = [line for line in words if not line.startswith(_NOISE)]
        raise EnvironmentFailed(environment, "\n".join(told)[-WORDS_MAX:])
