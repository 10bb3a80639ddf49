"""The first thing a newcomer runs: every tick holds, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.deploy import Workbench
from support.platform import Platform

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
