"""A home that cannot be, a disk without room, a start cut short: said in words, nothing left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.platform import HEADRACE, Platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PORTS = ("control", "ingress", "http", "console", "nats")
FREE = [word for name in PORTS for word in (f"--{name}-port", "0")]


@pytest.mark.parametrize("how", [(), ("--detach",)])
def test_a_home_that_is_a_file_is_an_error_and_not_a_traceback(
    tmp_path: Path, how: tuple[str, ...]
) -> None:
    place = tmp_path / "home"
    place.write_text("mine")
    failed = Platform(place).run("up", *how, *FREE, code=1)
    assert f"error: {place}/run: Not a directory" in failed.stderr
    assert "hint: --home DIR or HEADRACE_HOME" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert place.read_text() == "mine"


def test_a_home_that_never_was_is_not_said_to_stay(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "never")
    for words in (("down",), ("down", "--purge")):
        assert "never does not exist" in platform.run(*words).stdout
    assert not platform.home.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB, which takes no server's files."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(("how", "code"), [((), 1), (("--detach",), 5)])
def test_a_full_disk_is_named_and_nothing_runs_on(
    small_disk: Path, how: tuple[str, ...], code: int
) -> None:
    platform = Platform(small_disk / "home")
    failed = platform.run("up", *how, *FREE, code=code)
    assert "No space left on device" in failed.stderr
    assert "hint: free some" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert platform.processes() == []
    platform.run("down")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after", ["starting", "part_ready"])
def test_a_start_that_is_cut_short_leaves_nothing(
    tmp_path: Path, number: signal.Signals, after: str
) -> None:
    platform = Platform(tmp_path / "home")
    child = subprocess.Popen(
        [str(HEADRACE), "up", "-o", "json", *FREE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=os.environ | {"HEADRACE_HOME": str(platform.home)},
        text=True,
    )
    with child:
        assert child.stdout is not None
        events = (json.loads(line)["event"] for line in child.stdout)
        assert after in events
        child.send_signal(number)
        assert "ready" not in events
        assert child.wait(40) == 0
    assert platform.processes() == []
    platform.run("status", code=8)


def test_a_home_with_a_space_in_its_name_serves(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "a home of mine")
    try:
        platform.run("up", "--detach", *FREE)
        assert platform.status()["state"] == "running"
        queried = platform.run("status", "-o", "tsv", "--query", "state").stdout
        assert queried.strip() == "running"
        assert "running" in platform.run("status", "-o", "table").stdout
        exported = platform.run("status", "-o", "env").stdout
        shown = subprocess.run(
            ["sh", "-c", f'{exported}\nprintf %s "$HEADRACE_HOME"'],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout == str(platform.home)
    finally:
        platform.down()
    assert platform.processes() == []


def test_the_foreground_says_facts_and_no_log_lines(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "home")
    child = subprocess.Popen(
        [str(HEADRACE), "up", *FREE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"HEADRACE_HOME": str(platform.home)},
        text=True,
    )
    with child:
        assert child.stdout is not None
        said = []
        for line in child.stdout:
            said.append(line)
            if line.startswith("Next"):
                child.terminate()
        assert child.wait(40) == 0
    assert not [line for line in said if line.startswith("{")]
    assert said[-1] == "stopped\n"
