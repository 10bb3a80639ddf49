"""What a client reads first, and how the wire answers what it does not offer."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from headrace_api.errors import Conflict
from headrace_services.control import app
from headrace_services.control.settings import Settings
from support.control import WORKSPACE, ControlClient, running_control
from support.nats_server import NatsServer


async def test_the_documents_a_client_begins_with(control: ControlClient) -> None:
    workspace = (await control.get("")).json
    discovery = await control.session.get(workspace["properties"]["discoveryUrl"])
    modern = (await control.get("//metadata/endpoints?api-version=2022-09-01")).json
    old = (await control.get("//metadata/endpoints?api-version=2019-05-01")).json
    stores = (await control.get("/datastores?isDefault=true&count=30")).json["value"]

    assert workspace["id"] == WORKSPACE
    assert workspace["location"] == "local"
    assert (await discovery.json())["api"] == control.base
    assert modern["resourceManager"] == control.base
    assert old == [modern]
    assert [one["name"] for one in stores] == ["workspaceblobstore"]
    port = control.base.rpartition(":")[2]
    assert stores[0]["properties"]["accountName"] == f"localhost:{port}/blob/default/_"


async def test_health_is_open_and_says_when_it_is_ready(control: ControlClient) -> None:
    async with control.session.get(f"{control.base}/readyz") as ready:
        assert (ready.status, await ready.json()) == (200, {"ready": True})
    async with control.session.get(f"{control.base}/healthz") as health:
        assert health.status == 200


async def test_path_segments_match_in_any_case(control: ControlClient) -> None:
    found = await control.get("/" + WORKSPACE.upper().removesuffix("DEFAULT") + "Default")

    assert found.json["name"] == "default"


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Basic YTpi"])
async def test_without_the_token_nothing_of_arm_is_told(
    control: ControlClient, authorization: str
) -> None:
    for path in ("", "/onlineEndpoints", "/nothing"):
        reply = await control.send("GET", path, headers={"Authorization": authorization})
        assert (reply.status, reply.code) == (401, "Unauthorized")
        assert "Bearer" in reply.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/batchEndpoints", 404, "ResourceTypeNotSupported"),
        ("GET", "/jobs/x", 404, "ResourceTypeNotSupported"),
        ("PUT", "/jobs/x", 404, "ResourceTypeNotSupported"),
        ("GET", "//nothing", 404, "NotFound"),
        ("DELETE", "/datastores", 405, "MethodNotAllowed"),
        ("GET", "/onlineEndpoints/absent", 404, "ResourceNotFound"),
        ("GET", "/onlineEndpoints/a%2fb", 400, "BadArgument"),
        ("GET", "/onlineEndpoints/..", 400, "BadArgument"),
        ("GET", "/onlineEndpoints/x%00y", 400, "BadArgument"),
        ("GET", "/onlineEndpoints/x%0ay", 400, "BadArgument"),
        ("GET", "/onlineEndpoints/-bad-", 400, "BadArgument"),
        ("GET", "/datastores/absent", 404, "ResourceNotFound"),
        ("GET", "/models/a/versions/..%2f..", 400, "BadArgument"),
        ("GET", "/models?listViewType=Some", 400, "BadArgument"),
    ],
)
async def test_every_refusal_is_an_arm_error(
    control: ControlClient, method: str, path: str, status: int, code: str
) -> None:
    body: dict[str, object] | None = {} if method == "PUT" else None

    reply = await control.send(method, path, body)

    assert (reply.status, reply.code) == (status, code)


async def test_another_workspace_does_not_exist(control: ControlClient) -> None:
    reply = await control.get("/" + WORKSPACE.replace("/default", "/other") + "/onlineEndpoints")

    assert (reply.status, reply.code) == (404, "ResourceNotFound")


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/json", b"", 400, "BadArgument"),
        ("application/json", b"{", 400, "BadArgument"),
        ("application/json", b"null", 400, "BadArgument"),
        ("application/json", b'{"properties": null}', 400, "BadArgument"),
        ("application/json", b'{"properties": []}', 400, "BadArgument"),
        ("application/json", b'{"properties": {}, "tags": 1}', 400, "BadArgument"),
        (
            "application/json",
            b'{"properties": {"traffic": null, "authMode": 1}}',
            400,
            "BadArgument",
        ),
        ("text/plain", b"{}", 415, "UnsupportedMediaType"),
        ("application/json", b"[" * 200_000, 400, "BadArgument"),
        ("application/json", b" " * (4 * 1024 * 1024 + 1), 413, "RequestEntityTooLarge"),
    ],
)
async def test_bodies_that_cannot_be_right_are_refused(
    control: ControlClient, content_type: str, body: bytes, status: int, code: str
) -> None:
    headers = {"Content-Type": content_type}

    reply = await control.send("PUT", "/onlineEndpoints/good-name", data=body, headers=headers)

    assert (reply.status, reply.code) == (status, code)


async def test_a_taken_port_is_an_error_that_names_it(
    control: ControlClient, nats_server: NatsServer, tmp_path: Path
) -> None:
    port = int(control.base.rpartition(":")[2])
    settings = Settings(home=control.home, nats_url=nats_server.url, port=port)

    with pytest.raises(Conflict, match=str(port)):
        await app.run(settings, asyncio.Event())


async def test_a_stop_does_not_wait_for_idle_connections(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    async with running_control(tmp_path / "home", nats_server.url, drain_s=60.0) as client:
        await client.get("")
        started = time.monotonic()

    assert time.monotonic() - started < 20.0


async def test_token_and_ca_outlive_a_restart(tmp_path: Path, nats_server: NatsServer) -> None:
    async with running_control(tmp_path / "home", nats_server.url) as client:
        token, ca = client.token, client.home.ca.read_bytes()

    async with running_control(tmp_path / "home", nats_server.url) as client:
        assert (client.token, client.home.ca.read_bytes()) == (token, ca)
        assert (await client.get("")).status == 200
