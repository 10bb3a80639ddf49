"""The platform under test: home, NATS behind proxies, endpoint, and its processes by kind."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import psutil

from chaos.cutting_proxy import Switch, Tamper
from chaos.history import History
from chaos.nats_nodes import NatsNodes
from chaos.plan import Target
from chaos.wrong_clock import FAKETIME, MISSING, WrongClock
from headrace_api.home import Home
from support.deploy import Workbench
from support.platform import CommandFailed, Platform

ENDPOINT: Final = "chaos"
INSTANCES: Final = 2
AT_ONCE: Final = "max_concurrent_requests_per_instance"
# What comes in while the longest fault holds and until all is back is no overload, and finds a
# slot. All other limits are the product's own: 5 s for `run`, 0.5 s in the queue.
ROOM: Final = {AT_ONCE: 250}
WHOLE_S: Final = 45.0  # a lease's 15 s, a start, and a margin on a busy machine
TMPFS_MB: Final = 256
PORTS: Final = ("--control-port", "--ingress-port", "--http-port", "--console-port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run is set up."""

    folder: Path
    nodes: int = 1
    limits: Mapping[str, int] = field(default_factory=lambda: ROOM)
    """The deployment's `request_settings`; what is not there has the product's default."""
    tamper: Tamper = Tamper.NOTHING


class Rig:
    """Use as a context; everything is ended and checked for orphans afterwards."""

    def __init__(self, options: Options, history: History) -> None:
        self.options = options
        self.history = history
        self.switch = Switch(options.tamper)
        self.platform = Platform(options.folder / "home")
        self._starter = Platform(self.platform.home)
        """What it starts has the clock of the run; other commands have the right time."""
        self.key = ""
        self.url = ""
        self.skipped: dict[str, str] = {}
        self._stack = AsyncExitStack()
        self._clock = WrongClock(options.folder)
        self._ports: tuple[str, ...] = ()
        self.nats: NatsNodes

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def command(self, *words: str, code: int = 0) -> str:
        """What one headrace command prints. Raises CommandFailed."""
        done = await asyncio.to_thread(self.platform.run, *words, code=code)
        return done.stdout

    async def up(self) -> None:
        """Also after a kill of the supervisor: what still runs is adopted."""
        words = ("up", "--detach", *self._ports, "--nats", self.nats.url)
        await asyncio.to_thread(self._starter.run, *words)

    def pids(self, target: Target) -> list[int]:
        """Live processes of a kind."""
        match target:
            case Target.SCORER:
                return sorted(self.platform.scorers(ENDPOINT).values())
            case Target.WORKER:
                return sorted(
                    child.pid
                    for pid in self.platform.scorers(ENDPOINT).values()
                    for child in _children(pid)
                )
            case Target.NATS:
                return self.nats.pids
            case Target.SUPERVISOR:
                return self.platform.pids(" headrace up --home")
        return self.platform.pids(f" headrace run {target} --home")

    def clients(self, target: Target) -> list[str]:
        """Names of a kind's connections to NATS."""
        begins = {Target.SCORER: "inst:", Target.INGRESS: "ingress", Target.CONTROL: "control"}
        return sorted(one for one in self.switch.names if one.startswith(begins[target]))

    async def whole(self) -> str:
        """Wait until everything runs and answers; what is missing after WHOLE_S, or nothing."""
        end = time.monotonic() + WHOLE_S
        while missing := await asyncio.to_thread(self._missing):
            if time.monotonic() > end:
                break
            await asyncio.sleep(0.1)
        return missing

    def serving(self) -> int:
        """Instances that the ingress sees ready; -1 when it does not answer."""
        return int(_metric(self.url, "headrace_visible_instances"))

    async def shift_clock(self, seconds: int) -> None:
        await asyncio.to_thread(self._clock.shift, seconds)

    async def update(self, version: int) -> None:
        """A rolling update of the deployment."""
        bench = Workbench(self.platform, self.options.folder / "work")
        file = self._deployment(bench, {"VERSION": str(version)})
        await self.command("online-deployment", "update", "-f", str(file))

    def _missing(self) -> str:
        counts = {
            target: len(self.pids(target))
            for target in (Target.INGRESS, Target.CONTROL, Target.SUPERVISOR)
        }
        if wrong := [str(target) for target, count in counts.items() if count != 1]:
            return f"not exactly one process: {', '.join(wrong)}"
        try:
            if self.platform.status()["state"] != "running":
                return "a part that answers"
            found = self.platform.json("online-deployment", "show", "-n", "blue", "-e", ENDPOINT)
            audited = self.platform.json("audit")
        except (CommandFailed, subprocess.TimeoutExpired) as error:
            return str(error)[-300:]
        if found["provisioning_state"] != "Succeeded":
            return f"a deployment that is {found['provisioning_state']}"
        if not audited["balanced"]:
            return f"books that balance: {audited}"
        return self._missing_instances()

    def _missing_instances(self) -> str:
        ready = self.serving()
        scorers = len(self.pids(Target.SCORER))
        if ready != INSTANCES or scorers != INSTANCES:
            return f"instances: {scorers} run, the ingress sees {ready} ready"
        return ""

    async def _start(self) -> None:
        home = self.platform.home
        home.mkdir(parents=True, exist_ok=True)
        self._mount(home)
        self._fake_clock()
        nodes = NatsNodes(Home(home), self.options.nodes, self.switch)
        self.nats = await self._stack.enter_async_context(nodes)
        self._ports = tuple(word for port in PORTS for word in (port, "0"))
        await self.up()
        bench = Workbench(self.platform, self.options.folder / "work")
        await asyncio.to_thread(self._deploy, bench)
        self.url = await asyncio.to_thread(self.platform.url, ENDPOINT)
        self.key = await asyncio.to_thread(self.platform.key, ENDPOINT)
        if missing := await self.whole():
            raise RuntimeError(f"the platform never became whole: {missing}")

    def _deploy(self, bench: Workbench) -> None:
        bench.endpoint(ENDPOINT)
        file = self._deployment(bench, {"VERSION": "1"})
        self.platform.run("online-deployment", "create", "-f", str(file), "--all-traffic")

    def _deployment(self, bench: Workbench, variables: dict[str, str]) -> Path:
        return bench.deployment_file(
            ENDPOINT,
            "blue",
            "patient",
            instance_count=INSTANCES,
            request_settings=dict(self.options.limits),
            environment_variables=variables,
        )

    def _mount(self, home: Path) -> None:
        """A small disk of its own, so that it can be filled without harm to others."""
        if os.geteuid() != 0:
            self.skipped["fill"] = "only root can mount a small tmpfs under the home"
            return
        size = f"size={TMPFS_MB}m"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "chaos", str(home)],
            check=False,
            text=True,
            capture_output=True,
        )
        if done.returncode:
            self.skipped["fill"] = f"no tmpfs: {done.stderr.strip()}"
            return
        self._stack.callback(subprocess.run, ["umount", "-l", str(home)], check=False)

    def _fake_clock(self) -> None:
        if not FAKETIME.exists():
            self.skipped["shift"] = MISSING
            return
        self._clock.make()
        self._starter.command = (str(self._clock.python), "-m", "headrace")

    async def _end(self) -> None:
        for target in Target.SUPERVISOR, Target.INGRESS, Target.CONTROL, Target.SCORER:
            for pid in self.pids(target):
                _wake(pid)
        try:
            await asyncio.to_thread(self.platform.down)
        except (CommandFailed, subprocess.TimeoutExpired) as error:
            self.history.rule(False, f"down failed: {str(error)[-300:]}")
        left = [p for p in self.platform.processes() if p.pid not in self._nodes()]
        self.history.rule(not left, f"processes outlived the platform: {_described(left)}")
        for process in left:
            _kill(process)
        await asyncio.to_thread(self._keep_logs)
        await self._stack.aclose()

    def _nodes(self) -> list[int]:
        return self.nats.pids if hasattr(self, "nats") else []

    def _keep_logs(self) -> None:
        """The home may lie on a disk that goes with the run."""
        source, kept = self.platform.home / "run", self.options.folder / "logs"
        source.mkdir(exist_ok=True)
        shutil.copytree(source, kept, dirs_exist_ok=True, ignore_dangling_symlinks=True)
        for log in self.platform.home.glob("instances/*/scorer.log"):
            shutil.copy(log, kept / f"{log.parent.name}.log")
        for log in self.platform.home.glob("nats/node*.log"):
            shutil.copy(log, kept / log.name)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def _metric(url: str, name: str) -> float:
    """The sum of a metric's samples at the ingress of this URL; -1 when it does not answer."""
    base = url.partition("/endpoints/")[0]
    try:
        with urllib.request.urlopen(f"{base}/metrics", timeout=2) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return -1.0
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))


def _described(processes: list[psutil.Process]) -> str:
    return json.dumps([" ".join(p.cmdline())[-200:] for p in processes if p.is_running()])


def _wake(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
