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
from headrace_services.control.sas import SasSigner
from support.control import ControlClient, running_control
from support.identity import make_client
from support.nats_server import NatsServer
from support.resources import deployment_body, endpoint_body, upload_code, upload_model

METHODS = ("get", "put", "post", "patch", "delete")
BOUND_S = 60
TRIES = 300
ORDINARY_S = 25
FULL_S = 240
REST_ORDINARY_S = 12
REST_FULL_S = 60
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
    control: ControlClient, folder: Path, document: Mapping[str, Any], for_s: int, *words: str
) -> tuple[int, str]:
    """Run Schemathesis for so long: how many requests it made, and what it told."""
    described = folder / "openapi.json"
    described.write_text(json.dumps(document))
    start = ("run", str(described), "--url", control.base, *words)
    phases = ("--phases", "examples,coverage,fuzzing", "--checks", CHECKS, "--seed", "1")
    bounds = ("--max-time", str(for_s), "--max-failures", "20", "--no-color", "--warnings", "off")
    process = await asyncio.create_subprocess_exec(
        str(PYTHON.with_name("schemathesis")),
        *(*start, *phases, *bounds, "--tls-verify", str(control.home.ca)),
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


async def _fuzzed_arm(control: ControlClient, folder: Path, for_s: int) -> tuple[int, str]:
    document, _ = await _documents(control, await _furnished(control))
    bearer = f"Authorization: Bearer {control.token}"
    return await _fuzzed(control, folder, document, for_s, "-H", bearer)


async def _fuzzed_rest(control: ControlClient, folder: Path, for_s: int) -> set[str]:
    """The issuer and the blob wire: the operations that were answered with a success."""
    _, document = await _documents(control, "none")
    report = folder / "requests.har"
    await _fuzzed(
        control, folder, document, for_s, "--report", "har", "--report-har-path", str(report)
    )
    entries = json.loads(report.read_bytes())["log"]["entries"]
    return {
        f"{one['request']['method']} {_kind_of(one['request']['url'])}"
        for one in entries
        if 200 <= one["response"]["status"] < 300
    }


def _kind_of(url: str) -> str:
    """`blob`, `blob?comp=block`, `token`: what of a path the success of an operation is told by."""
    parts = urlsplit(url)
    if not parts.path.startswith("/blob/"):
        return parts.path.rpartition("/")[2]
    comp = dict(parse_qsl(parts.query)).get("comp", "")
    return f"blob?comp={comp}" if comp else "blob"


@pytest.mark.timeout(ORDINARY_S + BOUND_S)
@pytest.mark.slow
async def test_no_generated_request_gets_a_5xx_or_an_answer_against_its_schema(
    control: ControlClient, tmp_path: Path
) -> None:
    count, told = await _fuzzed_arm(control, tmp_path, ORDINARY_S)
    assert count > 200, told[-2000:]
    # Requests reached the handlers: of each kind something was kept.
    for kind in KEPT:
        assert (await control.get(f"/{kind}")).json["value"], kind
    found = await control.get("/onlineEndpoints/one/deployments/blue")
    assert found.status == 200, found.data


@pytest.mark.timeout(REST_ORDINARY_S + BOUND_S)
@pytest.mark.slow
async def test_none_does_of_the_issuer_and_the_blob_wire(
    control: ControlClient, tmp_path: Path
) -> None:
    reached = await _fuzzed_rest(control, tmp_path, REST_ORDINARY_S)

    assert reached >= REACHED, REACHED - reached


@pytest.mark.timeout(FULL_S + BOUND_S)
@pytest.mark.full
async def test_no_generated_request_of_a_long_run_does_either(
    control: ControlClient, tmp_path: Path
) -> None:
    await _fuzzed_arm(control, tmp_path, FULL_S)


@pytest.mark.timeout(REST_FULL_S + BOUND_S)
@pytest.mark.full
async def test_none_of_a_long_run_does_of_the_issuer_and_the_blob_wire(
    control: ControlClient, tmp_path: Path
) -> None:
    await _fuzzed_rest(control, tmp_path, REST_FULL_S)
