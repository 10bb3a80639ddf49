"""Writes the YAML a user would write, and deploys it with the command a user has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from support.platform import Platform

FIXTURES = Path(__file__).parents[1] / "acceptance" / "fixtures"


class Workbench:
    """A user's folder with endpoint and deployment files."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self.platform = platform
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._endpoints: list[str] = []

    def clean(self) -> None:
        """Start deleting what it made, so that later tests have the machine to themselves."""
        left = {one["name"] for one in self.platform.json("online-endpoint", "list")}
        for name in left.intersection(self._endpoints):
            self.platform.run("online-endpoint", "delete", "-n", name, "-y", "--no-wait")

    def endpoint(self, name: str, **more: Any) -> None:
        self._endpoints.append(name)
        file = self.write(f"{name}.yml", {"name": name, "auth_mode": "key"} | more)
        self.platform.run("online-endpoint", "create", "-f", str(file))

    def deployment_file(
        self, endpoint: str, name: str, code: str, script: str = "score.py", **more: Any
    ) -> Path:
        """Copies the code beside the file, so that a test may change it."""
        source = self.folder / f"{endpoint}-{name}-code"
        shutil.copytree(FIXTURES / code, source, dirs_exist_ok=True)
        spec = {
            "name": name,
            "endpoint_name": endpoint,
            "code_configuration": {"code": source.name, "scoring_script": script},
            "instance_type": "Standard_DS3_v2",
            "instance_count": 1,
        }
        return self.write(f"{endpoint}-{name}.yml", spec | more)

    def deploy(
        self,
        endpoint: str,
        name: str,
        code: str,
        script: str = "score.py",
        *,
        all_traffic: bool = True,
        **more: Any,
    ) -> Path:
        file = self.deployment_file(endpoint, name, code, script, **more)
        words = ("--all-traffic",) if all_traffic else ()
        self.platform.run("online-deployment", "create", "-f", str(file), *words)
        return file

    def deploy_bytes(self, endpoint: str, limit_bytes: int, **settings: int) -> None:
        """An endpoint with the model that gives back a body, four at once, up to this size."""
        self.endpoint(endpoint)
        self.deploy(
            endpoint,
            "blue",
            "bytes",
            request_settings={"max_concurrent_requests_per_instance": 4} | settings,
            properties={"headrace.maxBodyBytes": str(limit_bytes)},
        )

    def write(self, name: str, content: dict[str, Any]) -> Path:
        file = self.folder / name
        dump = json.dumps if file.suffix == ".json" else yaml.safe_dump
        file.write_text(dump(content))
        return file


def patient(instances: int = 2, concurrent: int = 20, **more: Any) -> dict[str, Any]:
    """The 20 ms async model that "no failed request" is judged with: 20 at once an instance.

    Twice `concurrent` an instance may be pending, and what comes beyond is refused by right, not
    lost. Where everything must wait for a restart, a test asks for more room than that.
    """
    settings = {"max_concurrent_requests_per_instance": concurrent, "request_timeout_ms": 30_000}
    return {
        "instance_count": instances,
        "request_settings": settings | {"max_queue_wait_ms": 20_000},
    } | more
