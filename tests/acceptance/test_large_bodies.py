"""Large bodies go by file inside a machine: right, bounded, and nothing is left behind."""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from support.bodies import held
from support.deploy import Workbench
from support.platform import Platform, until

MB = 1024 * 1024
ENDPOINT = "bytes"
LIMIT = 48 * MB
pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


@pytest.fixture(scope="module")
def target(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    bench = Workbench(platform, tmp_path_factory.mktemp("bytes"))
    bench.deploy_bytes(ENDPOINT, LIMIT, request_timeout_ms=60_000)
    return platform


@pytest.fixture
def client(target: Platform) -> Iterator[http.client.HTTPConnection]:
    with target.connection() as connection:
        yield connection


@pytest.fixture(scope="module")
def key(target: Platform) -> str:
    return target.key(ENDPOINT)


def post(
    client: http.client.HTTPConnection, key: str, body: bytes, query: str = ""
) -> tuple[int, bytes]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/octet-stream"}
    client.request("POST", f"/endpoints/{ENDPOINT}/score?{query}", body, headers)
    answer = client.getresponse()
    return answer.status, answer.read()


def faults(process: psutil.Process) -> int:
    """Pages it was given by the system so far."""
    text = Path(f"/proc/{process.pid}/stat").read_text()
    return int(text.rpartition(")")[2].split()[7])


def ingress_of(platform: Platform) -> psutil.Process:
    for one in psutil.process_iter(["cmdline"]):
        words = one.info["cmdline"] or []
        if "ingress" in words and str(platform.home) in words:
            return one
    raise AssertionError("no ingress")


@pytest.mark.parametrize("size", [65535, 65536, MB, 9 * MB, LIMIT])
def test_each_size_comes_back_as_it_was(
    target: Platform, client: http.client.HTTPConnection, key: str, size: int
) -> None:
    body = os.urandom(size)
    for _ in range(2):  # the second on the same connection
        assert post(client, key, body) == (200, body)

    assert not list((target.home / "run" / "bodies").iterdir())
    ingress = ingress_of(target).pid
    until(lambda: not held(ingress), "the ingress to let its files go")


def test_a_body_is_copied_within_memory_that_the_ingress_has(
    target: Platform, client: http.client.HTTPConnection, key: str
) -> None:
    """Each of the copies it makes of a body took all its pages anew before."""
    ingress, body, times = ingress_of(target), os.urandom(MB), 40
    for _ in range(times):
        assert post(client, key, body) == (200, body)
    before = faults(ingress)
    for _ in range(times):
        assert post(client, key, body) == (200, body)

    assert (faults(ingress) - before) / times < MB / os.sysconf("SC_PAGE_SIZE") / 2


def test_a_small_request_gets_a_large_answer(client: http.client.HTTPConnection, key: str) -> None:
    for _ in range(2):  # in its message first, then by file
        assert post(client, key, b"?", f"large={5 * MB}") == (200, b"x" * (5 * MB))
    assert post(client, key, b"?", f"large={40 * MB}") == (200, b"x" * (40 * MB))


def test_past_the_limit_the_answer_says_so(client: http.client.HTTPConnection, key: str) -> None:
    headers = {"authorization": f"Bearer {key}"}
    client.putrequest("POST", f"/endpoints/{ENDPOINT}/score")
    for name, value in (headers | {"content-length": str(LIMIT + 1)}).items():
        client.putheader(name, value)
    client.endheaders()
    answer = client.getresponse()

    assert answer.status == 413
    assert str(LIMIT) in answer.read().decode()


def test_many_at_once_are_not_mixed(target: Platform, key: str) -> None:
    parts = urlsplit(target.status()["http_url"])
    wrong: list[int] = []

    def one(number: int) -> None:
        client = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        for turn in range(10):
            body = b"%d.%d." % (number, turn) + os.urandom(200_000 + number)
            if post(client, key, body) != (200, body):
                wrong.append(number)
        client.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_worker_that_dies_with_it_costs_no_answer(
    client: http.client.HTTPConnection, key: str, tmp_path: Path
) -> None:
    body = os.urandom(2 * MB)
    assert post(client, key, body, f"die_once={tmp_path / 'died'}") == (200, body)


def test_the_ingress_does_not_hold_the_body_in_memory(
    target: Platform, client: http.client.HTTPConnection, key: str
) -> None:
    ingress, body = ingress_of(target), os.urandom(LIMIT)
    post(client, key, body[:MB], "digest=1")
    before = ingress.memory_info().rss
    status, answer = post(client, key, body, "digest=1")

    assert (status, answer.decode()) == (200, hashlib.sha256(body).hexdigest())
    assert ingress.memory_info().rss - before < LIMIT / 4
