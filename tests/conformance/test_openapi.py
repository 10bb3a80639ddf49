"""The OpenAPI document holds what the control API does, and the API what the document says."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from conformance.sdk import PYTHON
from headrace_services.control.blobs.sas import SasSigner
from support.control import ControlClient, running_control
from support.edge import running_edge
from support.identity import make_client
from support.nats_server import NatsServer
from support.resources import deployment_body, endpoint_body, upload_code, upload_model

METHODS = ("get", "put", "post", "patch", "delete")
BOUND_S = 60
TRIES = 300
ORDINARY_S = 12
FULL_S = 240
REST_ORDINARY_S = 6
REST_FULL_S = 60
# Ends by itself, however slow the machine: what the document itself suggests of each operation.
EACH = ("--phases", "examples,coverage", "--mode", "positive")
# A second time over, so that there is what is asked for, with values of its own.
EACH_OF_REST = ("--phases", "coverage,fuzzing", "--mode", "positive", "--max-examples", "20")
EACH_BOUND_S = 240
CONTAINER = "fuzzed"
VALUES = {"subscription": "00000000-0000-0000-0000-000000000001", "group": "local"}
TENANT = VALUES["subscription"]
PINS = {
    **{name: (value,) for name, value in VALUES.items()},
    "workspace": ("default",),
    "location": ("local",),
    "endpoint": ("one", "two"),
    "deployment": ("blue", "green"),
    "name": ("first", "second"),
    "version": ("1", "2"),
    "client": ("00000000-0000-4000-8000-00000000000a",),
    "issuer": ("00000000-0000-4000-8000-00000000000b",),
}
# Only these are deleted, so that the others are there for who comes after.
SPARE = {"endpoint": ("two",), "deployment": ("green",), "name": ("second",)}
SCORE = b"def init():\n    pass\n\ndef run(data):\n    return data\n"
KEPT = ("models", "environments", "data", "components", "computes")
# What of the issuer and the blob wire has to be answered with a success.
REACHED = {
    "GET openid-configuration",
    "GET keys",
    "POST token",
    "GET blob?comp=list",
    "GET blob",
    "HEAD blob",
    "PUT blob",
    "PUT blob?comp=block",
    "PUT blob?comp=metadata",
    "DELETE blob",
}
NOBODY = "https://127.0.0.1:9/"
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
    async with (
        running_control(tmp_path / "home", nats_server.url) as client,
        running_edge(nats_server.url),
    ):
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
    values = {**VALUES, "workspace": "default", "tenant": TENANT, "container": CONTAINER}
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


async def _documents(
    control: ControlClient, operation: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The API's own in two: what takes the bearer token, and what does not."""
    whole: dict[str, Any] = (await control.send("GET", "//openapi.json")).json
    rest = {
        path: item
        for path, item in whole["paths"].items()
        if path.startswith(("/{tenant}/", "/blob/"))
    }
    arm = {path: item for path, item in whole["paths"].items() if path not in rest}
    _pin_arm(arm, operation)
    await _pin_rest(control, rest)
    return whole | {"paths": arm}, whole | {"paths": rest}


def _pin_arm(paths: dict[str, Any], operation: str) -> None:
    """Names a request needs to reach a handler.

    The count of instances is left out, so that no generated request can start a thousand scorers;
    an issuer is one on this machine, so that none asks another host.
    """
    pins = PINS | {"operation": (operation,)}
    for path, item in paths.items():
        own = item["parameters"]
        if "delete" in item:
            item["delete"]["parameters"] = [_pinned(one, pins | SPARE) for one in own]
        item["parameters"] = [_pinned(one, pins) for one in own]
        for method in METHODS:
            if "requestBody" in item.get(method, {}):
                content = item[method]["requestBody"]["content"]
                fields = content["application/json"]["schema"].get("properties", {})
                fields.pop("sku", None)
                if path.endswith("/issuers/{issuer}"):
                    fields["properties"]["properties"]["issuer"] = {"enum": [NOBODY]}


async def _pin_rest(control: ControlClient, paths: dict[str, Any]) -> None:
    """A client's own secret, and a signature for one container."""
    client = await make_client(control, "reader")
    signer = SasSigner.open(control.home)
    query = signer.sign(CONTAINER, now=datetime.now(UTC), lifetime=timedelta(hours=1))
    pins = {
        **{name: (value,) for name, value in parse_qsl(query)},
        "workspace": ("default",),
        "container": (CONTAINER,),
        "blob": ("first", "second"),
        "tenant": (TENANT, "adfs"),
    }
    for path, item in paths.items():
        if path.startswith("/blob/"):
            item["parameters"].append(
                {"name": "sig", "in": "query", "required": True, "schema": {}}
            )
        item["parameters"] = [_pinned(one, pins) for one in item["parameters"]]
        if "delete" in item:
            own = [one for one in item["parameters"] if one["name"] == "blob"]
            item["delete"]["parameters"] = [_pinned(one, {"blob": ("second",)}) for one in own]
        for method in ("head", *METHODS):
            # Credentials are pinned as parameters, which the tool must not replace.
            item.get(method, {})["security"] = []
        if path.endswith("/token"):
            form = item["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
            scope = f"{control.base}/.default"
            told = {"client_id": client.id, "client_secret": client.secret, "scope": scope}
            fields = form["schema"]["properties"]
            fields.pop("resource")
            fields |= {name: {"enum": [value]} for name, value in told.items()}
            form["schema"]["required"] = list(fields)


def _pinned(parameter: dict[str, Any], pins: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    chosen = pins.get(parameter["name"])
    schema = {"enum": list(chosen)} if chosen else {}
    return parameter | {"schema": parameter["schema"] | schema}


async def _fuzzed(
    control: ControlClient, folder: Path, document: Mapping[str, Any], bound_s: int, *words: str
) -> int:
    """Run Schemathesis until it ends: how many requests it made.

    Raises AssertionError with what it told where a check failed.
    """
    described = folder / "openapi.json"
    described.write_text(json.dumps(document))
    start = ("run", str(described), "--url", control.base, *words, "--checks", CHECKS)
    bounds = ("--seed", "1", "--max-failures", "20", "--no-color", "--warnings", "off")
    process = await asyncio.create_subprocess_exec(
        str(PYTHON.with_name("schemathesis")),
        *(*start, *bounds, "--tls-verify", str(control.home.ca)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=os.environ | {"REQUESTS_CA_BUNDLE": str(control.home.ca)},
    )
    output, _ = await asyncio.wait_for(process.communicate(), bound_s)
    (folder / "told.txt").write_bytes(output)
    told = output.decode()
    assert process.returncode == 0, json.dumps(told[-9000:])
    counted = re.search(r"(\d[\d,]*) generated", told)
    assert counted, told[-2000:]
    return int(counted[1].replace(",", ""))


async def _fuzzed_for(
    control: ControlClient, folder: Path, document: Mapping[str, Any], for_s: int, *words: str
) -> None:
    """Look further until the time is over: how far it gets is the machine's."""
    phases = ("--phases", "examples,coverage,fuzzing", "--max-time", str(for_s))
    await _fuzzed(control, folder, document, for_s + BOUND_S, *phases, *words)


def _kind_of(url: str) -> str:
    """`blob`, `blob?comp=block`, `token`: what of a path the success of an operation is told by."""
    parts = urlsplit(url)
    if not parts.path.startswith("/blob/"):
        return parts.path.rpartition("/")[2]
    comp = dict(parse_qsl(parts.query)).get("comp", "")
    return f"blob?comp={comp}" if comp else "blob"


async def _succeeded(control: ControlClient, folder: Path, document: Mapping[str, Any]) -> set[str]:
    """Each operation of the issuer and the blob wire: those answered with a success."""
    report = folder / "requests.har"
    har = ("--report", "har", "--report-har-path", str(report))
    await _fuzzed(control, folder, document, EACH_BOUND_S, *EACH_OF_REST, *har)
    entries = json.loads(report.read_bytes())["log"]["entries"]
    return {
        f"{one['request']['method']} {_kind_of(one['request']['url'])}"
        for one in entries
        if 200 <= one["response"]["status"] < 300
    }


def _bearer(control: ControlClient) -> tuple[str, str]:
    return "-H", f"Authorization: Bearer {control.token}"


@pytest.mark.timeout(EACH_BOUND_S + ORDINARY_S + 2 * BOUND_S)
@pytest.mark.slow
async def test_no_generated_request_gets_a_5xx_or_an_answer_against_its_schema(
    control: ControlClient, tmp_path: Path
) -> None:
    document, _ = await _documents(control, await _furnished(control))
    bearer = _bearer(control)
    count = await _fuzzed(control, tmp_path, document, EACH_BOUND_S, *EACH, *bearer)
    assert count > 200
    # Requests reached the handlers: of each kind something was kept.
    for kind in KEPT:
        assert (await control.get(f"/{kind}")).json["value"], kind
    found = await control.get("/onlineEndpoints/one/deployments/blue")
    assert found.status == 200, found.data

    await _fuzzed_for(control, tmp_path, document, ORDINARY_S, *bearer)


@pytest.mark.timeout(EACH_BOUND_S + REST_ORDINARY_S + 2 * BOUND_S)
@pytest.mark.slow
async def test_none_does_of_the_issuer_and_the_blob_wire(
    control: ControlClient, tmp_path: Path
) -> None:
    _, document = await _documents(control, "none")
    reached = await _succeeded(control, tmp_path, document)
    assert reached >= REACHED, REACHED - reached

    await _fuzzed_for(control, tmp_path, document, REST_ORDINARY_S)


@pytest.mark.timeout(FULL_S + 2 * BOUND_S)
@pytest.mark.full
async def test_no_generated_request_of_a_long_run_does_either(
    control: ControlClient, tmp_path: Path
) -> None:
    document, _ = await _documents(control, await _furnished(control))
    await _fuzzed_for(control, tmp_path, document, FULL_S, *_bearer(control))


@pytest.mark.timeout(REST_FULL_S + 2 * BOUND_S)
@pytest.mark.full
async def test_none_of_a_long_run_does_of_the_issuer_and_the_blob_wire(
    control: ControlClient, tmp_path: Path
) -> None:
    _, document = await _documents(control, "none")
    await _fuzzed_for(control, tmp_path, document, REST_FULL_S)
