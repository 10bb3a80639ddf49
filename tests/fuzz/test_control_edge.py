"""Control's port and blob wire against damaged requests, judged as the scoring edge is."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import aiohttp
import psutil
import pytest
from yarl import URL

from fuzz.blob_inputs import ACCOUNT, Ask, Desk
from fuzz.http_inputs import Shape, rounds
from fuzz.mutate import FIRST, INPUTS, SEED, corpus
from fuzz.strict_http import Asked, Told
from fuzz.talk import MARK, Line, brief, judged, say
from headrace_services.certificates import Certificates
from headrace_services.control.app import is_ours
from support.control import WORKSPACE, ControlClient, RunningControl
from support.nats_server import NatsServer
from support.platform import until_async

AT_ONCE = 16
MAX_GROWTH_BYTES = 64 * 1024 * 1024
pytestmark = pytest.mark.timeout(60 + INPUTS // 10)


@pytest.fixture
async def control(
    tmp_path: Path, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ControlClient]:
    """Without TLS: a handshake takes longer than all that is looked at here."""
    monkeypatch.setattr(Certificates, "server_context", lambda _: None)
    logger = logging.getLogger("aiohttp.server")
    logger.addFilter(is_ours)
    control = await RunningControl(tmp_path / "home", nats_server.url).start()
    async with aiohttp.ClientSession() as session:
        yield ControlClient(f"http://localhost:{control.port}", control.home, session)
    logger.removeFilter(is_ours)
    await control.stop()


async def _sas(control: ControlClient) -> str:
    secrets = await control.post("/datastores/workspaceblobstore/listSecrets", {})
    return str(secrets.json["sasToken"])


def _line(control: ControlClient) -> Line:
    return Line(URL(control.base).port or 0)


class Watch:
    """What must hold of the whole process while inputs go through it."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self._process = psutil.Process()
        self._descriptors = self._process.num_fds()
        self._memory: list[int] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.wrong.append(f"uncaught: {context}")
        )

    def look(self, number: int) -> None:
        if number % max(1, INPUTS // 4) == 0:
            self._memory.append(self._process.memory_info().rss)

    async def settled(self) -> None:
        assert not self.wrong, "\n".join([f"{len(self.wrong)} faults", *self.wrong[:60]])
        assert self._memory[-1] - self._memory[min(1, len(self._memory) - 1)] < MAX_GROWTH_BYTES
        await until_async(
            lambda: self._process.num_fds() <= self._descriptors + 4, "connections to go"
        )


_SILENT = (b"HEAD", b"CONNECT")
_PLACES = (f"{WORKSPACE}/".encode(), f"{ACCOUNT}/".encode(), b"/nothing/")


def _expect(asked: Asked, told: Told) -> str:
    """A refusal names the path it is about: the one that was asked for, where it led so far."""
    intact = asked.target.startswith(_PLACES)
    marks = MARK.findall(asked.target.partition(b"?")[0]) if intact else []
    if told.status == 404 and marks and asked.method not in _SILENT and marks[0] not in told.body:
        return f"{told.body[:200]!r} is not about {marks[0]!r}"
    return ""


async def test_what_control_reads_is_what_the_standard_says(control: ControlClient) -> None:
    sas = await _sas(control)
    path = WORKSPACE.encode()
    shape = Shape(
        good=(
            (b"GET", b"/nothing/%b"),
            (b"POST", b"/nothing/%b"),
            (b"GET", f"{ACCOUNT}/%b?{sas}".encode()),
            (b"PUT", f"{ACCOUNT}/%b?{sas}".encode()),
            (b"PUT", path + b"/onlineEndpoints/%b"),
            (b"POST", path + b"/onlineEndpoints/%b/listKeys"),
        ),
        other=(
            *(
                b"/healthz",
                b"/readyz",
                b"*",
                b"//",
                b"/\xff",
                b"http://x/healthz",
                b"http://[",
                b"?",
            ),
            *(path + b"/" + b"x" * 40_000, path + b"/models?%ff", path + b"/..", path + b"/%00"),
            *(path + b"/models?$skip=%d9%a0&$top=-1", b"/adfs/oauth2/token", b"/openapi.json"),
        ),
        fields=(
            b"Host: localhost",
            f"Authorization: Bearer {control.token}".encode(),
            b"Content-Type: application/json",
        ),
    )
    watch = Watch()
    base = [one.replace(b"{token}", control.token.encode()) for one in corpus("control")]
    todo: Iterator[int] = iter(range(FIRST, FIRST + INPUTS))

    async def some() -> None:
        line = _line(control)
        for number in todo:
            one = await say(line, rounds(number, shape, base))
            watch.wrong += [
                f"input {number} of seed {SEED}: {text}; said {brief(one.said)!r}, heard "
                f"{brief(one.heard)!r}"
                for text in judged(one, _expect, ends_after=b"content-encoding")
            ]
            watch.look(number)
        line.close()

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    await watch.settled()
    assert (await control.send("GET", "//readyz")).json == {"ready": True}


@pytest.mark.full
async def test_blobs_are_what_was_put_or_the_request_is_refused(control: ControlClient) -> None:
    sas = await _sas(control)
    outside = {one for one in control.home.root.rglob("*") if control.home.blobs not in one.parents}
    watch = Watch()

    async def some(who: int) -> None:
        line, desk = _line(control), Desk(who, sas)
        for number in range(FIRST + who, FIRST + INPUTS, AT_ONCE):
            ask = desk.ask(number, random.Random(SEED << 40 | number))
            one = await say(line, [ask.raw])
            wrong = judged(one, partial(_blob_fault, ask), partial(_of_another, who, ask.shared))
            watch.wrong += [
                f"input {number} of seed {SEED}: {text}; said {brief(one.said)!r}, heard "
                f"{brief(one.heard)!r}"
                for text in wrong
            ]
            watch.look(number)
        line.close()

    await asyncio.gather(*(some(who) for who in range(AT_ONCE)))
    await watch.settled()
    now = {one for one in control.home.root.rglob("*") if control.home.blobs not in one.parents}
    assert now == outside
    assert not list((control.home.blobs / "incoming").iterdir())


def _of_another(who: int, shared: bool, mark: bytes) -> bool:
    """Whether another said it, and not this one a damaged mark of its own."""
    other, number = (int(part) for part in mark.split(b"-")[1:3])
    said = FIRST <= number < FIRST + INPUTS and (number - FIRST) % AT_ONCE == other
    return said and not shared and other != who


def _blob_fault(ask: Ask, asked: Asked, told: Told) -> str:
    if ask.status is not None and told.status != ask.status:
        return f"status {told.status}, due was {ask.status}"
    if ask.body is not None and told.status < 300 and told.body != ask.body:
        return f"body {told.body[:80]!r}, due was {ask.body[:80]!r}"
    if told.status >= 400 and told.fields.get(b"content-type", b"").startswith(b"application/json"):
        json.loads(told.body)
    return ""
