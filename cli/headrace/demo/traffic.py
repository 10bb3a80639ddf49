"""Bounded closed-loop traffic from a few threads, each with one connection; no retries."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

REQUEST_BOUND_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One scored request, as its caller saw it."""

    status: int
    body: str
    seconds: float


@dataclass(slots=True)
class Report:
    """What became of all requests of one run."""

    bodies: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def quantile_ms(self, q: float) -> float:
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0

    def add(self, answer: Answer) -> None:
        self.seconds.append(answer.seconds)
        if answer.status == 200:
            self.bodies[answer.body] += 1
        else:
            self.errors.append(f"{answer.status} {answer.body[:200]}")


class Caller:
    """A client of one endpoint on the loopback port."""

    def __init__(self, url: str, key: str, body: bytes) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path
        self._body = body
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def once(self, deployment: str = "") -> Answer:
        """Raises OSError or http.client.HTTPException when there is no answer."""
        connection = self._connect()
        try:
            return self._ask(connection, deployment)
        finally:
            connection.close()

    def many(self, count: int, threads: int = 4) -> Report:
        """Send `count` requests in all and wait for every answer."""
        left = iter(range(count))
        return self._run(threads, lambda: next(left, None) is not None)

    def during(self, work: Callable[[], object], threads: int = 4) -> Report:
        """Keep sending while `work` runs in this thread; raises what it raises."""
        done = threading.Event()
        report = Report()
        sender = threading.Thread(
            target=lambda: self._run(threads, lambda: not done.is_set(), report), name="traffic"
        )
        sender.start()
        try:
            work()
        finally:
            done.set()
            sender.join()
        return report

    def _run(self, threads: int, more: Callable[[], bool], into: Report | None = None) -> Report:
        report = into or Report()
        lock = threading.Lock()

        def send() -> None:
            connection = self._connect()
            while True:
                with lock:
                    if not more():
                        break
                try:
                    answer = self._ask(connection)
                except (OSError, http.client.HTTPException) as error:
                    answer = Answer(status=0, body=repr(error), seconds=0.0)
                    connection = self._connect()
                with lock:
                    report.add(answer)
            connection.close()

        senders = [threading.Thread(target=send, name=f"caller-{n}") for n in range(threads)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        return report

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, self._port, timeout=REQUEST_BOUND_S)

    def _ask(self, connection: http.client.HTTPConnection, deployment: str = "") -> Answer:
        headers = self._headers | ({"azureml-model-deployment": deployment} if deployment else {})
        begun = time.perf_counter()
        connection.request("POST", self._path, self._body, headers)
        answer = connection.getresponse()
        body = answer.read().decode("utf-8", "replace")
        return Answer(status=answer.status, body=body, seconds=time.perf_counter() - begun)
