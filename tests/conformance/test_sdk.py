"""The installed, unmodified azure-ai-ml: what a user's script does, on a whole platform."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance.misses import MISSES, PARTLY
from conformance.report import DOCUMENT, render
from conformance.sdk import Client
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
    "identity",
    "low_level",
    "misses",
    "not_offered",
    "failing_models",
    "failures",
)
SMOKE = ("workspace", "datastores", "models", "environments", "failures")
AGAIN = ("again", "others_again")
DELETE = ("delete", "others_delete")
pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


def test_every_operation_passes_or_fails_as_told_and_all_is_there_after_a_restart(
    platform: Platform, tmp_path: Path
) -> None:
    client = Client(platform, tmp_path, "C")
    _does_all(client)
    request = tmp_path / "again.json"
    request.write_text('{"n": 2}')
    scored = ("online-endpoint", "invoke", "-n", "rollout", "--request-file", str(request))
    assert "green" in platform.run(*scored).stdout
    endpoints = platform.json("online-endpoint", "list")
    assert {one["name"] for one in endpoints} == {"low", "open", "rollout"}

    platform.down()
    platform.up()

    client.does(*AGAIN)
    assert "green" in platform.run(*scored).stdout
    assert platform.json("model", "show", "-n", "words", "-v", "1")["version"] == "1"
    assert platform.json("schedule", "show", "-n", "nightly")["name"] == "nightly"
    client.does(*DELETE)
    assert platform.json("online-endpoint", "list") == []
    _passes_as_told(client)
    told = render(client.operations)
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

    _does_all(client)
    client.does(*AGAIN, *DELETE)

    _passes_as_told(client)


def _does_all(client: Client) -> None:
    made = client.signs_in_as(owner="owner", scorer="scorer", reader="reader", gone="owner")
    client.platform.run("client", "delete", "-n", made["gone"])
    client.does(*STEPS)


def _passes_as_told(client: Client) -> None:
    """All but MISSES pass; each of these, and each use of PARTLY, fails as it is told."""
    told = MISSES | PARTLY
    assert set(client.operations) - client.passed == set(MISSES)
    assert set(client.missed) == set(told)
    for name, miss in told.items():
        assert miss.expected(client.configuration).matches(client.missed[name]), client.missed[name]
