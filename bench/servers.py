"""Servers as plug-ins: how each is installed, started and asked."""

from __future__ import annotations

import importlib.metadata
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, Final

import psutil
import uv

from bench import generator, processes
from bench.generator import Figures, Target
from bench.workloads import OPEN, WORKLOADS, Workload

BENCH: Final = Path(__file__).resolve().parent
APPS: Final = BENCH / "apps"
SCORING: Final = APPS / "scoring"
PEERS: Final = BENCH / ".peers"
START_BOUND_S: Final = 120.0
_POLL_S: Final = 0.01


class CannotServe(Exception):
    """A server was not installed, did not start, or gave a wrong answer."""

    def __init__(self, server: str, why: str) -> None:
        self.server = server
        super().__init__(f"{server}: {why}")


class Server(ABC):
    """One server serving one workload; `start` returns when it has given a right answer."""

    name: ClassVar[str]
    workloads: ClassVar[frozenset[str]] = frozenset({*WORKLOADS, OPEN})

    def __init__(self) -> None:
        self.cold_start_s = 0.0
        self.figures: dict[str, float] = {}
        """What else was learned at its start, by name with unit."""
        self._mark = f"bench-{self.name}-{secrets.token_hex(6)}"

    @abstractmethod
    def prepare(self) -> None:
        """Install what it needs; done already is quick. Raises CannotServe."""

    @abstractmethod
    def versions(self) -> dict[str, str]: ...

    @abstractmethod
    def start(self, workload: Workload) -> Target:
        """Serve the workload; sets `cold_start_s`. Raises CannotServe."""

    @abstractmethod
    def stop(self) -> None: ...

    def body(self, workload: Workload) -> bytes:
        """The workload's body as this server wants it wrapped."""
        return workload.body

    def closed(self, target: Target, connections: int, seconds: float) -> Figures:
        """Ask it in a closed loop with this many clients."""
        return generator.closed(target, connections, seconds)

    def marks(self) -> tuple[str, ...]:
        return (self._mark,)

    def processes(self) -> list[psutil.Process]:
        return processes.of(self.marks())


class Peer(Server):
    """A server in a virtual environment of its own, started by one command."""

    packages: ClassVar[tuple[str, ...]] = ()
    path: ClassVar[str] = "/score"
    takes_its_worker: ClassVar[bool] = False
    """Whether a worker runs one request at a time, whatever the handler does."""
    environment: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        super().__init__()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def python(self) -> Path:
        return PEERS / self.name / "bin" / "python"

    def prepare(self) -> None:
        stamp = PEERS / self.name / ".stamp"
        wanted = "\n".join(self.packages)
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        folder = PEERS / self.name
        packages = [*self.packages, "numpy", "scikit-learn"]
        self._uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        self._uv("pip", "install", "--quiet", "--python", str(self.python), *packages)
        stamp.write_text(wanted)

    def versions(self) -> dict[str, str]:
        words = ("pip", "list", "--format", "json", "--python", str(self.python))
        wanted = {package.split("[")[0].split("=")[0] for package in self.packages}
        listed = json.loads(self._uv(*words))
        return {row["name"]: row["version"] for row in listed if row["name"] in wanted}

    @abstractmethod
    def command(self, port: int, workload: Workload) -> Sequence[str]:
        """Arguments after the environment's Python."""

    def content_type(self, workload: Workload) -> str:
        return workload.content_type

    def workers(self, workload: Workload) -> int:
        """How many it needs to run as much at once as the workload says."""
        return workload.instances * (workload.capacity if self.takes_its_worker else 1)

    def start(self, workload: Workload) -> Target:
        if workload.name not in self.workloads:
            raise CannotServe(self.name, f"does not serve {workload.name}")
        port = free_port()
        url = f"http://127.0.0.1:{port}{self.path}"
        headers = {"Content-Type": self.content_type(workload)}
        target = Target(url=url, body=self.body(workload), headers=headers)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 lives as long as the server
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [str(self.python), *self.command(port, workload)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            cwd=SCORING,
            env=self._environ(workload),
            start_new_session=True,
        )
        wait_until_right(self.name, target, workload, self._complaint)
        self.cold_start_s = time.perf_counter() - begun
        return target

    def stop(self) -> None:
        processes.stop(self.processes())
        if self._process is not None:
            self._process.wait()
        if self._log is not None:
            self._log.close()

    def _environ(self, workload: Workload) -> dict[str, str]:
        own = {processes.MARK: self._mark, "BENCH_WORKLOAD": workload.name}
        own["BENCH_WORKERS"] = str(self.workers(workload))
        paths = {"PYTHONPATH": f"{SCORING}:{APPS}", "PATH": f"{self.python.parent}:/usr/bin:/bin"}
        return os.environ | paths | self.environment | own

    def _complaint(self) -> str:
        """Why it ended, or empty while it runs."""
        if self._process is None or self._log is None or self._process.poll() is None:
            return ""
        self._log.seek(0)
        return f"ended with {self._process.returncode}: {self._log.read()[-1500:].decode()}"

    def _uv(self, *words: str) -> str:
        done = subprocess.run(
            [uv.find_uv_bin(), *words], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise CannotServe(self.name, f"uv {words[0]} failed: {done.stderr.strip()[-600:]}")
        return done.stdout


def wait_until_right(
    server: str, target: Target, workload: Workload, complaint: Any = lambda: ""
) -> None:
    """Ask until the answer is 200 and right. Raises CannotServe."""
    bound = time.perf_counter() + START_BOUND_S
    last = "no connection"
    while time.perf_counter() < bound:
        if why := complaint():
            raise CannotServe(server, why)
        try:
            answer = ask(target)
        except (urllib.error.URLError, OSError) as error:
            said = error.read()[:200] if isinstance(error, urllib.error.HTTPError) else b""
            last = f"{error} {said!r}"
            time.sleep(_POLL_S)
            continue
        if workload.is_right(answer):
            return
        raise CannotServe(server, f"wrong answer to {workload.name}: {answer[:200]!r}")
    raise CannotServe(server, f"not ready after {START_BOUND_S:.0f} s: {last}")


def ask(target: Target) -> bytes:
    """One request. Raises urllib.error.URLError, HTTPError included."""
    request = urllib.request.Request(target.url, target.body, target.headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()  # type: ignore[no-any-return]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def installed(*packages: str) -> dict[str, str]:
    """Versions in our own environment."""
    return {package: importlib.metadata.version(package) for package in packages}
