"""Trains the demo's two models in the environment their deployments will run in."""

from __future__ import annotations

import asyncio
import subprocess

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
    planned, _ = environment.plan(spec)
    python = asyncio.run(environment.ensure(planned, home.environments, lambda _: None))
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
