"""Scoring by a NATS client that knows nothing of HTTP, with credentials that allow just that."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.deploy import Workbench
from support.platform import HEADRACE, Platform, until
from support.raw_nats import raw_client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
BOUND_S = 30.0


@pytest.fixture
def router(running: Platform, houses: Workbench) -> Iterator[subprocess.Popen[bytes]]:
    log = running.home / "run" / "router.log"
    with log.open("wb") as file:
        child = subprocess.Popen(
            [str(HEADRACE), "run", "router", "--home", str(running.home)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    until(lambda: b"the router is ready" in log.read_bytes(), "the router")
    yield child
    child.terminate()
    assert child.wait(40) == 0


def credentials(platform: Platform) -> str:
    path = Path(platform.run("nats-creds").stdout.strip())
    assert path.stat().st_mode & 0o077 == 0
    return path.read_text()


async def test_a_caller_on_nats_scores_through_the_router(
    running: Platform, router: subprocess.Popen[bytes]
) -> None:
    url = running.status()["nats_url"]
    async with raw_client(url, credentials(running)) as caller:

        async def ask(body: bytes, **headers: str) -> tuple[str, object]:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            answer = await caller.request(
                "score.houses", body, timeout=BOUND_S, headers=named or None
            )
            assert answer.headers is not None
            return answer.headers["Hr-Status"], json.loads(answer.data)

        async def served() -> bool:
            return (await ask(b"{}"))[0] == "200"

        async with asyncio.timeout(BOUND_S):
            while not await served():  # a router that began just now has to hear of the instance
                pass
        status, body = await ask(b'{"rooms": 3}')
        assert (status, body["rooms"]) == ("200", 3)  # type: ignore[index]  # the model's object
        status, body = await ask(b"{}", azureml_model_deployment="nobody")
        assert (status, body["error"]["code"]) == ("404", "DeploymentNotFound")  # type: ignore[index]
        status, _ = await ask(b'{"sleep_s": 3}', x_request_timeout_ms="200")
        assert status == "408"


async def test_a_callers_credentials_allow_scoring_and_nothing_else(running: Platform) -> None:
    async with raw_client(running.status()["nats_url"], credentials(running)) as caller:
        assert await caller.may_publish("score.houses")
        for subject in ("inst.houses.blue.x", "control.houses.blue.x", "changed.houses"):
            assert not await caller.may_publish(subject), subject
        for subject in ("$KV.spec.endpoint.houses", "$JS.API.INFO", "heartbeat.ingress.x"):
            assert not await caller.may_publish(subject), subject
        assert await caller.may_subscribe("_INBOX_caller.mine.>")
        for subject in ("score.houses", "inst.>", "_INBOX_ingress.>", "_INBOX.>", ">"):
            assert not await caller.may_subscribe(subject), subject
