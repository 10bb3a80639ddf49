"""The first thing a newcomer runs: every tick holds, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from headrace.demo.commands import Commands
from headrace.demo.logs import named_request
from headrace.demo.ticks import DemoFailed, Ticks
from headrace.demo.traffic import Caller
from headrace_api.home import Home
from support.deploy import Workbench, patient
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
    bench.endpoint("houses")  # as README's first endpoint is named

    done = platform.run("demo", "--once", "--no-build")

    assert "already up" in done.stderr
    assert [one["name"] for one in platform.json("online-endpoint", "list")] == ["houses"]
    assert platform.status()["state"] == "running"


@pytest.mark.parametrize("named", [True, False], ids=["a line each", "no line"])
def test_the_log_of_an_instance_that_served_nothing_yet_comes_to_name_requests_or_fails_the_demo(
    platform: Platform, bench: Workbench, named: bool
) -> None:
    """As the replacement of a killed instance, which is the one that get-logs shows."""
    endpoint = "named" if named else "silent"
    bench.endpoint(endpoint)
    level = {} if named else {"AZUREML_LOG_LEVEL": "ERROR"}
    bench.deploy(endpoint, "blue", "patient", **patient(1, environment_variables=level))
    caller = Caller(platform.url(endpoint), platform.key(endpoint), b"{}")
    commands = Commands(Home(platform.home), verbose=False)

    def look(bound_s: float) -> str:
        where = {"endpoint": endpoint, "deployment": "blue"}
        return named_request(commands, caller, Ticks(), bound_s=bound_s, **where)

    if named:
        assert "POST /score 200" in look(COMMAND_BOUND_S)
    else:
        with pytest.raises(DemoFailed, match="the log names the requests"):
            look(0.0)


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
