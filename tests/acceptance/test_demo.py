"""The first thing a newcomer runs: every tick holds, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.deploy import Workbench
from support.platform import COMMAND_BOUND_S, HEADRACE, Platform

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


@pytest.mark.parametrize("words", [("--no-build",), ()], ids=["stdlib", "regression"])
def test_the_demo_holds_and_leaves_nothing(tmp_path: Path, words: tuple[str, ...]) -> None:
    """The second kind builds an environment with uv from the package registry."""
    platform = Platform(tmp_path / "home")

    done = platform.run("demo", "--once", *words)

    assert "ticks hold" in done.stderr
    assert "✗" not in done.stderr
    assert [p.cmdline() for p in platform.processes()] == []


def test_the_demo_uses_a_running_platform_and_leaves_what_is_not_its_own(
    platform: Platform, bench: Workbench
) -> None:
    bench.endpoint("mine")

    done = platform.run("demo", "--once", "--no-build")

    assert "already up" in done.stderr
    assert [one["name"] for one in platform.json("online-endpoint", "list")] == ["mine"]
    assert platform.status()["state"] == "running"


def test_a_demo_told_to_end_half_way_leaves_nothing(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "home")
    with subprocess.Popen(
        [HEADRACE, "demo", "--once", "--no-build"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HEADRACE_HOME": str(platform.home)},
    ) as demo:
        assert demo.stderr is not None
        assert any("✓ endpoint" in line for line in demo.stderr), "the demo never began"
        demo.terminate()
        demo.communicate(timeout=COMMAND_BOUND_S)

    assert demo.returncode == 143
    assert [p.cmdline() for p in platform.processes()] == []
