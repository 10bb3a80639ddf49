"""One worker: its process, its two sockets and the frames on them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from headrace_api.machine import WORKER_VARIABLE, kill_marked
from headrace_bus.wire.launch import Probe
from headrace_scorer.execution import Execution
from headrace_scorer.liveness import Watch
from headrace_scorer.worker import frames, launcher
from headrace_telemetry.clock import monotonic

SOCKET_BUFFER_BYTES: Final = 1024 * 1024
CONSOLE_READ_BYTES: Final = 64 * 1024
LASTED_S: Final = 5.0
END_OF_DATA_S: Final = 0.5  # at most, between the death of a worker and the end of its socket


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """How workers of this instance are started."""

    interpreter: str
    environment: Mapping[str, str]
    folder: Path
    """Working directory: the app root."""
    mark: Path
    """The instance's folder: what workers start is known by it, in whatever session."""


class Owner(Protocol):
    """Who hears of a worker; every call is on the event loop."""

    def worker_ready(self, worker: Worker) -> None: ...
    def worker_failed(self, worker: Worker, report: dict[str, Any]) -> None: ...
    def worker_ended(self, worker: Worker) -> None: ...
    def answered(self, worker: Worker, execution: Execution, kind: int, payload: bytes) -> None: ...
    def recalled(self, worker: Worker, execution: Execution) -> None: ...


class _Reader(asyncio.Protocol):
    """Frames of one socket to a callback; broken bytes end the worker."""

    def __init__(
        self,
        take: Callable[[int, int, bytes], None],
        broken: Callable[[], None],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._decoder = frames.Decoder()
        self._take = take
        self._broken = broken
        self._lost = lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()

    def data_received(self, data: bytes) -> None:
        try:
            for kind, number, payload in self._decoder.feed(data):
                self._take(kind, number, payload)
        except frames.BrokenFrame:
            self._broken()


@dataclass(slots=True)
class _Sockets:
    data: asyncio.WriteTransport
    control: asyncio.WriteTransport
    descriptors: list[int] = field(default_factory=list)


class Worker:
    """A user process that has loaded, or is loading, the script."""

    def __init__(self, owner: Owner, console: Callable[[bytes], None]) -> None:
        self._owner = owner
        self._console = console
        self._sockets: _Sockets | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._mark: Path | None = None
        self._ended = asyncio.Event()
        self._data_ended = False
        self._out: list[bytes] = []
        self.executions: dict[int, Execution] = {}
        """In the order in which they were sent."""
        self.ready = False
        self.ready_at = 0.0
        self.has_answered = False
        self.asynchronous = False
        self.exclusive = False
        """Takes one suspect at a time and nothing else."""
        self.doomed = ""
        """Why it was killed by us; empty when it was not."""
        self.pong_at = self.started_at = monotonic()
        self.watch = Watch(self.started_at)
        self.exit_code: int | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def start(self, plan: WorkerPlan) -> None:
        """Start the process; the owner hears when it is ready. Raises OSError."""
        ours_data, theirs_data = socket.socketpair()
        ours_control, theirs_control = socket.socketpair()
        console_read, console_write = os.pipe()
        for one in (ours_data, theirs_data):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        try:
            self._process = self._spawn(plan, theirs_data, theirs_control, console_write)
        except OSError:
            for one in (ours_data, ours_control):
                one.close()
            os.close(console_read)
            raise
        finally:
            theirs_data.close()
            theirs_control.close()
            os.close(console_write)
        await self._connect(ours_data, ours_control, console_read)

    def _spawn(
        self, plan: WorkerPlan, data: socket.socket, control: socket.socket, console: int
    ) -> subprocess.Popen[bytes]:
        self._mark = plan.mark / secrets.token_hex(8)
        return subprocess.Popen(
            launcher.command(plan.interpreter, data.fileno(), control.fileno()),
            cwd=plan.folder,
            env={**plan.environment, WORKER_VARIABLE: str(self._mark)},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            pass_fds=(data.fileno(), control.fileno()),
            process_group=0,  # so that what the script forks ends with it
        )

    async def _connect(self, data: socket.socket, control: socket.socket, console: int) -> None:
        loop = asyncio.get_running_loop()
        for one in (data, control):
            one.setblocking(False)
        os.set_blocking(console, False)
        data_transport, _ = await loop.create_unix_connection(
            lambda: _Reader(self._on_data, self._broken, self._data_end), sock=data
        )
        control_transport, _ = await loop.create_unix_connection(
            lambda: _Reader(self._on_control, self._broken), sock=control
        )
        descriptor = os.pidfd_open(self.pid)
        loop.add_reader(console, self._on_console, console)
        loop.add_reader(descriptor, self._on_exit)
        self._sockets = _Sockets(data_transport, control_transport, [console, descriptor])

    def send(self, execution: Execution) -> None:
        """Hand a request over; it starts when those before it are done.

        All of one turn of the loop leave in one write.
        """
        frame = frames.encode_call(execution.number, execution.request.head, execution.request.body)
        self.executions[execution.number] = execution
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(frame)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._sockets is not None and not self._sockets.data.is_closing():
            self._sockets.data.write(out[0] if len(out) == 1 else b"".join(out))

    def tell(self, kind: int, number: int = 0, payload: bytes = b"") -> None:
        if self._sockets is not None and not self._sockets.control.is_closing():
            self._sockets.control.write(frames.encode(kind, number, payload))

    def has_lasted(self, now: float) -> bool:
        """Whether its end is no early death: it answered something, or was ready for a while."""
        return self.has_answered or bool(self.ready_at and now - self.ready_at >= LASTED_S)

    def overdue(self, now: float, bound_s: float) -> bool:
        """Whether the request it began first has run for too long."""
        oldest = next(iter(self.executions.values()), None)
        return oldest is not None and now - oldest.sent_s > bound_s

    def unresponsive(self, now: float, probe: Probe) -> bool:
        """Ping it when that is due; whether it has missed as many as the probe allows."""
        if not self.watch.due(probe, pong_at=self.pong_at, now=now):
            return False
        self.tell(frames.PING)
        return self.watch.failed(probe)

    def kill(self, reason: str) -> None:
        """SIGKILL to the worker and all it forked; the owner hears of the end."""
        self.doomed = self.doomed or reason
        if self._process is not None and self.exit_code is None:
            self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Let it end by itself, as one that has loaded can; the owner hears of the end."""
        if self.ready:
            self.doomed = self.doomed or "stopped"
            self.tell(frames.STOP)
        else:
            self.kill("stopped")

    def release(self) -> None:
        """Let a worker without requests go: it ends when its sockets do."""
        self.doomed = self.doomed or "released"
        if self._sockets is not None:
            self._sockets.data.close()
            self._sockets.control.close()

    async def ended(self) -> None:
        await self._ended.wait()

    def _signal(self, number: int) -> None:
        # Ended in this very moment: the exit is on its way to us.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _on_data(self, kind: int, number: int, payload: bytes) -> None:
        execution = self.executions.get(number)
        if execution is not None:
            self._owner.answered(self, execution, kind, payload)

    def _on_control(self, kind: int, number: int, payload: bytes) -> None:
        if kind == frames.PONG:
            self.pong_at = monotonic()
        elif kind == frames.READY:
            self.ready = True
            self.ready_at = self.pong_at = monotonic()
            self.asynchronous = bool(_report(payload).get("async"))
            self._owner.worker_ready(self)
        elif kind == frames.RECALLED:
            if (execution := self.executions.pop(number, None)) is not None:
                self._owner.recalled(self, execution)
        elif kind == frames.FAILED:
            self._owner.worker_failed(self, _report(payload))

    def _on_console(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, CONSOLE_READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._console(data)
        else:
            asyncio.get_running_loop().remove_reader(descriptor)

    def _on_exit(self) -> None:
        """The process is gone: read what it left in its sockets, then tell the owner."""
        loop = asyncio.get_running_loop()
        assert self._process is not None
        assert self._sockets is not None
        self.exit_code = self._process.wait()
        self.ready = False
        loop.remove_reader(self._sockets.descriptors[1])
        self._signal(signal.SIGKILL)  # what it forked
        if self._mark is not None:  # and what left its process group
            loop.run_in_executor(None, kill_marked, self._mark)
        # What it wrote before its end is still in the socket: wait for the end of that too.
        loop.call_later(END_OF_DATA_S, self._finish)
        if self._data_ended:
            self._finish()

    def _data_end(self) -> None:
        self._data_ended = True
        if self.exit_code is not None:
            self._finish()

    def _finish(self) -> None:
        if self._ended.is_set():
            return
        assert self._sockets is not None
        self._ended.set()
        console, pidfd = self._sockets.descriptors
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = os.read(console, CONSOLE_READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                break
            self._console(data)
        loop.remove_reader(console)
        os.close(console)
        os.close(pidfd)
        self._sockets.data.close()
        self._sockets.control.close()
        self._owner.worker_ended(self)

    def _broken(self) -> None:
        self.kill("broken frames")


def _report(payload: bytes) -> dict[str, Any]:
    try:
        report = json.loads(payload)
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}
