"""A caller that speaks the envelope to one instance, and the instance it speaks to."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any, Final, Self

from headrace_api.home import Home
from headrace_bus.client.connection import Bus, Message, Subscription
from headrace_bus.client.settings import BusSettings
from headrace_bus.wire import subjects
from headrace_bus.wire.batch import couple, uncouple
from headrace_bus.wire.envelope import Answer, AnswerKind, Request, decode_answer, encode_request
from headrace_bus.wire.head import request_head
from headrace_bus.wire.heartbeat import InstanceHeartbeat, InstanceState
from headrace_bus.wire.instance_control import InstanceControl, encode_control
from headrace_bus.wire.launch import AssetFile, Launch
from headrace_scorer.assets import blob_path
from headrace_telemetry.clock import unix_ms

BOUND_S: Final = 30.0
_IDS = itertools.count()


def store(home: Home, path: str, data: bytes) -> AssetFile:
    """Put bytes where the folder store keeps them."""
    digest = hashlib.sha256(data).hexdigest()
    target = blob_path(home.blobs, digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return AssetFile(path=path, digest=digest, size_bytes=len(data))


def launch_of(home: Home, url: str, script: str, **fields: Any) -> Launch:
    """A launch record whose code is one score.py with this text."""
    base = Launch(
        iid=f"i{next(_IDS)}",
        endpoint="ep",
        deployment="blue",
        revision=1,
        code_files=(store(home, "score.py", script.encode()),),
        scoring_script="score.py",
        nats_url=url,
    )
    return replace(base, **fields)


class Instance:
    """A scorer in a process of its own, and what it says of itself."""

    def __init__(self, home: Home, launch: Launch, bus: Bus, python: str = sys.executable) -> None:
        self.home = home
        self.launch = launch
        self.bus = bus
        self.python = python
        self.folder = home.instances / launch.iid
        self.address = subjects.InstanceAddress(launch.endpoint, launch.deployment, launch.iid)
        self.last: InstanceHeartbeat | None = None
        self.states: list[InstanceState] = []
        self._beat = asyncio.Event()
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.launch.write(self.folder / "launch.json")
        await self.bus.subscribe(subjects.heartbeat(self.address), self._heard)
        await self.bus.flush()
        log = os.open(self.folder / "scorer.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._process = subprocess.Popen(  # noqa: ASYNC220  (a few milliseconds, in a test)
            [self.python, "-m", "headrace_scorer",
             "--home", str(self.home.root), "--iid", self.launch.iid],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        os.close(log)
        return self

    async def ready(self) -> Self:
        await self.until(InstanceState.READY)
        return self

    async def until(self, *states: InstanceState) -> InstanceHeartbeat:
        """Return the first heartbeat in one of these states."""
        return await self.when(lambda beat: beat.state in states)

    async def when(self, true_of: Any) -> InstanceHeartbeat:
        async with asyncio.timeout(BOUND_S):
            while self.last is None or not true_of(self.last):
                self._beat.clear()
                await self._beat.wait()
        return self.last

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def exit_code(self) -> int:
        assert self._process is not None
        async with asyncio.timeout(BOUND_S):
            return await asyncio.to_thread(self._process.wait)

    def log(self, name: str = "inference-server.log") -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    async def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)
            await self.exit_code()

    def _heard(self, message: Message) -> None:
        self.last = InstanceHeartbeat.decode(message.data)
        if not self.states or self.states[-1] is not self.last.state:
            self.states.append(self.last.state)
        self._beat.set()


class Caller:
    """Sends requests as an ingress does; answers come to one inbox."""

    def __init__(self, bus: Bus, address: subjects.InstanceAddress) -> None:
        self.bus = bus
        self.address = address
        self.id = f"test{next(_IDS)}"
        self._waiting: dict[str, asyncio.Queue[Answer]] = {}
        self.reply = f"_INBOX.{self.id}"
        self.messages = 0
        """How many brought answers."""
        self._subscription: Subscription

    async def open(self) -> Self:
        self._subscription = await self.bus.subscribe(self.reply, self._answered)
        await self.bus.flush()
        return self

    async def go(self) -> None:
        """Hear nothing any more, as an ingress that was killed."""
        await self._subscription.unsubscribe()
        await self.bus.flush()

    def request(self, body: bytes, **fields: Any) -> Request:
        base = Request(
            request_id=f"{self.id}-{next(_IDS)}",
            deadline_ms=unix_ms() + 60_000,
            remaining_ms=60_000,
            timeout_ms=5_000,
            flags=0,
            backlog=0,
            head=request_head("POST", "/score", "", [("content-type", "application/json")]),
            traceparent="",
            ingress_id=self.id,
            body=body,
        )
        return base._replace(**fields)

    def send(self, request: Request) -> asyncio.Queue[Answer]:
        queue = self._waiting.setdefault(request.request_id, asyncio.Queue())
        self.bus.publish(subjects.instance(self.address), encode_request(request), reply=self.reply)
        return queue

    def send_together(self, *requests: Request, broken: bytes) -> list[asyncio.Queue[Answer]]:
        """All in one message, and in front of the last one an envelope that is none."""
        queues = [self._waiting.setdefault(one.request_id, asyncio.Queue()) for one in requests]
        *first, last = map(encode_request, requests)
        train = couple([*first, broken, last])
        self.bus.publish(subjects.instance(self.address), train, reply=self.reply)
        return queues

    def grants(self) -> asyncio.Queue[Answer]:
        """GRANT answers, which belong to no request."""
        return self._waiting.setdefault("", asyncio.Queue())

    def control(self, message: InstanceControl) -> None:
        self.bus.publish(subjects.instance_control(self.address), encode_control(message))

    async def ask(self, body: bytes | str | dict[str, Any] | list[Any], **fields: Any) -> Answer:
        """One request until its last answer; a busy instance is asked again."""
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        data = body.encode() if isinstance(body, str) else body
        async with asyncio.timeout(BOUND_S):
            while True:
                answer = await self.send(self.request(data, **fields)).get()
                if answer.kind != AnswerKind.BUSY:
                    return answer
                await asyncio.sleep(0.002)

    def _answered(self, message: Message) -> None:
        self.messages += 1
        for envelope in uncouple(message.data):
            answer = decode_answer(envelope)
            queue = self._waiting.get(answer.request_id)
            if queue is not None:
                queue.put_nowait(answer)


async def connect(url: str) -> Bus:
    return await Bus.connect(BusSettings(url=url, name="test"))
