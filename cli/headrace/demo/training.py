"""Trains the demo's two models in the environment their deployments will run in."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from headrace.demo.project import Project
from headrace.demo.ticks import DemoFailed
from headrace_api.home import Home
from headrace_bus.wire.launch import EnvironmentSpec
from headrace_scorer import environment

TRAINING_BOUND_S = 300.0


def train(project: Project, home: Home) -> str:
    """Build the environment, unless it is cached, and run train.py; a line on what came out.

    Raises EnvironmentFailed with the resolver's words, and DemoFailed when training fails.
    """
    spec = EnvironmentSpec(conda=project.conda.read_text(), name=project.folder.name)
    python = asyncio.run(_environment(spec, home))
    done = subprocess.run(
        [str(python), str(project.train)],
        cwd=project.folder,
        capture_output=True,
        text=True,
        timeout=TRAINING_BOUND_S,
        check=False,
    )
    if done.returncode != 0:
        raise DemoFailed("the models are trained", done.stderr[-2000:])
    return "R2 " + " and ".join(line.rsplit(" ", 1)[1] for line in done.stdout.splitlines())


async def _environment(spec: EnvironmentSpec, home: Home) -> Path:
    planned, _ = await environment.plan(spec, home.interpreters, _unsaid)
    return await environment.ensure(planned, home.environments, _unsaid)


def _unsaid(line: str) -> None:
    """The demo shows one line a step; what uv says is in the error, should it fail."""
