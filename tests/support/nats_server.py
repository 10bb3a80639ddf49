"""A plain real nats-server for bus tests: free port, JetStream on disk, killed and restarted."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, Self

import psutil

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.005

_CONFIG: Final = """\
listen: "127.0.0.1:{port}"
server_name: "test"
max_payload: 8MB
feature_flags {{ js_ack_fc_v2: false }}
jetstream {{
  store_dir: "{folder}/js"
}}
{extra}
"""


class NatsServer:
    """One server process; the port of the first start and the store are kept over restarts.

    `extra` is appended to the configuration and may be changed between two starts.
    """

    def __init__(self, folder: Path | None = None, *, extra: str = "") -> None:
        self._made = Path(tempfile.mkdtemp(prefix="nats-")) if folder is None else None
        self._folder = folder or self._made or Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = -1  # the server's own word for a free port
        self.extra = extra
        self.scheme = "nats"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        if self._port < 0:
            raise RuntimeError("the server was never started")
        return self._port

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process.pid

    @property
    def log(self) -> str:
        """All the server has written, over all its lives."""
        return (self._folder / "log").read_text()

    def start(self) -> Self:
        """Return when the server accepts clients; raises RuntimeError with its log."""
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "nats.conf"
        config.write_text(
            _CONFIG.format(port=self._port, folder=self._folder.resolve(), extra=self.extra)
        )
        command = [_binary(), "-c", str(config), "--ports_file_dir", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._port = self._wait_for_port()
        return self

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait; a second call does nothing."""
        self._end(signal.SIGTERM)

    def restart(self) -> Self:
        """Start again on the same port and store; a server that still runs is killed first."""
        self.kill()
        return self.start()

    def pause(self) -> None:
        """Freeze the process: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        process = psutil.Process(self.pid)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while process.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def reload(self) -> None:
        """Make the running server read its configuration with the present `extra`."""
        config = self._folder / "nats.conf"
        config.write_text(
            _CONFIG.format(port=self._port, folder=self._folder.resolve(), extra=self.extra)
        )
        self._signal(signal.SIGHUP)

    def remove(self) -> None:
        """Stop, and delete the folder when it was made here."""
        self.kill()
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
        self._ports_file(process.pid).unlink(missing_ok=True)

    def _wait_for_port(self) -> int:
        """The server writes this file once it listens."""
        deadline = time.monotonic() + START_TIMEOUT_S
        path = self._ports_file(self.pid)
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                return int(json.loads(path.read_text())["nats"][0].rpartition(":")[2])
            except (FileNotFoundError, ValueError):
                time.sleep(_POLL_S)
        self.kill()
        raise RuntimeError(f"nats-server did not start:\n{self.log}")

    def _ports_file(self, pid: int) -> Path:
        return self._folder / f"nats-server_{pid}.ports"


def _binary() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    return str(beside) if beside.exists() else "nats-server"
