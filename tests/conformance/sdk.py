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
# Each operation that a self-hosted workspace does not have, or that a server takes no part in.
REASONS: Final = {
    "workspaces.begin_create": "one installation is one workspace; `headrace up` makes it",
    "workspaces.begin_delete": "one installation is one workspace; `headrace down --purge`",
    "workspaces.begin_diagnose": "there are no Azure resources behind the workspace to diagnose",
    "workspaces.begin_provision_network": "there is no managed network",
    "workspaces.begin_sync_keys": "there are no Azure storage keys to synchronise",
    "workspaces.get_keys": "there are no Azure storage, registry or insights keys",
    "datastores.mount": "mounts on the caller's machine by a package of Azure's (rslex)",
    "compute.begin_attach": "only machines of Azure can be attached",
    "compute.begin_restart": "of compute instances, which are not offered",
    "compute.begin_start": "of compute instances, which are not offered",
    "compute.begin_stop": "of compute instances, which are not offered",
    "compute.enable_sso": "of compute instances, which are not offered",
    "compute.list_nodes": "nodes come with jobs; an online instance is no node of a cluster",
    "compute.list_sizes": "asks the region's catalogue of machines; any size is taken here",
    "compute.list_usage": "asks the region's quota of a subscription",
    "models.package": "model packages are not built yet",
    "models.share": "copies to a registry; there is none",
    "environments.share": "copies to a registry; there is none",
    "data.share": "copies to a registry; there is none",
    "data.import_data": "starts a job; jobs are not built yet",
    "data.list_materialization_status": "lists jobs; jobs are not built yet",
    "data.mount": "mounts on the caller's machine by a package of Azure's (rslex)",
    "components.download": "asks a registry for the component's snapshot",
    "components.prepare_for_sign": "signs files on the caller's machine; no server takes part",
    "schedules.trigger": "starts a job; jobs are not built yet",
}


@dataclass(slots=True)
class Client:
    """The stock client in one of its configurations, against one platform."""

    platform: Platform
    folder: Path
    configuration: str
    passed: set[str] = field(default_factory=set)
    operations: list[str] = field(default_factory=list)

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
        self.passed |= set(seen["passed"])
        self.operations = seen["operations"]
        return seen
