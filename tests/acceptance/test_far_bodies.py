"""Large bodies between machines: an ingress and instances that cannot open each other's files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import psutil
import pytest

from support.bodies import held
from support.deploy import Workbench
from support.far_ingress import FarIngress, far_ingress
from support.platform import Platform, until

MB = 1024 * 1024
ENDPOINT = "far"
LIMIT = 48 * MB
FULL_BYTES = 1024 * MB
pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]


@pytest.fixture(scope="module")
def target(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    bench = Workbench(platform, tmp_path_factory.mktemp("far"))
    # Those at once wait for one worker.
    bench.deploy_bytes(ENDPOINT, LIMIT, request_timeout_ms=60_000, max_queue_wait_ms=60_000)
    return platform


@pytest.fixture
def ingress(target: Platform, tmp_path: Path) -> Iterator[FarIngress]:
    with far_ingress(target, tmp_path / "far-home") as one:
        yield one
        if one.process.is_running():
            until(lambda: not held(one.process.pid), "the ingress to let its files go")
    until(lambda: not any(held(one.pid) for one in scorers(target)), "scorers to let go")
    for home in (target.home, one.home):
        assert not list((home / "run" / "bodies").iterdir())


@pytest.fixture(scope="module")
def key(target: Platform) -> str:
    return target.key(ENDPOINT)


def scorers(platform: Platform) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in platform.scorers(ENDPOINT).values()]


@pytest.mark.parametrize("size", [65536, MB, 7 * MB + 1, 9 * MB, LIMIT])
def test_each_size_comes_back_as_it_was(ingress: FarIngress, key: str, size: int) -> None:
    body = os.urandom(size)
    for _ in range(2):
        assert ingress.post(ENDPOINT, key, body) == (200, body)


def test_a_small_request_gets_a_large_answer(ingress: FarIngress, key: str) -> None:
    for size in (5 * MB, 9 * MB, 40 * MB):
        assert ingress.post(ENDPOINT, key, b"?", f"large={size}") == (200, b"x" * size)


def test_past_the_limit_both_ways_the_answer_says_so(ingress: FarIngress, key: str) -> None:
    status, answer = ingress.post(ENDPOINT, key, b"?", f"large={LIMIT + 1}")
    message = json.loads(answer)["error"]["message"]
    assert status == 424
    assert str(LIMIT) in message
    assert str(LIMIT + 1) in message

    with socket.create_connection(("127.0.0.1", ingress.port)) as client:
        head = f"host: x\r\nauthorization: Bearer {key}\r\ncontent-length: {LIMIT + 1}\r\n\r\n"
        client.sendall(f"POST /endpoints/{ENDPOINT}/score HTTP/1.1\r\n{head}".encode())
        assert client.recv(64).startswith(b"HTTP/1.1 413 ")


def test_many_at_once_are_not_mixed(ingress: FarIngress, key: str) -> None:
    def one(number: int) -> bool:
        body = b"%d." % number + os.urandom(8 * MB + number)
        return ingress.post(ENDPOINT, key, body) == (200, body)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(one, range(12)))


def test_a_worker_that_dies_with_it_costs_no_answer(
    ingress: FarIngress, key: str, tmp_path: Path
) -> None:
    body = os.urandom(9 * MB)
    for number, query in enumerate(("", f"large={9 * MB}")):
        marker = f"die_once={tmp_path / str(number)}"
        status, answer = ingress.post(ENDPOINT, key, body, f"{marker}&{query}")
        assert (status, len(answer)) == (200, len(body))


def in_the_middle(process: psutil.Process, size: int) -> bool:
    """Stops the process while a body of this size is on its way to it."""
    if not any(0 < found < size for found in held(process.pid)):
        return False
    process.send_signal(signal.SIGSTOP)
    until(lambda: process.status() == psutil.STATUS_STOPPED, "the stop")
    if any(0 < found < size for found in held(process.pid)):
        return True
    process.send_signal(signal.SIGCONT)
    return False


def killed_in_the_middle(
    call: Callable[[], tuple[int, bytes]], process: psutil.Process, size: int
) -> list[tuple[int, bytes] | None]:
    """What the caller got, each time, when the process was killed inside a transfer to it."""

    def asked() -> tuple[int, bytes] | None:
        try:
            return call()
        except (OSError, HTTPException):
            return None  # the connection ended: the one result there is

    results: list[tuple[int, bytes] | None] = []
    with ThreadPoolExecutor(1) as pool:
        killed = False
        for _ in range(20):  # a transfer may be over before it is seen
            pending = pool.submit(asked)
            while not pending.done() and not killed:
                if in_the_middle(process, size):
                    process.kill()
                    killed = True
            results.append(pending.result())
            if killed:
                return results
    raise AssertionError("no transfer was ever seen in its middle")


@pytest.mark.parametrize("way", ["body", "answer"])
def test_an_ingress_killed_in_the_middle_leaves_nothing(
    ingress: FarIngress, target: Platform, key: str, way: str
) -> None:
    """The body comes from the client, the answer from the instance."""
    body = os.urandom(LIMIT) if way == "body" else b"?"
    query = "digest=1" if way == "body" else f"large={LIMIT}"

    results = killed_in_the_middle(
        lambda: ingress.post(ENDPOINT, key, body, query), ingress.process, LIMIT
    )

    assert results[-1] is None
    until(lambda: not any(held(one.pid) for one in scorers(target)), "scorers to let go")


@pytest.mark.parametrize("way", ["body", "answer"])
def test_a_scorer_killed_in_the_middle_costs_no_answer(
    ingress: FarIngress, target: Platform, key: str, way: str
) -> None:
    (scorer,) = scorers(target)
    body = os.urandom(LIMIT) if way == "body" else b"?"
    query = "digest=1" if way == "body" else f"large={LIMIT}"
    right = hashlib.sha256(body).hexdigest().encode() if way == "body" else b"x" * LIMIT

    results = killed_in_the_middle(lambda: ingress.post(ENDPOINT, key, body, query), scorer, LIMIT)

    # Until the next instance is ready there is none: a refusal in the known words is a result too.
    assert results[-1] is not None
    status, answer = results[-1]
    assert (status, answer) == (200, right) or status in (408, 424, 429)
    until(lambda: ingress.post(ENDPOINT, key, b"?")[0] == 200, "the next instance")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk_of_an_ingress_is_a_507_and_passes(
    target: Platform, key: str, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(small)], check=True)
    try:
        with far_ingress(target, small / "home") as one:
            status, answer = one.post(ENDPOINT, key, b"?", f"large={40 * MB}")
            assert (status, json.loads(answer)["error"]["code"]) == (507, "InsufficientStorage")
            with socket.create_connection(("127.0.0.1", one.port)) as client:
                head = f"authorization: Bearer {key}\r\ncontent-length: {40 * MB}\r\n\r\n"
                client.sendall(
                    f"POST /endpoints/{ENDPOINT}/score HTTP/1.1\r\nhost: x\r\n{head}".encode()
                )
                with contextlib.suppress(OSError):  # it is not read to its end
                    client.sendall(bytes(40 * MB))
                assert client.recv(64).startswith(b"HTTP/1.1 507 ")
            until(lambda: not held(one.process.pid), "the ingress to let its files go")
            body = os.urandom(9 * MB)
            assert one.post(ENDPOINT, key, body) == (200, body)
    finally:
        unmount = ["umount", str(small)]  # busy until the last process of it is gone
        until(lambda: not subprocess.run(unmount, capture_output=True).returncode, "the unmount")


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("far", [True, False], ids=["far", "near"])
def test_a_gibibyte_there_and_back_in_flat_memory(
    platform: Platform, tmp_path: Path, far: bool
) -> None:
    """The worker holds it, as its `run` takes bytes; ingress, scorer and NATS do not."""
    name = "gib-far" if far else "gib-near"
    bench = Workbench(platform, tmp_path)
    bench.endpoint(name)
    settings = {"request_timeout_ms": 180_000}
    environment = {"SCORING_TIMEOUT_MS": "170000"}
    bench.deploy(
        name, "blue", "bytes", request_settings=settings, environment_variables=environment,
        properties={"headrace.maxBodyBytes": str(FULL_BYTES)},
    )  # fmt: skip
    key = platform.key(name)
    allowed = {"HEADRACE_MAX_BODY_BYTES": str(FULL_BYTES)}
    with far_ingress(platform, tmp_path / "home", apart=far, **allowed) as one:
        (scorer,) = (psutil.Process(pid) for pid in platform.scorers(name).values())
        (nats,) = (psutil.Process(pid) for pid in platform.pids("nats-server"))
        watched = {"ingress": one.process, "scorer": scorer, "nats": nats}
        one.post(name, key, os.urandom(16 * MB))
        before = {who: process.memory_info().rss for who, process in watched.items()}
        peak = dict(before)
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(one.round_trip, name, key, FULL_BYTES)
            while not pending.done():
                for who, process in watched.items():
                    peak[who] = max(peak[who], process.memory_info().rss)
            assert pending.result() == (200, True)
    grown = {who: (peak[who] - before[who]) // MB for who in peak}
    print(f"\n{name}: grown by MB {grown}")  # noqa: T201  (the figure is of use)
    assert max(grown.values()) < 96
    bench.clean()
