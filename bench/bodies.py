"""Large bodies there and back, by each way they can go, in alternation.

python -m bench.bodies --size 1:60:5 --size 16:8:5 --size 256:1:3

One client sends a body of so many MB and gets it back. `near`: ingress and instance share files.
`far`: an ingress that shares none, in a process namespace of its own (needs root), so that bodies
go over NATS: in a message while they fit, else in pieces.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import urlsplit

import yaml

from bench.generator import Target
from bench.headrace_server import COMMAND, Headrace
from bench.peers import AzureServer, PlainAiohttp
from bench.workloads import MEGABYTE, WORKLOADS, Workload

LARGEST_BYTES: Final = 1 << 30
FAR_BOUND_S: Final = 30.0
APART: Final = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


class Roomy(Headrace):
    """Bodies of up to 1 GiB allowed."""

    name: ClassVar[str] = "headrace-near"

    def _deployment(self, workload: Workload) -> Path:
        file = super()._deployment(workload)
        spec = yaml.safe_load(file.read_text())
        spec["properties"] = {"headrace.maxBodyBytes": str(LARGEST_BYTES)}
        file.write_text(yaml.safe_dump(spec))
        return file

    @contextmanager
    def far(self, near: Target, **env: str) -> Iterator[Target]:
        """The same deployment by an ingress that shares no files with it."""
        home = self._home / "far"
        home.mkdir(exist_ok=True)
        log = home / f"{len(list(home.iterdir()))}.log"
        words = [*APART, str(COMMAND), "run", "ingress", "--home", str(self._home)]
        words += ["--port", "0", "--http-port", "0"]
        with log.open("wb") as out:
            process = subprocess.Popen(words, stdout=out, stderr=out, env=os.environ | env)
        try:
            port = _port(log)
            url = re.sub(r":\d+/", f":{port}/", near.url, count=1)
            yield Target(url=url, body=near.body, headers=near.headers)
        finally:
            process.kill()
            process.wait()


def _port(log: Path) -> int:
    until = time.monotonic() + FAR_BOUND_S
    while time.monotonic() < until:
        found = re.search(r'http_port"?[=:] ?(\d+)', log.read_text())
        if found:
            return int(found.group(1))
        time.sleep(0.05)
    raise SystemExit(f"the far ingress did not start: {log.read_text()[-800:]}")


class Client:
    """One kept connection."""

    def __init__(self, target: Target, body: bytes) -> None:
        parts = urlsplit(target.url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._socket = socket.create_connection(self._address)
        fields = {"host": parts.netloc, "content-length": str(len(body))} | target.headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._head = f"POST {parts.path} HTTP/1.1\r\n{lines}\r\n".encode()
        self._body = body
        self._buffer = memoryview(bytearray(MEGABYTE))

    def ask(self) -> float:
        """Seconds from the first byte sent to the last one read; a new connection included where
        the server ends each."""
        begun = time.perf_counter()
        self._socket.sendall(self._head)
        self._socket.sendall(self._body)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._more()
        head, _, rest = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not answered: {head[:300]!r} {rest[:300]!r}")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length is not None:
            self._skip(int(length.group(1)) - len(rest))
        else:
            self._chunks(rest)
        if re.search(rb"(?i)connection: close", head):
            self._socket.close()
            self._socket = socket.create_connection(self._address)
        return time.perf_counter() - begun

    def close(self) -> None:
        self._socket.close()

    def _more(self) -> bytes:
        found = self._socket.recv(4096)
        if not found:
            raise SystemExit("the connection ended")
        return found

    def _skip(self, size: int) -> None:
        while size > 0:
            got = self._socket.recv_into(self._buffer[: min(size, len(self._buffer))])
            if not got:
                raise SystemExit(f"the answer ended {size} bytes early")
            size -= got

    def _chunks(self, rest: bytes) -> None:
        while True:
            while b"\r\n" not in rest:
                rest += self._more()
            line, _, rest = rest.partition(b"\r\n")
            size = int(line, 16) + 2
            taken, rest = rest[:size], rest[size:]
            self._skip(size - len(taken))
            if size == 2:
                return


def measure(targets: dict[str, Target], size: int, count: int, rounds: int) -> None:
    """Print median and spread of each target's medians, in ms."""
    body = os.urandom(size * MEGABYTE)
    seen: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(rounds):
        for name, target in targets.items():
            client = Client(target, body)
            client.ask()
            seen[name].append(1000 * statistics.median(client.ask() for _ in range(count)))
            client.close()
    for name, found in seen.items():
        sys.stdout.write(
            f"{size:4} MB  {name:34} p50 {statistics.median(found):9.2f} ms"
            f"  ({min(found):.2f} to {max(found):.2f}, {rounds} rounds of {count})\n"
        )
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", action="append", help="MB:requests in a round:rounds")
    asked = parser.parse_args()
    os.environ["HEADRACE_MAX_BODY_BYTES"] = str(LARGEST_BYTES)
    workload = WORKLOADS["bin"]
    with ExitStack() as stack:
        targets: dict[str, Target] = {}
        for server in (PlainAiohttp(), AzureServer()):
            server.prepare()
            stack.callback(server.stop)
            targets[server.name] = server.start(workload)
        ours = Roomy()
        stack.callback(ours.stop)
        near = targets[ours.name] = ours.start(workload)
        targets["headrace-far"] = stack.enter_context(ours.far(near))
        for given in asked.size or ["1:60:5", "16:8:5", "256:1:3"]:
            measure(targets, *map(int, given.split(":")))


if __name__ == "__main__":
    main()
