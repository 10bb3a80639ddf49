"""The services a supervisor keeps alive beside NATS: how each is started, found again and ended.

A service is found by its own arguments, which name the home and its ports, so nothing that a crash
could leave stale has to be believed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headrace.platform import probe
from headrace_api.home import ENVIRONMENT_VARIABLE, Home
from headrace_scaler.compute import processes
from headrace_scaler.compute.processes import ProcessId

SERVICES: Final = ("control", "ingress", "router")
STOP_BOUND_S: Final = 40.0  # a drain of 30 s, 5 s for the workers of a scorer, and a margin
# By default glibc gives a freed megabyte back at once, and the next one costs a fault a page: the
# ingress keeps up to 32 MiB of what it freed. Blocks from 16 MiB on still go back.
KEEPS_MEMORY: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(16 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 1024 * 1024),
}
_POLL_S: Final = 0.02
_TAIL_LINES: Final = 12


def arguments(service: str, home: Home) -> tuple[str, ...]:
    """What tells a service of this home from any other process."""
    return ("-m", "headrace", "run", service, "--home", str(home.root))


@dataclass(slots=True, kw_only=True)
class ServiceProcess:
    """One process under supervision: a child of ours, or adopted from a killed supervisor."""

    name: str
    home: Home
    flags: dict[str, str]
    """The rest of its command line."""
    probe_port: int
    tls: bool
    environment: dict[str, str] = field(default_factory=dict)
    process: ProcessId | None = None
    adopted: bool = False
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _spoke_from: int = 0
    """Where this life's words begin in the log, which goes on over many."""

    @property
    def log(self) -> Path:
        return self.home.run / f"{self.name}.log"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.flags['--port']}"

    def spawn(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches the supervisor alone."""
        rest = [word for pair in self.flags.items() for word in pair]
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._spoke_from = os.fstat(output).st_size
        try:
            self._child = subprocess.Popen(
                [sys.executable, *arguments(self.name, self.home), *rest],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={
                    **KEEPS_MEMORY,
                    **os.environ,
                    ENVIRONMENT_VARIABLE: str(self.home.root),
                    **self.environment,
                },
            )
        finally:
            os.close(output)
        self.adopted = False
        self.process = processes.identify(self._child.pid)

    def alive(self) -> bool:
        if self._child is not None:
            self._child.poll()  # reaps
        return self.process is not None and self.process.alive()

    async def answers(self) -> bool:
        return await probe.ready(self.probe_port, ca=self.home.ca if self.tls else None)

    async def until_ready(self) -> bool:
        """Wait until it answers; False when it ended before."""
        while not await self.answers():
            if not self.alive():
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def gone(self) -> None:
        """Wait until it has ended."""
        if self.process is not None:
            await gone(self.process)
        self.alive()

    def words(self) -> str:
        """What it said last in this life, for a message: its error if it told one."""
        try:
            lines = self.log.read_bytes()[self._spoke_from :].decode(errors="replace").splitlines()
        except OSError:
            return ""
        told = [at for at, line in enumerate(lines) if line.startswith("error: ")]
        lines = lines[told[-1] :] if told else lines
        return "\n".join(lines[-_TAIL_LINES:])


def found(service: str, home: Home) -> list[ProcessId]:
    """Live services of this kind and home, whoever started them."""
    return processes.find(*arguments(service, home))


def flag_of(process: ProcessId, flag: str) -> str:
    """The value a service was started with; empty when it has no such flag."""
    words = processes.arguments(process.pid)
    return words[words.index(flag) + 1] if flag in words[:-1] else ""


async def end(targets: list[ProcessId], hurry: asyncio.Event, bound_s: float = STOP_BOUND_S) -> int:
    """SIGTERM, wait, and kill what is left with its session. Returns how many had to be killed."""
    for one in targets:
        one.send(signal.SIGTERM)
    waiting = asyncio.gather(*(gone(one) for one in targets))
    hurried = asyncio.create_task(hurry.wait(), name="hurry")
    both: set[asyncio.Future[Any]] = {waiting, hurried}
    await asyncio.wait(both, timeout=bound_s, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    left = [one for one in targets if one.alive()]
    for one in left:
        one.send(signal.SIGCONT)
        one.send(signal.SIGKILL)
    await waiting
    return len(left)


async def gone(process: ProcessId) -> None:
    """Wait until a process has ended, child or not."""
    if not hasattr(os, "pidfd_open"):
        while process.alive():  # noqa: ASYNC110  # this system tells nobody of a stranger's end
            await asyncio.sleep(_POLL_S)
        return
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if not process.alive():
            return
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)
