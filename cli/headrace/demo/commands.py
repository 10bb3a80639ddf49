"""Runs the commands a user would type, and gives back what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import click

from headrace_api.errors import HeadraceError
from headrace_api.home import ENVIRONMENT_VARIABLE, Home

COMMAND_BOUND_S = 900  # an environment may be built from the package registry


class CommandFailed(HeadraceError):
    """A command of the demo did not succeed; carries what it said."""

    code = "CommandFailed"

    def __init__(self, words: tuple[str, ...], said: str) -> None:
        super().__init__(f"headrace {' '.join(words)} failed\n{said.rstrip()}")


class Commands:
    """`headrace …` in child processes, all on one home."""

    def __init__(self, home: Home, *, verbose: bool) -> None:
        self._home = home
        self._verbose = verbose

    def run(self, *words: str) -> str:
        """What the command prints on stdout. Raises CommandFailed."""
        done = self._start(words)
        if done.returncode != 0:
            raise CommandFailed(words, done.stderr)
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "-o", "json"))

    def works(self, *words: str) -> bool:
        return self._start(words).returncode == 0

    def _start(self, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        if self._verbose:
            click.echo(f"    $ headrace {' '.join(words)}", err=True)
        return subprocess.run(
            [sys.executable, "-m", "headrace", *words],
            capture_output=True,
            text=True,
            timeout=COMMAND_BOUND_S,
            stdin=subprocess.DEVNULL,
            env=os.environ | {ENVIRONMENT_VARIABLE: str(self._home.root)},
            check=False,
        )
