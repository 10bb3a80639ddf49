"""`headrace run control` as a process: ready, stopped by SIGTERM, closed in good order."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPSConnection
from pathlib import Path

from support.nats_server import NatsServer

START_TIMEOUT_S = 30.0


@contextmanager
def _process(home: Path, nats_url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "headrace", "run", "control"]
    flags = ["--home", str(home), "--nats", nats_url, "--port", str(port)]
    process = subprocess.Popen([*command, *flags], stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _connection(home: Path, port: int) -> HTTPSConnection:
    context = ssl.create_default_context(cafile=home / "ca.pem")
    return HTTPSConnection("localhost", port, context=context, timeout=5)


def _until_ready(home: Path, port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[1].decode()
        with suppress(OSError), closing(_connection(home, port)) as connection:
            connection.request("GET", "/readyz")
            if b"true" in connection.getresponse().read():
                return
        time.sleep(0.02)
    raise AssertionError("control did not become ready")


def test_sigterm_ends_it_cleanly_and_soon(tmp_path: Path, nats_server: NatsServer) -> None:
    port = _free_port()
    with _process(tmp_path, nats_server.url, port) as process:
        _until_ready(tmp_path, port, process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=40)

    assert process.returncode == 0, errors.decode()
    assert b"control has stopped" in errors
    assert b"Traceback" not in errors


def test_without_nats_it_ends_with_words(tmp_path: Path) -> None:
    port = _free_port()
    nats_url = f"nats://127.0.0.1:{_free_port()}"
    with _process(tmp_path, nats_url, port) as process:
        _, errors = process.communicate(timeout=40)

    assert process.returncode != 0
    assert nats_url.removeprefix("nats://").encode() in errors
