"""What the demo shows, step by step; each step asserts what its tick says."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Callable

import psutil

from headrace.demo.commands import Commands
from headrace.demo.logs import named_request
from headrace.demo.project import WITH_BUILD, WITHOUT_BUILD, Project, prepare, pretty
from headrace.demo.ticks import DemoFailed, Ticks
from headrace.demo.traffic import Caller
from headrace_api.home import Home
from headrace_scaler.compute.folder import InstanceFolder

ENDPOINT = "demo-houses"  # README's first endpoint is `houses`
REQUESTS = 500
MIRROR_PERCENT = 20
REPLACED_BOUND_S = 30.0
_PORTS = ("--control-port", "--ingress-port", "--http-port", "--console-port")


class Scenario:
    """One run of the demo on one home."""

    def __init__(self, home: Home, commands: Commands, ticks: Ticks, *, build: bool) -> None:
        self._home = home
        self._commands = commands
        self._ticks = ticks
        self._build = build
        self.example = WITH_BUILD if build else WITHOUT_BUILD
        self.started_platform = False
        self.url = ""

    def run(self) -> None:
        """Raises DemoFailed or CommandFailed at the first promise that does not hold."""
        self._platform()
        project = self._project()
        caller = self._blue(project)
        self._green(project, caller)
        self._split(caller)
        self._kill(caller)
        self._logs(caller)

    def clean(self) -> None:
        """Remove what carries the demo's tag, and nothing else."""
        for endpoint in self._commands.json("online-endpoint", "list"):
            if (endpoint.get("tags") or {}).get("demo") == "1":
                self._commands.run("online-endpoint", "delete", "-n", endpoint["name"], "-y")

    def down(self) -> None:
        if self.started_platform:
            self._commands.run("down")

    def _platform(self) -> None:
        note = "already up"
        if not self._commands.works("status"):
            note = "started for this demo, stops with it"
            self.started_platform = True
            if not self._commands.works("up", "--detach"):
                zeros = (word for port in _PORTS for word in (port, "0"))
                self._commands.run("up", "--detach", *zeros)
        status = self._commands.json("status")
        self.url = f"{status['http_url']}/endpoints/{ENDPOINT}/score"
        self._ticks.tick("platform running", note)
        self.clean()  # what a demo that was killed left behind

    def _project(self) -> Project:
        project = prepare(self.example, self._home.root / "demo" / self.example)
        if self._build:
            self._train(project)
        return project

    def _train(self, project: Project) -> None:
        from headrace.demo.training import train  # brings the environment builder

        begun = time.monotonic()
        models = train(project, self._home)
        took = time.monotonic() - begun
        self._ticks.tick("environment built with uv, two models trained", f"{models}  {took:.1f} s")

    def _blue(self, project: Project) -> Caller:
        self._timed("endpoint  " + ENDPOINT, self._endpoint, project)
        self._timed("deployment blue, 2 instances", self._deploy, project, "blue", 2)
        key = self._commands.run("key", ENDPOINT).strip()
        caller = Caller(self.url, key, project.request.read_bytes())
        first = caller.once()
        self._ticks.require(first.status == 200, "the first request is answered", first)
        since = time.monotonic() - self._ticks.begun
        self._ticks.tick(
            f"first answer  {pretty(first.body)}",
            f"200 in {1000 * first.seconds:.1f} ms, {since:.1f} s after the start",
        )
        report = caller.many(REQUESTS)
        self._ticks.require(not report.errors, "every request is answered", report.errors[:3])
        p50, p99 = report.quantile_ms(0.5), report.quantile_ms(0.99)
        self._ticks.tick(f"{REQUESTS} requests", f"p50 {p50:.1f} ms  p99 {p99:.1f} ms  0 errors")
        return caller

    def _green(self, project: Project, caller: Caller) -> None:
        self._timed("deployment green, no traffic yet", self._deploy, project, "green", 1)
        blue, green = caller.once("blue"), caller.once("green")
        self._ticks.require(
            (blue.status, green.status) == (200, 200) and blue.body != green.body,
            "both deployments answer, each with its own model",
            (blue, green),
        )
        self._update("--mirror-traffic", f"green={MIRROR_PERCENT}")
        sent, dropped = self._mirrored()
        report = caller.many(REQUESTS)
        after = self._mirrored()
        sent, dropped = after[0] - sent, after[1] - dropped
        expected = REQUESTS * MIRROR_PERCENT // 100
        self._ticks.require(
            abs(sent + dropped - expected) <= 1 and set(report.bodies) == {blue.body},
            f"{expected} requests are copied to green and no caller sees green",
            (sent, dropped, report.bodies, report.errors[:3]),
        )
        behind = f" ({dropped} dropped, green was behind)" if dropped else ""
        self._ticks.tick(
            f"green mirrors {MIRROR_PERCENT} %", f"{sent} copies{behind}, 0 seen by callers"
        )

    def _split(self, caller: Caller) -> None:
        blue, green = caller.once("blue").body, caller.once("green").body
        self._update("--mirror-traffic", "green=0", "--traffic", "blue=90 green=10")
        report = caller.many(REQUESTS)
        seen = (report.bodies[blue], report.bodies[green])
        self._ticks.require(
            seen == (REQUESTS * 9 // 10, REQUESTS // 10),
            "traffic splits 90 to 10",
            (seen, report.errors[:3]),
        )
        self._ticks.tick("traffic blue 90 / green 10", f"sent {seen[0]} / {seen[1]} exactly")

    def _kill(self, caller: Caller) -> None:
        replaced_s = 0.0

        def kill_and_wait() -> None:
            nonlocal replaced_s
            replaced_s = self._kill_one("blue")

        report = caller.during(kill_and_wait)
        self._ticks.require(
            not report.errors, "a killed instance fails no request", report.errors[:3]
        )
        sent = len(report.seconds)
        self._ticks.tick(
            "killed an instance of blue under load",
            f"0 errors in {sent} requests, replaced in {replaced_s:.1f} s",
        )

    def _kill_one(self, deployment: str) -> float:
        """Kill -9 one instance; seconds until another one is ready in its place."""
        before = self._instances(deployment)
        self._ticks.require(len(before) == 2, "blue has two instances", before)
        iid, pid = next(iter(before.items()))
        begun = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        while time.monotonic() - begun < REPLACED_BOUND_S:
            now = self._instances(deployment)
            if iid not in now and len(now) == 2 and self._ready(deployment) == 2:
                return time.monotonic() - begun
            time.sleep(0.05)
        raise DemoFailed("a killed instance is replaced", f"not within {REPLACED_BOUND_S:.0f} s")

    def _instances(self, deployment: str) -> dict[str, int]:
        """Pid of each live instance of the demo's endpoint."""
        records = (folder.read() for folder in InstanceFolder.all(self._home.instances))
        return {
            record.iid: record.pid
            for record in records
            if record is not None
            and (record.endpoint, record.deployment) == (ENDPOINT, deployment)
            and _alive(record.pid)
        }

    def _ready(self, deployment: str) -> int:
        """Ready instances as the ingress sees them."""
        labels = f'endpoint="{ENDPOINT}",deployment="{deployment}",lane="online"'
        return int(self._metric(f"headrace_visible_instances{{{labels}}}"))

    def _mirrored(self) -> tuple[int, int]:
        """Copies sent to shadows, and copies dropped because the shadow was behind."""
        sent, dropped = "headrace_mirror_sent_total", "headrace_mirror_dropped_total"
        return int(self._metric(sent)), int(self._metric(dropped))

    def _metric(self, name: str) -> float:
        """Sum of all samples whose line begins with the name."""
        base = self.url.split("/endpoints/")[0]
        with urllib.request.urlopen(f"{base}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def _logs(self, caller: Caller) -> None:
        line = named_request(
            self._commands, caller, self._ticks, endpoint=ENDPOINT, deployment="blue"
        )
        self._ticks.tick("its log names each request", line.partition(" - ")[2])

    def _endpoint(self, project: Project) -> None:
        words = ("online-endpoint", "create", "-n", ENDPOINT, "-f", str(project.endpoint))
        self._commands.run(*words, "--set", "tags.demo=1")

    def _deploy(self, project: Project, name: str, instances: int) -> None:
        file = project.deployment(name, instances)
        words = ("online-deployment", "create", "-e", ENDPOINT, "-n", name, "-f", str(file))
        self._commands.run(*words, *(("--all-traffic",) if name == "blue" else ()))

    def _update(self, *words: str) -> None:
        self._commands.run("online-endpoint", "update", "-n", ENDPOINT, *words)

    def _timed(self, label: str, work: Callable[..., None], *args: object) -> None:
        begun = time.monotonic()
        work(*args)
        self._ticks.tick(label, f"{time.monotonic() - begun:.1f} s")


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
