"""What callers see after `headrace down` and `headrace up`: they wait for the instances."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from support.deploy import Workbench
from support.platform import Platform, started

SLOW = (
    "import time\n\n\ndef init():\n    time.sleep(2)\n\n\ndef run(raw):\n    return {'said': raw}\n"
)
RAISES = "def init():\n    raise KeyError('houses')\n\n\ndef run(raw):\n    return raw\n"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    yield from started(tmp_path / "home")


def written(bench: Workbench, name: str, script: str) -> str:
    """A deployment with this text as its score.py; its requests may take long, not wait long."""
    settings = {"request_timeout_ms": 60_000, "max_queue_wait_ms": 100}
    file = bench.deployment_file("back", name, "patient", request_settings=settings)
    (bench.folder / f"back-{name}-code" / "score.py").write_text(script)
    return str(file)


def ask(http: HTTPConnection, key: str, deployment: str) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": deployment}
    http.request("POST", "/endpoints/back/score", b"1", headers)
    answer = http.getresponse()
    return answer.status, answer.read()


def test_after_a_restart_requests_wait_for_instances_and_not_for_what_failed(
    platform: Platform, tmp_path: Path
) -> None:
    bench = Workbench(platform, tmp_path / "work")
    bench.endpoint("back")
    create = ("online-deployment", "create", "-f")
    platform.run(*create, written(bench, "slow", SLOW))
    platform.run(*create, written(bench, "broken", RAISES), code=5)
    key = platform.key("back")

    platform.down()
    platform.up()
    with platform.connection() as http:
        found = {name: ask(http, key, name) for name in ("broken", "slow")}

    assert found["slow"] == (200, json.dumps({"said": "1"}).encode())
    assert found["broken"][0] == 424
    assert b"ready" in found["broken"][1]


def test_five_evenings_down_and_five_mornings_up_are_no_crashes(
    platform: Platform, tmp_path: Path
) -> None:
    bench = Workbench(platform, tmp_path / "work")
    bench.endpoint("back")
    file = written(bench, "daily", "def init(): pass\ndef run(raw): return raw\n")
    platform.run("online-deployment", "create", "-f", file)
    key = platform.key("back")
    for _ in range(5):
        platform.down()
        platform.up()
        with platform.connection() as http:
            assert ask(http, key, "daily")[0] == 200
    where = ("-e", "back", "-n", "daily")
    platform.run("online-deployment", "update", *where, "--set", "instance_count=2")
    assert platform.json("online-deployment", "show", *where)["ready_instances"] == 2
