"""The console port: what runs, in numbers and on one page, to this host only."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest

from support.deploy import Workbench
from support.platform import Platform, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def read(url: str, host: str = "") -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def sample(platform: Platform, line: str) -> float | None:
    """The value of one sample by its name and labels."""
    _, text = read(platform.status()["console_url"] + "/metrics")
    found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def test_the_metrics_count_instances_operations_and_starts(
    running: Platform, houses: Workbench
) -> None:
    labels = 'endpoint="houses",deployment="blue"'
    until(lambda: sample(running, f'headrace_instances{{{labels},state="ready"}}') == 1, "a sample")
    assert sample(running, f"headrace_desired_instances{{{labels}}}") == 1
    assert sample(running, 'headrace_operations_total{verb="create",status="Succeeded"}') == 2
    assert sample(running, f'headrace_start_phase_seconds_count{{{labels},phase="ready"}}') == 1
    _, text = read(running.status()["console_url"] + "/metrics")
    assert 'headrace_build_info{version="' in text


def test_the_page_says_where_everything_is_and_escapes_it(running: Platform) -> None:
    status = running.status()
    code, page = read(status["console_url"] + "/")
    assert code == 200
    assert status["control_url"] in page
    assert "&lt;endpoint&gt;" in page
    assert read(status["console_url"] + "/healthz")[0] == 200
    assert read(status["console_url"] + "/readyz")[0] == 200
    code, words = read(status["console_url"] + "/nowhere")
    assert code == 404
    assert "/metrics" in words


def test_no_page_of_another_name_can_read_it(running: Platform) -> None:
    """A name that an attacker points at 127.0.0.1 comes with that name as Host."""
    url = running.status()["console_url"]
    port = urlsplit(url).port
    for host in ("evil.example", f"evil.example:{port}", f"127.0.0.1.evil.example:{port}", "x:y"):
        assert read(url + "/metrics", host)[0] == 403, host
    for host in (f"localhost:{port}", "LOCALHOST", f"127.0.0.1:{port}"):
        assert read(url + "/metrics", host)[0] == 200, host


def test_a_taken_console_port_names_its_holder_and_the_flag(running: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        other = Platform(running.home.parent / "other")
        words = ["--control-port", "0", "--ingress-port", "0", "--http-port", "0"]
        failed = other.run("up", *words, "--console-port", str(port), code=5)
    assert f"port {port} is taken by" in failed.stderr
    assert "so the console cannot listen" in failed.stderr
    assert f"hint: headrace up --console-port {port + 1}" in failed.stderr
    alone = ["--nats", running.status()["nats_url"], "--port", "0", "--console-port"]
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        failed = running.run("run", "control", *alone, str(port), code=6)
    assert f"port {port} on 127.0.0.1 cannot be opened" in failed.stderr
    assert "--console-port" in failed.stderr
