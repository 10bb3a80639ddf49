"""The OpenAPI document holds what the control API does, and the API what the document says."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from conformance.sdk import PYTHON
from support.control import ControlClient, running_control
from support.nats_server import NatsServer
from support.resources import deployment_body, endpoint_body, upload_code, upload_model

METHODS = ("get", "put", "post", "patch", "delete")
BOUND_S = 60
TRIES = 300
ORDINARY_S = 25
FULL_S = 240
VALUES = {"subscription": "00000000-0000-0000-0000-000000000001", "group": "local"}
PINS = {
    **{name: (value,) for name, value in VALUES.items()},
    "workspace": ("default",),
    "location": ("local",),
    "endpoint": ("one", "two"),
    "deployment": ("blue", "green"),
    "name": ("first", "second"),
    "version": ("1", "2"),
    "client": ("00000000-0000-4000-8000-00000000000a",),
}
# Only these are deleted, so that the others are there for who comes after.
SPARE = {"endpoint": ("two",), "deployment": ("green",), "name": ("second",)}
SCORE = b"def init():\n    pass\n\ndef run(data):\n    return data\n"
KEPT = ("models", "environments", "data", "components", "computes")
CHECKS = ",".join(
    (
        "not_a_server_error",
        "content_type_conformance",
        "response_schema_conformance",
        "status_code_conformance",
        "unsupported_method",
        "ignored_auth",
    )
)


@pytest.fixture
async def control(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[ControlClient]:
    async with running_control(tmp_path / "home", nats_server.url) as client:
        yield client
        await _emptied(client)


async def _emptied(control: ControlClient) -> None:
    """Delete what was made, so that no scorer outlives the test."""
    for one in (await control.get("/onlineEndpoints")).json["value"]:
        path = f"/onlineEndpoints/{one['name']}"
        # A change that still runs keeps the delete out.
        for _ in range(TRIES):
            gone = await control.send("DELETE", path)
            if gone.status != 409:
                break
            await asyncio.sleep(0.1)
        assert gone.status in (202, 204), gone.data
        if gone.status != 204:
            await control.finished(gone, BOUND_S)


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


async def _furnished(control: ControlClient) -> str:
    """What requests may find: an endpoint that serves, a model's bytes; returns an operation."""
    await upload_model(control, "some", b"words")
    code = await upload_code(control, {"score.py": SCORE})
    made = await control.put("/onlineEndpoints/one", endpoint_body())
    await control.finished(made)
    await control.created("/onlineEndpoints/one/deployments/blue", deployment_body(code))
    path = urlsplit(made.headers["Azure-AsyncOperation"]).path
    return path.rpartition("/")[2]


async def _document(control: ControlClient, operation: str) -> dict[str, Any]:
    """The API's own, with the names pinned that a request needs to reach a handler.

    The count of instances is left out, so that no generated request can start a thousand scorers.
    """
    document: dict[str, Any] = (await control.send("GET", "//openapi.json")).json
    pins = PINS | {"operation": (operation,)}
    for item in document["paths"].values():
        own = item["parameters"]
        if "delete" in item:
            item["delete"]["parameters"] = [_pinned(one, pins | SPARE) for one in own]
        item["parameters"] = [_pinned(one, pins) for one in own]
        for method in METHODS:
            if "requestBody" in item.get(method, {}):
                content = item[method]["requestBody"]["content"]
                content["application/json"]["schema"].get("properties", {}).pop("sku", None)
    return document


def _pinned(parameter: dict[str, Any], pins: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    chosen = pins.get(parameter["name"])
    schema = {"enum": list(chosen)} if chosen else {}
    return parameter | {"schema": parameter["schema"] | schema}


async def _fuzzed(control: ControlClient, folder: Path, for_s: int) -> tuple[int, str]:
    """Run Schemathesis for so long: how many requests it made, and what it told."""
    described = folder / "openapi.json"
    described.write_text(json.dumps(await _document(control, await _furnished(control))))
    words = ("run", str(described), "--url", control.base)
    phases = ("--phases", "examples,coverage,fuzzing", "--checks", CHECKS, "--seed", "1")
    bounds = ("--max-time", str(for_s), "--max-failures", "20", "--no-color", "--warnings", "off")
    token = ("-H", f"Authorization: Bearer {control.token}", "--tls-verify", str(control.home.ca))
    process = await asyncio.create_subprocess_exec(
        str(PYTHON.with_name("schemathesis")),
        *(*words, *phases, *bounds, *token),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=os.environ | {"REQUESTS_CA_BUNDLE": str(control.home.ca)},
    )
    told, _ = await asyncio.wait_for(process.communicate(), for_s + BOUND_S)
    (folder / "told.txt").write_bytes(told)
    assert process.returncode == 0, json.dumps(told.decode()[-9000:])
    counted = re.search(r"(\d[\d,]*) generated", told.decode())
    assert counted, told.decode()[-2000:]
    return int(counted[1].replace(",", "")), told.decode()


@pytest.mark.timeout(ORDINARY_S + BOUND_S)
@pytest.mark.slow
async def test_no_generated_request_gets_a_5xx_or_an_answer_against_its_schema(
    control: ControlClient, tmp_path: Path
) -> None:
    count, told = await _fuzzed(control, tmp_path, ORDINARY_S)
    assert count > 200, told[-2000:]
    # Requests reached the handlers: of each kind something was kept.
    for kind in KEPT:
        assert (await control.get(f"/{kind}")).json["value"], kind
    found = await control.get("/onlineEndpoints/one/deployments/blue")
    assert found.status == 200, found.data


@pytest.mark.timeout(FULL_S + BOUND_S)
@pytest.mark.full
async def test_no_generated_request_of_a_long_run_does_either(
    control: ControlClient, tmp_path: Path
) -> None:
    await _fuzzed(control, tmp_path, FULL_S)
