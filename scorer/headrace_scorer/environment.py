"""Virtual environments of deployments: one build per digest, shared by all instances.

    <home>/environments/<digest>/          the environment, built where it stays
    <home>/environments/<digest>.complete  written last; without it the folder is rubble
    <home>/environments/<digest>.lock      held while building
    <home>/environments/<digest>.used      held while an instance uses it (`environment_use`)

A virtual environment holds absolute paths, so it is built in its final place and not renamed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from headrace_api import curated
from headrace_bus.wire.launch import EnvironmentSpec
from headrace_scorer import conda, environment_use, interpreters, uv_command
from headrace_scorer import image as images
from headrace_scorer.conda import Requirements
from headrace_scorer.interpreter_fetch import DOWNLOADS, find_or_fetch
from headrace_scorer.interpreters import Interpreter
from headrace_scorer.uv_command import Say

RECIPE: Final = 1  # changes when equal specs must be built anew
# Not hard links into uv's cache: what a script writes to a package would be in all environments.
_COPIES: Final = {"UV_LINK_MODE": "copy"}
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is built, and under which name."""

    digest: str
    interpreter: Interpreter
    requirements: Requirements
    name: str
    caps: tuple[str, ...] = ()
    """Bounds that no requirement states (`headrace_api.curated.caps`)."""


def read(spec: EnvironmentSpec) -> tuple[Requirements, str]:
    """Return requirements and a warning, or ''. Raises LaunchRefused."""
    if spec.conda:
        warning = f"image {spec.image} is ignored beside a conda file on process compute"
        return conda.read_conda(spec.conda), warning if spec.image else ""
    if spec.requirements:
        return conda.read_requirements(spec.requirements), ""
    return Requirements(), ""


async def plan(spec: EnvironmentSpec, pythons: Path, say: Say) -> tuple[Plan, str]:
    """Choose an interpreter, fetched below `pythons` where this machine has none that fits.

    Return the plan and a warning, or ''. Raises LaunchRefused, EnvironmentFailed.
    """
    if images.stands_alone(spec):
        return await _plan_in_place_of(spec.image, spec.name, pythons)
    requirements, warning = read(spec)
    interpreter = await find_or_fetch(spec.name, requirements.python, pythons, say)
    if not interpreters.matches(interpreter.version, requirements.python):
        stands_in = f"Python {interpreter.text} stands in for {requirements.python}"
        warning = "; ".join(filter(None, [warning, stands_in]))
    return _planned(spec.name, interpreter, requirements), warning


async def _plan_in_place_of(image: str, name: str, pythons: Path) -> tuple[Plan, str]:
    """Of an image alone: the Python it speaks of, where this machine has it, else our own."""
    interpreter = interpreters.own()
    if wanted := images.python_of(image):
        found = await asyncio.to_thread(interpreters.find, pythons)
        interpreter = interpreters.choose(wanted, found) or interpreter
    packages = images.packages_of(image, interpreter.version[1])
    planned = _planned(name or image, interpreter, Requirements(packages=packages))
    return planned, images.warning(image, interpreter.text, packages)


def _planned(name: str, interpreter: Interpreter, requirements: Requirements) -> Plan:
    caps = curated.caps(requirements.packages)
    parts = [RECIPE, str(interpreter.path), interpreter.text, requirements.packages]
    if caps:
        parts.append(caps)
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return Plan(
        digest=digest, interpreter=interpreter, requirements=requirements, name=name, caps=caps
    )


async def ensure(planned: Plan, root: Path, say: Say) -> Path:
    """Return the environment's interpreter, building it unless it is there.

    Raises EnvironmentFailed with the resolver's words. Cancelled, it leaves rubble that the next
    builder clears.
    """
    folder = root / planned.digest
    complete = root / f"{planned.digest}.complete"
    python = folder / "bin" / "python"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    await environment_use.hold(root, planned.digest)
    if complete.exists() and python.exists():
        say(f"environment {planned.digest[:12]} is cached")
        return python
    async with _locked(root / f"{planned.digest}.lock"):
        if complete.exists() and python.exists():
            say(f"environment {planned.digest[:12]} was built by another instance in the meantime")
            return python
        complete.unlink(missing_ok=True)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await _build(planned, folder, python, say)
        complete.touch(mode=0o600)
    return python


async def _build(planned: Plan, folder: Path, python: Path, say: Say) -> None:
    say(f"creating a virtual environment with Python {planned.interpreter.text}")
    uv = partial(_uv, planned, folder.parent.parent, say)
    await uv("venv", "--quiet", "--python", str(planned.interpreter.path), str(folder))
    if planned.requirements.dropped:
        say(f"left out, not on PyPI: {', '.join(planned.requirements.dropped)}")
    if not planned.requirements.packages:
        return
    listed = folder / "requirements.txt"
    listed.write_text("\n".join(planned.requirements.packages) + "\n")
    say(f"installing {len(planned.requirements.packages)} requirements")
    bounds: tuple[str, ...] = ()
    if planned.caps:
        say(f"older builds among them need {', '.join(planned.caps)}")
        limits = folder / "constraints.txt"
        limits.write_text("\n".join(planned.caps) + "\n")
        bounds = ("--constraint", str(limits))
    await uv("pip", "install", "--python", str(python), "-r", str(listed), *bounds)


async def _uv(planned: Plan, home: Path, say: Say, *arguments: str) -> None:
    """Raises EnvironmentFailed."""
    settings = {DOWNLOADS: "never"} | _COPIES
    await uv_command.run(planned.name, say, *arguments, home=home, settings=settings)


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold an exclusive lock that ends with the process, whatever way it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # A lock of the system has no event to wait for.
        while not _try_lock(descriptor):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
