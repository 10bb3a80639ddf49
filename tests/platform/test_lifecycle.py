"""`headrace up`, `status` and `down`: one command each, over kills, clashes and repeats."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.deploy import Workbench
from support.platform import COMMAND_BOUND_S, HEADRACE, Platform, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]
PORTS = ("control", "ingress", "http", "console", "nats")
FREE = [word for name in PORTS for word in (f"--{name}-port", "0")]
KEYS = {
    "state",
    "pid",
    "control_url",
    "ingress_url",
    "http_url",
    "console_url",
    "nats_url",
    "ca_path",
    "home",
}


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """Not started; whatever a test leaves is taken down."""
    made = Platform(tmp_path / "home")
    yield made
    made.down()
    until(lambda: not made.processes(), "the end of all processes")


def part(platform: Platform, name: str) -> int:
    """The pid of the one live part of this name."""
    (found,) = platform.pids("headrace run", name)
    return found


def test_up_is_ready_when_it_returns_and_down_leaves_nothing(platform: Platform) -> None:
    platform.up()

    status = platform.status()
    assert set(status) == KEYS
    assert status["state"] == "running"
    assert Path(status["ca_path"]).is_file()
    again = platform.run("up", "--detach")
    assert f"already running (pid {status['pid']})" in again.stdout
    (event,) = platform.run("up", "-d", "-o", "json").stdout.splitlines()
    assert json.loads(event)["card"]["pid"] == status["pid"]
    port = status["http_url"].rpartition(":")[2]
    assert "already running" in platform.run("up", "-d", "--http-port", port).stdout
    refused = platform.run("up", "-d", "--http-port", "1", code=1).stderr
    assert f"with --http-port {port}; --http-port 1 is not applied" in refused
    assert "hint: headrace down && headrace up -d --http-port 1" in refused

    said = platform.run("down").stdout
    assert "stays" in said
    assert platform.processes() == []
    platform.run("status", code=8)
    assert json.loads(platform.run("status", "-o", "json", code=8).stdout)["state"] == "down"


def test_a_killed_supervisor_is_succeeded_by_one_that_adopts_all(
    platform: Platform, tmp_path: Path
) -> None:
    platform.up()
    bench = Workbench(platform, tmp_path)
    bench.endpoint("kept")
    bench.deploy("kept", "blue", "patient")
    parts = [part(platform, "control"), part(platform, "ingress")]
    servers, scorers = platform.pids("nats-server"), platform.scorers()
    old = platform.status()
    os.kill(old["pid"], signal.SIGKILL)

    until(lambda: platform.status()["state"] == "degraded", "the loss to show")
    assert "supervisor" in platform.status()["unhealthy"]
    platform.up()

    new = platform.status()
    assert new["pid"] != old["pid"]
    assert new | {"pid": 0} == old | {"pid": 0}
    assert [part(platform, "control"), part(platform, "ingress")] == parts
    assert platform.pids("nats-server") == servers
    assert platform.scorers() == scorers


def test_an_up_that_fails_leaves_what_serves_and_down_ends_it(
    platform: Platform, tmp_path: Path
) -> None:
    """The supervisor and control are gone, and control cannot start for now."""
    platform.up()
    bench = Workbench(platform, tmp_path)
    bench.endpoint("left")
    bench.deploy("left", "blue", "patient")
    os.kill(platform.status()["pid"], signal.SIGKILL)
    os.kill(part(platform, "control"), signal.SIGKILL)
    until(lambda: not platform.pids("headrace run control"), "its end")
    serving = platform.pids("nats-server"), part(platform, "ingress"), platform.scorers()
    (platform.home / "secret.key").write_bytes(b"damaged")

    failed = platform.run("up", "--detach", *FREE, code=5)

    assert "control exited while starting" in failed.stderr
    assert "found running and left so" in failed.stdout
    assert platform.pids("headrace run control") == []
    still = platform.pids("nats-server"), part(platform, "ingress"), platform.scorers()
    assert still == serving
    assert platform.status()["state"] == "degraded"

    platform.down()

    assert platform.processes() == []


def test_what_dies_is_started_again_on_its_port(platform: Platform) -> None:
    platform.up()
    before = platform.status()

    for name in ("control", "ingress"):
        pid = part(platform, name)
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: pid not in platform.pids("headrace run"), "its end")  # type: ignore[misc]
        until(lambda: platform.status()["state"] == "running", "the part's return")

    (server,) = platform.pids("nats-server")
    os.kill(server, signal.SIGKILL)
    until(lambda: server not in platform.pids("nats-server"), "the server's end")
    until(lambda: platform.status()["state"] == "running", "the server's return")
    assert platform.status() == before


def test_a_taken_port_is_named_with_its_holder_and_the_flag(platform: Platform) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])

        failed = platform.run("up", "--detach", *FREE, "--ingress-port", port, code=5)

    assert f"port {port} is taken by" in failed.stderr
    assert f"(pid {os.getpid()})" in failed.stderr
    assert "--ingress-port" in failed.stderr
    assert platform.processes() == []


def test_ctrl_c_stops_everything_and_events_tell_it(platform: Platform) -> None:
    environment = os.environ | {"HEADRACE_HOME": str(platform.home)}
    with subprocess.Popen(
        [str(HEADRACE), "up", "-o", "json", *FREE],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "ready":
                process.send_signal(signal.SIGINT)
    names = [one["event"] for one in events]

    assert process.returncode == 0
    assert names[0] == "starting"
    assert {one["part"] for one in events if one["event"] == "part_ready"} == {
        "nats-server",
        "control",
        "ingress",
    }
    assert events[names.index("ready")]["card"]["state"] == "running"
    assert names[-1] == "stopped"
    assert platform.processes() == []


def test_purge_removes_a_home_and_refuses_any_other_folder(
    platform: Platform, tmp_path: Path
) -> None:
    platform.up()
    platform.run("down", "--purge")
    assert not platform.home.exists()

    foreign = tmp_path / "precious"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    refused = platform.run("down", "--purge", "--home", str(foreign), code=1)
    assert "does not look like a Headrace home" in refused.stderr
    assert (foreign / "thesis.txt").exists()


def test_two_at_once_make_one_platform(platform: Platform) -> None:
    environment = os.environ | {"HEADRACE_HOME": str(platform.home)}
    both = [
        subprocess.Popen(
            [str(HEADRACE), "up", "--detach", *FREE],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
        )
        for _ in range(2)
    ]
    said = [one.communicate(timeout=COMMAND_BOUND_S)[0] for one in both]

    assert [one.returncode for one in both] == [0, 0], said
    assert len(platform.pids("headrace run control")) == 1
    assert len(platform.pids("nats-server")) == 1
