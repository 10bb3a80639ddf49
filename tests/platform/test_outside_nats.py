"""`--nats URL`: the platform on a server that is somebody else's to start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace_api.home import Home
from headrace_bus.client import jwt
from headrace_bus.client.credentials import Credentials
from headrace_bus.client.identity import Identities
from headrace_bus.client.jwt import Permissions
from headrace_bus.client.nkeys import KeyKind, KeyPair
from support.deploy import Workbench
from support.nats_server import NatsServer
from support.platform import Platform
from support.platform_nats import platform_nats

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]
SERVICES = ("control", "ingress", "http", "console")
FREE = [word for name in SERVICES for word in (f"--{name}-port", "0")]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    made = Platform(tmp_path / "home")
    yield made
    made.down()
    assert made.processes() == []


def scores(platform: Platform, folder: Path) -> None:
    """Deploy and invoke, as a user does."""
    bench = Workbench(platform, folder)
    bench.endpoint("houses")
    bench.deploy("houses", "blue", "patient")
    file = bench.write("request.json", {"rooms": 3})
    answer = platform.run("online-endpoint", "invoke", "-n", "houses", "--request-file", str(file))
    assert '"rooms": 3' in answer.stdout


@asynccontextmanager
async def operator_server(folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """A server in operator mode, and one user of its account who may do everything there."""
    async with platform_nats(Home(folder)) as nats:
        identities = Identities(nats.home)
        key = KeyPair.create(KeyKind.USER)
        everything = Permissions(publish=(">",), subscribe=(">",))
        signed = jwt.user_jwt(identities.account, key, "installation", everything)
        file = folder / "installation.creds"
        file.touch(mode=0o600)
        file.write_text(Credentials(jwt=signed, key=key).text())
        yield nats.server.url, file


def test_a_plain_server_is_used_and_left_running(platform: Platform, tmp_path: Path) -> None:
    with NatsServer(tmp_path / "outside") as server:
        platform.run("up", "--detach", "--nats", server.url, *FREE)
        status = platform.status()
        assert (status["state"], status["nats_url"]) == ("running", server.url)
        assert platform.pids("nats-server") == []
        scores(platform, tmp_path / "files")
        missing = platform.run("nats-creds", code=8)
        assert "for its own server only" in missing.stderr

        pid = server.pid
        platform.run("down")
        assert server.pid == pid
        cluster = f"nats://127.0.0.1:1,{server.url}"
        platform.run("up", "--detach", "--nats", cluster, *FREE)
        kept = [one["name"] for one in platform.json("online-endpoint", "list")]
        assert kept == ["houses"], "what it stored is the server's to keep"
        platform.run("down")


async def test_a_server_with_credentials_is_used_and_left_running(
    platform: Platform, tmp_path: Path
) -> None:
    """Also by a home that had a server of its own: its account's keys are nobody's out there."""
    await asyncio.to_thread(platform.up)
    await asyncio.to_thread(platform.run, "down")
    async with operator_server(tmp_path / "outside") as (url, file):
        words = ["up", "--detach", "--nats", url, "--nats-creds", str(file), *FREE]
        await asyncio.to_thread(platform.run, *words)
        await asyncio.to_thread(scores, platform, tmp_path / "files")
        await asyncio.to_thread(platform.run, "down")

        refused = ["up", "--nats", url, *FREE]
        failed = await asyncio.to_thread(platform.run, *refused, code=5)
        assert "exited while starting" in failed.stderr
        assert "error: the NATS server refuses these credentials" in failed.stderr
        assert '"event"' not in failed.stderr, "its error, not its log of an earlier life"


def test_a_server_that_does_not_answer_is_named(platform: Platform, tmp_path: Path) -> None:
    failed = platform.run("up", "--nats", "nats://127.0.0.1:1", *FREE, code=5)
    assert "no NATS server at 127.0.0.1:1" in failed.stderr
    missing = platform.run(
        "up", "--nats", "nats://127.0.0.1:1", "--nats-creds", str(tmp_path / "none"), code=2
    )
    assert "does not exist" in missing.stderr
    for wrong in ("127.0.0.1:4222", "http://127.0.0.1:1", "nats://user:hunter2@127.0.0.1:1"):
        failed = platform.run("up", "--nats", wrong, *FREE, code=2)
        assert "--nats" in failed.stderr
        assert "hunter2" not in failed.stderr
