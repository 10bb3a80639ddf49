"""Instances as processes of this machine, each in a session of its own.

An instance outlives the control process that started it: it holds no pipe of its parent, writes to
files, and is found again by its record. With this compute the user's code runs as our user.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import structlog

from headrace_api.errors import InvalidInput
from headrace_api.home import ENVIRONMENT_VARIABLE, Home
from headrace_api.machine import kill_marked
from headrace_bus.wire.launch import Launch
from headrace_scaler.compute import processes
from headrace_scaler.compute.folder import PROCESS_LOG, InstanceFolder, InstanceRecord
from headrace_scaler.compute.port import LOG_LINES_DEFAULT, STOP_BOUND_S, Container, Running
from headrace_scaler.compute.processes import ProcessId
from headrace_scaler.errors import InstanceUnknown, LaunchFailed, UnreadableInstance
from headrace_telemetry.clock import unix_ms
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

KEPT_ENDED: Final = 5  # instances of a deployment whose logs stay after their end
# Everything else of our environment stays with us. The package tools' settings are needed where
# environments are built; they may hold an index address, so the scorer hands them to no worker.
_INHERITED: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TMPDIR|XDG_CACHE_HOME|XDG_DATA_HOME|LD_LIBRARY_PATH"
    r"|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|(?i:https?|no)_(?i:proxy)"
    r"|UV_\w+|PIP_\w+|PYENV_ROOT|HEADRACE_LOG_LEVEL"
)
_POLL_S: Final = 0.1


class ProcessCompute:
    """See the port. One object a home; `close` leaves the instances running."""

    def __init__(
        self,
        home: Home,
        *,
        on_exit: Callable[[str], None] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "headrace_scorer"),
        stop_bound_s: float = STOP_BOUND_S,
    ) -> None:
        """`on_exit(iid)` is called on the loop as soon as a listed instance has ended."""
        self._home = home
        self._on_exit = on_exit
        self._command = tuple(command)
        self._stop_bound_s = stop_bound_s
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._watched: dict[str, int] = {}
        self._starting: set[str] = set()
        self._begun: set[asyncio.Task[None]] = set()
        self._stopping: set[str] = set()
        self._unreadable: set[str] = set()
        self._tasks = Tasks("compute")

    async def start(self, launch: Launch, credentials: str) -> None:
        folder = InstanceFolder(self._home.instances, launch.iid)
        record = folder.create(launch, credentials, unix_ms())
        self._starting.add(launch.iid)
        begun = asyncio.create_task(self._begin(folder, record), name=f"compute:start {launch.iid}")
        self._begun.add(begun)
        begun.add_done_callback(self._begun.discard)
        # A process that is started is written down, whether or not the caller still waits.
        await asyncio.shield(begun)

    async def _begin(self, folder: InstanceFolder, record: InstanceRecord) -> None:
        try:
            child = await asyncio.to_thread(self._spawn, folder)
        except OSError as error:
            folder.remove()
            raise LaunchFailed(folder.iid, str(error)) from error
        finally:
            self._starting.discard(folder.iid)
        self._children[folder.iid] = child
        found = processes.identify(child.pid)
        started = found.started if found is not None else "ended"
        folder.write(replace(record, pid=child.pid, started=started))
        self._watch(folder.iid, child.pid)
        log.info("instance started", iid=folder.iid, pid=child.pid)

    async def stop(self, iid: str) -> None:
        folder, record = self._require(iid)
        if not record.stop_ms:
            record = replace(record, stop_ms=unix_ms())
            folder.write(record)
            record.process.send(signal.SIGTERM)
        if iid not in self._stopping:
            self._stopping.add(iid)
            self._tasks.start(self._end_within(record), f"stop {iid}")

    async def kill(self, iid: str) -> None:
        _, record = self._require(iid)
        _kill(record, self._home)

    async def list(self) -> tuple[Running, ...]:
        for child in self._children.values():
            child.poll()  # reaps: no zombie stays, whoever wrote its end down
        found = [
            self._look(folder, record) for folder, record in self._records() if not record.forgotten
        ]
        return tuple(found)

    async def forget(self, iid: str) -> None:
        folder = InstanceFolder(self._home.instances, iid)
        record = self._read(folder)
        if record is None or self._alive(record):
            return
        self._unwatch(iid)
        self._children.pop(iid, None)
        folder.forget(record)
        ended = self._of(record.endpoint, record.deployment, forgotten=True)
        for old, _ in ended[KEPT_ENDED:]:
            old.remove()

    async def erase(self, endpoint: str, deployment: str) -> None:
        for folder, _ in self._of(endpoint, deployment, forgotten=True):
            await asyncio.to_thread(folder.remove)

    async def logs(
        self,
        endpoint: str,
        deployment: str,
        *,
        container: str = Container.INFERENCE_SERVER,
        tail: int = LOG_LINES_DEFAULT,
        iid: str = "",
    ) -> str:
        wanted = _container(container)
        candidates = self._of(endpoint, deployment)
        if iid:
            candidates = [pair for pair in candidates if pair[0].iid == iid]
            if not candidates:
                raise InstanceUnknown(iid)
        if not candidates:
            return ""
        folder = next((one for one, record in candidates if record.process.alive()), None)
        return await asyncio.to_thread((folder or candidates[0][0]).tail, wanted, tail)

    async def close(self) -> None:
        """Stop watching; what runs goes on. Starts that have begun are written down first."""
        await asyncio.gather(*self._begun, return_exceptions=True)
        await self._tasks.stop()
        for iid in tuple(self._watched):
            self._unwatch(iid)
        for child in self._children.values():
            if child.poll() is None:
                child.returncode = 0  # not ours to wait for any more: the next owner adopts it
        self._children.clear()

    def _spawn(self, folder: InstanceFolder) -> subprocess.Popen[bytes]:
        arguments = [*self._command, "--home", str(self._home.root), "--iid", folder.iid]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        output = os.open(folder.path / PROCESS_LOG, flags, 0o600)
        try:
            return subprocess.Popen(
                arguments,
                cwd=folder.path,
                env=instance_environment(self._home),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(output)

    def _records(self) -> Iterator[tuple[InstanceFolder, InstanceRecord]]:
        for folder in InstanceFolder.all(self._home.instances):
            record = self._read(folder)
            if record is not None:
                yield folder, record

    def _read(self, folder: InstanceFolder) -> InstanceRecord | None:
        """The record, written anew where it cannot be read: its process must not become an orphan.

        None where there is none, and where nothing says whose instance it is.
        """
        try:
            return folder.read()
        except UnreadableInstance as error:
            problem = error
        try:
            record = folder.recover()
        except UnreadableInstance as error:
            problem = error
            record = None
        if record is None:
            if folder.iid not in self._unreadable:
                self._unreadable.add(folder.iid)
                log.error("an instance's folder cannot be read", iid=folder.iid, error=str(problem))
            return None
        log.warning("an instance's record is written anew", iid=folder.iid, error=str(problem))
        folder.write(record)
        return record

    def _look(self, folder: InstanceFolder, record: InstanceRecord) -> Running:
        if record.iid in self._starting:
            return record.running(alive=True)
        if not record.ended_ms:
            record = self._checked(folder, record)
        if not record.ended_ms:
            self._watch(record.iid, record.pid)
        return record.running(alive=not record.ended_ms)

    def _checked(self, folder: InstanceFolder, record: InstanceRecord) -> InstanceRecord:
        """Hold the record against the system, and write down what has changed."""
        if not record.pid and (found := self._search(record.iid)) is not None:
            record = replace(record, pid=found.pid, started=found.started)
            folder.write(record)
        if self._alive(record):
            return record
        child = self._children.get(record.iid)
        exit_code = child.returncode if child is not None else None
        # Workers whose scorer died must not go on: their session ends with it.
        if record.pid:
            _kill(record, self._home)
        record = replace(record, ended_ms=unix_ms(), exit_code=exit_code)
        folder.write(record)
        log.info("instance ended", iid=record.iid, pid=record.pid, exit_code=exit_code)
        return record

    def _alive(self, record: InstanceRecord) -> bool:
        """A child of ours lives until its exit code is there: it tells why it ended."""
        child = self._children.get(record.iid)
        return record.process.alive() if child is None else child.poll() is None

    def _search(self, iid: str) -> ProcessId | None:
        """The process of a record that was written before its pid was known."""
        return next(iter(processes.find("--home", str(self._home.root), "--iid", iid)), None)

    def _of(
        self, endpoint: str, deployment: str, *, forgotten: bool = False
    ) -> Sequence[tuple[InstanceFolder, InstanceRecord]]:
        """Instances of one deployment, newest first; the forgotten alone when asked."""
        found = [
            (folder, record)
            for folder, record in self._records()
            if (record.endpoint, record.deployment) == (endpoint, deployment)
            and (record.forgotten or not forgotten)
        ]
        return sorted(found, key=lambda pair: pair[1].created_ms, reverse=True)

    def _require(self, iid: str) -> tuple[InstanceFolder, InstanceRecord]:
        folder = InstanceFolder(self._home.instances, iid)
        record = self._read(folder)
        if record is None:
            raise InstanceUnknown(iid)
        return folder, record

    async def _end_within(self, record: InstanceRecord) -> None:
        passed_s = (unix_ms() - record.stop_ms) / 1000
        try:
            async with asyncio.timeout(max(0.0, self._stop_bound_s - passed_s)):
                # Perhaps not our child, so there is nothing to await.
                while record.process.alive():  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            log.warning("instance did not drain in time", iid=record.iid)
        finally:
            self._stopping.discard(record.iid)
        _kill(record, self._home)

    def _watch(self, iid: str, pid: int) -> None:
        """Hear of the end at once where the system can tell; `list` finds it elsewhere."""
        if self._on_exit is None or iid in self._watched or not hasattr(os, "pidfd_open"):
            return
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            self._watched[iid] = descriptor
            asyncio.get_running_loop().add_reader(descriptor, self._ended, iid)

    def _unwatch(self, iid: str) -> None:
        descriptor = self._watched.pop(iid, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def _ended(self, iid: str) -> None:
        self._unwatch(iid)
        if self._on_exit is not None:
            self._on_exit(iid)


def _kill(record: InstanceRecord, home: Home) -> None:
    """Kill an instance with what its workers started, in whatever session."""
    processes.kill_session(record.process, home.root)
    kill_marked(home.instances / record.iid)


def _container(name: str) -> Container:
    try:
        return Container(name)
    except ValueError:
        allowed = ", ".join(Container)
        raise InvalidInput(f"there is no log {name!r}: use {allowed}", target="container") from None


def instance_environment(home: Home, gpus: Sequence[int] = ()) -> dict[str, str]:
    """The environment of a scorer: what programs need to run at all, and the home."""
    clean = {name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}
    clean[ENVIRONMENT_VARIABLE] = str(home.root)
    clean["PYTHONUNBUFFERED"] = "1"
    if gpus:
        clean["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    return clean
