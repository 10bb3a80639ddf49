"""An ingress that no instance shares files with, as on another machine: its own home and processes.

With root it lives in a process namespace of its own, so that nobody can open its descriptors and it
nobody's; without, the hand-over is switched off.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import psutil

from support.platform import HEADRACE, Platform, until

MEGABYTE = 1024 * 1024
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


class FarIngress:
    """One running ingress; `pid` is of the ingress itself, in our namespace."""

    def __init__(self, process: psutil.Process, port: int, home: Path) -> None:
        self.process = process
        self.port = port
        self.home = home

    def post(
        self, endpoint: str, key: str, body: bytes, query: str = "", **headers: str
    ) -> tuple[int, bytes]:
        made = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            given = {"authorization": f"Bearer {key}", "content-type": "application/octet-stream"}
            made.request("POST", f"/endpoints/{endpoint}/score?{query}", body, given | headers)
            answer = made.getresponse()
            return answer.status, answer.read()
        finally:
            made.close()

    def round_trip(self, endpoint: str, key: str, size: int) -> tuple[int, bool]:
        """Send and take back that many bytes, never held as a whole; whether they are the same."""
        sent, got, left = hashlib.sha256(), hashlib.sha256(), size
        made = HTTPConnection("127.0.0.1", self.port, timeout=300)
        made.putrequest("POST", f"/endpoints/{endpoint}/score")
        made.putheader("authorization", f"Bearer {key}")
        made.putheader("content-length", str(size))
        made.endheaders()
        while left:
            part = os.urandom(min(MEGABYTE, left))
            sent.update(part)
            made.send(part)
            left -= len(part)
        answer = made.getresponse()
        while part := answer.read(MEGABYTE):
            got.update(part)
        made.close()
        return answer.status, sent.digest() == got.digest()


@contextmanager
def far_ingress(
    platform: Platform, home: Path, *, apart: bool = True, **env: str
) -> Iterator[FarIngress]:
    """Ended, however it stands, at the end. Not `apart` it is an ordinary second ingress."""
    home.mkdir(exist_ok=True)
    command = [str(HEADRACE), "run", "ingress", "--home", str(home), "--port", "0"]
    command += ["--http-port", "0", "--nats", platform.status()["nats_url"]]
    command += ["--nats-creds", str(platform.home / "nats" / "creds" / "ingress.creds")]
    if apart and os.geteuid() == 0:
        command = [*UNSHARE, *command]
    elif apart:
        env["HEADRACE_HANDOVER"] = "off"
    log = home / "ingress.log"
    with log.open("wb") as out:
        started = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | env)
    try:
        port = int(until(lambda: _port(log), "the far ingress"))
        process = psutil.Process(started.pid)
        yield FarIngress((process.children() or [process])[0], port, home)
    finally:
        started.kill()
        started.wait()


def _port(log: Path) -> str:
    found = re.search(r'http_port"?[=:] ?(\d+)', log.read_text())
    return found.group(1) if found else ""
