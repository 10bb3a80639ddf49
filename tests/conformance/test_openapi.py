"""The OpenAPI document holds what the control API does, and the API what the document says."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conformance.sdk import PYTHON
from support.control import ControlClient, running_control
from support.nats_server import NatsServer

METHODS = ("get", "put", "post", "patch", "delete")
BOUND_S = 100
VALUES = {"subscription": "00000000-0000-0000-0000-000000000001", "group": "local"}
CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance"


@pytest.fixture
async def control(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[ControlClient]:
    async with running_control(tmp_path / "home", nats_server.url) as client:
        yield client
        await _emptied(client)


async def _emptied(control: ControlClient) -> None:
    """Delete what was made, so that no scorer outlives the test."""
    for one in (await control.get("/onlineEndpoints")).json["value"]:
        await control.finished(await control.send("DELETE", f"/onlineEndpoints/{one['name']}"), 30)


def _filled(template: str) -> str:
    values = {**VALUES, "workspace": "default"}
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], "some"), template)


async def test_each_method_of_each_path_is_served_if_and_only_if_it_is_in_the_document(
    control: ControlClient,
) -> None:
    document = (await control.send("GET", "//openapi.json", headers={"Authorization": ""})).json
    assert document["openapi"].startswith("3.1")
    assert len(document["paths"]) > 40

    for template, item in document["paths"].items():
        for method in METHODS:
            reply = await control.send(method.upper(), "/" + _filled(template), {})
            served = reply.status not in (405, 501) and (
                reply.status != 404
                or reply.code not in ("ResourceTypeNotSupported", "NotFound")
                or "does not" in reply.json["error"]["message"]
                or "has no" in reply.json["error"]["message"]
            )
            assert served == (method in item), (method, template, reply.status, reply.data)


@pytest.mark.timeout(BOUND_S + 20)
@pytest.mark.slow
async def test_no_generated_request_gets_a_5xx_or_an_answer_against_its_schema(
    control: ControlClient,
) -> None:
    words = ("run", f"{control.base}/openapi.json", "--phases", "examples,coverage,fuzzing")
    bounds = ("--checks", CHECKS, "--max-time", "25", "--max-failures", "20", "--seed", "1")
    token = ("-H", f"Authorization: Bearer {control.token}", "--tls-verify", str(control.home.ca))
    process = await asyncio.create_subprocess_exec(
        str(PYTHON.with_name("schemathesis")),
        *(*words, *bounds, *token, "--no-color", "--warnings", "off"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"REQUESTS_CA_BUNDLE": str(control.home.ca)},
    )
    told, _ = await asyncio.wait_for(process.communicate(), BOUND_S)
    assert process.returncode == 0, json.dumps(told.decode()[-6000:])
    counted = re.search(r"(\d[\d,]*) generated", told.decode())
    assert counted, told.decode()[-2000:]
    assert int(counted[1].replace(",", "")) > 200
