"""A scorer that somebody starts by hand serves, is counted, and is nobody's to stop."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace_api.home import Home
from support.deploy import Workbench
from support.platform import HEADRACE, Platform, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]


@pytest.fixture
def attached(running: Platform, houses: Workbench) -> Iterator[subprocess.Popen[bytes]]:
    with attached_from(running, running.home) as child:
        yield child


@contextmanager
def attached_from(running: Platform, home: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    words = ["run", "scorer", "--endpoint", "houses", "--deployment", "blue"]
    child = subprocess.Popen(
        [str(HEADRACE), *words, "--home", str(home)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | env,
    )
    try:
        until(lambda: shown(running).get("attached_instances") == 1, "the attached instance")
        yield child
    finally:
        child.terminate()
        child.wait(40)


def shown(platform: Platform) -> dict[str, Any]:
    return dict(platform.json("online-deployment", "show", "-e", "houses", "-n", "blue"))


def served_by(platform: Platform) -> set[str]:
    """The processes that answer while several requests are sent."""
    words = ["online-endpoint", "invoke", "-n", "houses", "--request-file"]
    file = platform.home.parent / "request.json"
    file.write_text("{}")
    return {platform.run(*words, str(file)).stdout for _ in range(6)}


def test_it_serves_is_counted_and_survives_scale_in_and_update(
    running: Platform, houses: Workbench, attached: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    (folder,) = (running.home / "attached").iterdir()
    assert (folder / "nats.creds").stat().st_mode & 0o077 == 0
    assert (folder / "launch.json").stat().st_mode & 0o077 == 0
    name = ["online-deployment", "update", "-e", "houses", "-n", "blue"]
    running.run(*name, "--set", "instance_count=2")
    running.run(*name, "--set", "instance_count=1")
    until(lambda: shown(running)["ready_instances"] == 1, "one of our own")
    assert attached.poll() is None

    before = running.scorers()
    running.run(*name, "--set", "environment_variables.FRESH=1")
    until(lambda: running.scorers().keys().isdisjoint(before), "our own to be replaced")
    until(lambda: shown(running).get("attached_instances") == 1, "the count to settle")
    assert attached.poll() is None

    for pid in running.scorers().values():
        os.kill(pid, signal.SIGSTOP)
    try:
        assert served_by(running), "ours stand still, so the attached one answered"
    finally:
        for pid in running.scorers().values():
            os.kill(pid, signal.SIGCONT)

    attached.send_signal(signal.SIGINT)
    assert attached.wait(40) == 0
    until(lambda: "attached_instances" not in shown(running), "the count to fall")
    assert list((running.home / "attached").iterdir()) == []


def test_it_serves_from_a_home_that_shares_an_address_a_ca_and_a_token(
    running: Platform, houses: Workbench, tmp_path: Path
) -> None:
    """Another machine's home: no blob, no asset and no environment of the platform is in it."""
    far = Home(tmp_path / "far")
    far.root.mkdir()
    shutil.copy(running.home / "ca.pem", far.ca)
    shutil.copy(running.home / "token", far.token)
    control = json.loads((running.home / "run" / "status.json").read_text())["control_url"]

    with attached_from(running, far.root, HEADRACE_CONTROL_URL=control) as attached:
        assert any(path.is_file() for path in far.blobs.rglob("*")), "fetched by digest"
        for pid in running.scorers().values():
            os.kill(pid, signal.SIGSTOP)
        try:
            assert served_by(running), "ours stand still, so the attached one answered"
        finally:
            for pid in running.scorers().values():
                os.kill(pid, signal.SIGCONT)
        attached.send_signal(signal.SIGINT)
        assert attached.wait(40) == 0


def test_what_cannot_be_attached_to_is_said(running: Platform, houses: Workbench) -> None:
    words = ["run", "scorer", "-e", "houses", "-d"]
    missing = running.run(*words, "nobody", code=3)
    assert "deployment 'nobody' does not exist in endpoint 'houses'" in missing.stderr
    wrong = running.run("run", "scorer", "-e", "houses", code=2)
    assert "--deployment" in wrong.stderr

    file = houses.deployment_file("houses", "red", "broken")
    running.run("online-deployment", "create", "-f", str(file), code=5)
    never = running.run(*words, "red", code=6)
    assert "'red' has never become ready" in never.stderr
