"""A whole platform in a temporary home: real processes, driven by the command a user has."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

HEADRACE = Path(sys.executable).with_name("headrace")
COMMAND_BOUND_S = 240  # longer than any single command takes, shorter than a hung test run


class CommandFailed(AssertionError):
    """A command did not exit as the test expected; carries all it printed."""

    def __init__(self, done: subprocess.CompletedProcess[str], expected: int) -> None:
        super().__init__(
            f"{' '.join(map(str, done.args))} exited {done.returncode}, expected {expected}\n"
            f"stdout: {done.stdout[-3000:]}\nstderr: {done.stderr[-3000:]}"
        )


class Platform:
    """One `headrace up` of its own: home, ports and processes are this test's alone."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.command: tuple[str, ...] = (str(HEADRACE),)

    def run(self, *args: str, code: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command with this home; raises CommandFailed on another exit code than asked.

        None takes any.
        """
        done = subprocess.run(
            [*self.command, *args],
            capture_output=True,
            text=True,
            timeout=COMMAND_BOUND_S,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"HEADRACE_HOME": str(self.home)} | env,
            check=False,
        )
        if code is not None and done.returncode != code:
            raise CommandFailed(done, code)
        return done

    def json(self, *args: str) -> Any:
        """What the command prints with `-o json`."""
        return json.loads(self.run(*args, "-o", "json").stdout)

    def up(self) -> None:
        ports = ("--control-port", "--ingress-port", "--http-port", "--console-port", "--nats-port")
        self.run("up", "--detach", *(word for port in ports for word in (port, "0")))

    def down(self) -> None:
        self.run("down")

    def status(self) -> dict[str, Any]:
        return dict(self.json("status"))

    def url(self, endpoint: str, path: str = "/score") -> str:
        """The endpoint's URL on the loopback port."""
        return f"{self.status()['http_url']}/endpoints/{endpoint}{path}"

    @contextmanager
    def connection(self) -> Iterator[HTTPConnection]:
        """A plain connection to the ingress' loopback port."""
        parts = urlsplit(self.status()["http_url"])
        with closing(HTTPConnection(parts.hostname or "", parts.port, timeout=60)) as made:
            yield made

    def key(self, endpoint: str) -> str:
        return self.run("key", endpoint).stdout.strip()

    def processes(self) -> list[psutil.Process]:
        """Every live process that bears this home in its environment or arguments."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def pids(self, *words: str) -> list[int]:
        """Processes of ours whose command line holds all of these words."""
        return [p.pid for p in self.processes() if all(w in _cmdline(p) for w in words)]

    def scorers(self, endpoint: str = "", deployment: str = "") -> dict[str, int]:
        """Pid of each live scorer by instance id."""
        records = [one for p in self.home.glob("instances/*/launch.json") if (one := _read(p))]
        wanted = {
            one["iid"]
            for one in records
            if endpoint in ("", one["endpoint"]) and deployment in ("", one["deployment"])
        }
        found = {}
        for process in self.processes():
            words = _cmdline(process).split()
            if "headrace_scorer" in words and "--iid" in words:
                found[words[words.index("--iid") + 1]] = process.pid
        return {iid: pid for iid, pid in found.items() if iid in wanted}

    def _owns(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                return False
            home = str(self.home)
            return home in process.environ().values() or home in _cmdline(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


def _read(file: Path) -> dict[str, Any] | None:
    """A record that may be removed, or be half written, while we look."""
    try:
        return dict(json.loads(file.read_text()))
    except (FileNotFoundError, ValueError):
        return None


def _cmdline(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def started(home: Path) -> Iterator[Platform]:
    """A platform that is up; taken down, and checked to leave no process, afterwards."""
    platform = Platform(home)
    platform.up()
    try:
        yield platform
    finally:
        platform.down()
    assert [_cmdline(p) for p in platform.processes()] == []


def until(condition: Callable[[], Any], what: str, bound_s: float = 30.0) -> Any:
    """Wait for a condition of the world outside; the bound only ends a failed test."""
    end = time.monotonic() + bound_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {bound_s} s for {what}")
        time.sleep(0.02)
    return value


async def until_async(condition: Callable[[], Any], what: str, bound_s: float = 30.0) -> Any:
    """`until` for a test that has a load running on its loop."""
    end = time.monotonic() + bound_s
    while not (value := await asyncio.to_thread(condition)):
        if time.monotonic() > end:
            raise AssertionError(f"waited {bound_s} s for {what}")
        await asyncio.sleep(0.02)
    return value
