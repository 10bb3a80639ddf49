"""The command's HTTP client: what it sends once, what twice, and where it sends nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headrace.errors import BadUsage, Unreachable
from headrace.http_client import Http


class Fickle(BaseHTTPRequestHandler):
    """Answers so much of what a connection asks, takes one more, and closes without a word."""

    protocol_version = "HTTP/1.1"
    asked: list[str]
    answers: int

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.asked.append(self.command)
        if self.answers == 0:
            self.close_connection = True
            return
        self.answers -= 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


@contextmanager
def fickle(answers: int) -> Iterator[tuple[Http, list[str]]]:
    asked: list[str] = []
    handler = type("Counting", (Fickle,), {"asked": asked, "answers": answers})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = Http(
            f"http://127.0.0.1:{server.server_port}", ca=Path("none"), trace=lambda _: None
        )
        yield client, asked
        client.close()
        server.shutdown()


def test_what_may_be_done_twice_is_asked_again_when_a_kept_connection_breaks() -> None:
    with fickle(answers=1) as (client, asked):
        for _ in range(2):
            assert client.send("GET", "/", headers={}).status == 200
        assert asked == ["GET", "GET", "GET"]  # the second was lost, and asked anew


def test_a_post_has_a_connection_of_its_own() -> None:
    with fickle(answers=1) as (client, asked):
        for method in ("GET", "POST", "POST"):
            assert client.send(method, "/", headers={}).status == 200
        assert asked == ["GET", "POST", "POST"]


def test_a_post_that_is_not_answered_is_not_sent_again() -> None:
    with fickle(answers=0) as (client, asked):
        with pytest.raises(Unreachable):
            client.send("POST", "/", headers={})
        assert asked == ["POST"]


@pytest.mark.parametrize(
    "host", ["10.0.0.7", "models.example", "localhost.example", "[2001:db8::1]"]
)
def test_nothing_goes_in_the_clear_to_another_machine(host: str) -> None:
    with pytest.raises(BadUsage, match="plain http"):
        Http(f"http://{host}:9443", ca=Path("none"), trace=print)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://10.0.0.7"]
)
def test_this_machine_and_tls_are_taken(url: str) -> None:
    assert Http(url, ca=Path("none"), trace=print).origin == url
