"""The published safe rollout, word for word, with the command a user has."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from typing import Any

import pytest

from support.deploy import Workbench
from support.platform import Platform, until

EP = "my-endpoint"
pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]


class Caller:
    """Scores through the command line, and through curl's eyes by HTTP."""

    def __init__(self, platform: Platform, body: str) -> None:
        self._platform = platform
        self._body = body

    def version(self, *more: str) -> str:
        words = ("online-endpoint", "invoke", "-n", EP, "--request-file", self._body, *more)
        return str(json.loads(self._platform.run(*words).stdout)["version"])


def test_a_safe_rollout_from_blue_to_green(platform: Platform, bench: Workbench) -> None:
    update = ("online-endpoint", "update", "-n", EP)
    body = str(bench.write("sample-request.json", {"nonce": "n"}))
    call = Caller(platform, body)
    limits: dict[str, Any] = {"request_settings": {"max_concurrent_requests_per_instance": 8}}
    bench.endpoint(EP)
    bench.deploy(EP, "blue", "patient", **limits)
    assert call.version() == "1"

    green = {"environment_variables": {"VERSION": "2"}} | limits
    bench.deploy(EP, "green", "patient", all_traffic=False, **green)
    assert call.version("-d", "green") == "2"
    assert call.version() == "1", "a new deployment has no traffic"

    platform.run(*update, "--mirror-traffic", "green=10")
    assert platform.json("online-endpoint", "show", "-n", EP)["mirror_traffic"] == {"green": 10}
    assert {score(platform) for _ in range(50)} == {"1"}, "nobody sees the mirror's answers"

    platform.run(*update, "--mirror-traffic", "green=0", "--traffic", "blue=90 green=10")
    assert Counter(score(platform) for _ in range(100)) == {"1": 90, "2": 10}

    logs = ("online-deployment", "get-logs", "-n", "blue", "-e", EP)
    assert "POST /score 200" in platform.run(*logs).stdout
    assert platform.run(*logs, "--container", "storage-initializer").stdout

    platform.run(*update, "--traffic", "blue=0 green=100")
    assert {score(platform) for _ in range(20)} == {"2"}

    platform.run("online-deployment", "delete", "-n", "blue", "-e", EP, "-y")
    assert [d["name"] for d in platform.json("online-deployment", "list", "-e", EP)] == ["green"]
    platform.run("online-endpoint", "delete", "-n", EP, "-y")
    platform.run("online-endpoint", "show", "-n", EP, code=3)
    until(lambda: not platform.scorers(), "the scorers to go")


def score(platform: Platform) -> str:
    """One request with curl, TLS and the printed key, as the README has it."""
    query = ("online-endpoint", "show", "-n", EP, "--query", "scoring_uri", "-o", "tsv")
    cache = score.__dict__
    if cache.get("home") != platform.home:
        uri = platform.run(*query).stdout.strip()
        cache.update(home=platform.home, uri=uri, key=platform.key(EP))
    headers = (f"Authorization: Bearer {cache['key']}", "Content-Type: application/json")
    curl = ["curl", "-sS", "--cacert", platform.run("ca").stdout.strip(), cache["uri"]]
    answer = subprocess.run(
        [*curl, "-H", headers[0], "-H", headers[1], "-d", '{"nonce": "n"}'],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return str(json.loads(answer.stdout)["version"])
