"""The installed, unmodified azure-ai-ml: what a user's script does, on a whole platform."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance.report import DOCUMENT, render
from conformance.sdk import REASONS, Client
from support.platform import Platform

STEPS = (
    "workspace",
    "datastores",
    "compute",
    "models",
    "environments",
    "data",
    "components",
    "rollout",
    "keys",
    "schedules",
    "failures",
)
SMOKE = ("workspace", "datastores", "models", "environments", "failures")
pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


def test_every_operation_passes_or_has_a_reason_and_all_is_there_after_a_restart(
    platform: Platform, tmp_path: Path
) -> None:
    client = Client(platform, tmp_path, "C")
    client.does(*STEPS)
    request = tmp_path / "again.json"
    request.write_text('{"n": 2}')
    scored = ("online-endpoint", "invoke", "-n", "rollout", "--request-file", str(request))
    assert "green" in platform.run(*scored).stdout
    endpoints = platform.json("online-endpoint", "list")
    assert [one["name"] for one in endpoints] == ["rollout"]

    platform.down()
    platform.up()

    client.does("again")
    assert "green" in platform.run(*scored).stdout
    assert platform.json("model", "show", "-n", "words", "-v", "1")["version"] == "1"
    assert platform.json("schedule", "show", "-n", "nightly")["name"] == "nightly"
    client.does("delete")
    platform.run("online-endpoint", "show", "-n", "rollout", code=3)
    assert set(client.operations) - client.passed == set(REASONS)
    told = render(client.operations, client.passed)
    if os.environ.get("HEADRACE_WRITE_DOCS"):
        DOCUMENT.write_text(told)
    assert DOCUMENT.read_text() == told, "HEADRACE_WRITE_DOCS=1 writes docs/conformance.md anew"


@pytest.mark.parametrize("configuration", ["A", "B"])
def test_the_other_configurations_reach_the_same_platform(
    platform: Platform, tmp_path: Path, configuration: str
) -> None:
    Client(platform, tmp_path, configuration).does(*SMOKE)


@pytest.mark.full
@pytest.mark.parametrize("configuration", ["A", "B"])
def test_the_other_configurations_do_all_of_it(
    platform: Platform, tmp_path: Path, configuration: str
) -> None:
    client = Client(platform, tmp_path, configuration)

    client.does(*STEPS)
    client.does("again", "delete")

    assert set(client.operations) - client.passed == set(REASONS)
