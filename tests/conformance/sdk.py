"""Runs steps of the driver in the interpreter that holds the client, as a child process."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from support.platform import Platform

ROOT: Final = Path(__file__).parents[2]
PYTHON: Final = ROOT / ".venv-sdk" / "bin" / "python"
DRIVER: Final = Path(__file__).parent / "fixtures" / "driver.py"
BOUND_S: Final = 240


@dataclass(slots=True)
class Client:
    """The stock client in one of its configurations, against one platform."""

    platform: Platform
    folder: Path
    configuration: str
    missed: dict[str, dict[str, str]] = field(default_factory=dict)
    """By operation, what the client did where it does not work."""
    passed: set[str] = field(default_factory=set)
    operations: list[str] = field(default_factory=list)

    def signs_in_as(self, **roles: str) -> dict[str, str]:
        """Make a client of each role, by name, for the steps that sign in; their ids."""
        made = {
            name: self.platform.json("client", "create", "-n", name, "--role", role)
            for name, role in roles.items()
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "clients.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(made))
        return {name: str(one["client_id"]) for name, one in made.items()}

    def does(self, *steps: str) -> dict[str, Any]:
        """Run steps; fails on a failed step and on any other host. Returns the whole result."""
        self.folder.mkdir(parents=True, exist_ok=True)
        status = self.platform.status()
        result = self.folder / "result.json"
        token = Path(status["home"]) / "token"
        words = (",".join(steps), result, self.configuration, status["control_url"], token)
        done = subprocess.run(
            [str(PYTHON), str(DRIVER), *map(str, words), str(self.folder)],
            env=os.environ | {"REQUESTS_CA_BUNDLE": status["ca_path"]},
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        seen: dict[str, Any] = json.loads(result.read_text())
        assert seen["failed"] == {}, "\n".join(seen["failed"].values())
        assert seen["strangers"] == []
        self.missed |= seen["missed"]
        self.passed |= set(seen["passed"])
        self.operations = seen["operations"]
        return seen
