"""A small instance without workers: real bus, real admission, and a body that says what to do.

    python -m support.echo_instance --url nats://... --address ep.dep.iid --slots 2

A body that is a JSON object may hold `sleep_s`, `status`, `chunks` and `pause_s`; any other body is
echoed at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from typing import Any, Final

from headrace_bus.client.connection import Bus, Message
from headrace_bus.client.settings import BusSettings
from headrace_bus.routing.admission.admission import Admission, Admitted, Draining, Duplicate, Grant
from headrace_bus.wire.envelope import (
    CHUNK_WINDOW,
    Answer,
    AnswerKind,
    Request,
    RequestFlag,
    decode_request,
    encode_answer,
)
from headrace_bus.wire.head import answer_head
from headrace_bus.wire.heartbeat import (
    HEARTBEAT_INTERVAL_S,
    PULLS,
    InstanceHeartbeat,
    InstanceState,
)
from headrace_bus.wire.instance_control import Cancel, Credit, Want, decode_control
from headrace_bus.wire.subjects import InstanceAddress, heartbeat, instance, instance_control
from headrace_telemetry.clock import monotonic, unix_ms
from headrace_telemetry.tasks import Tasks

HEAD: Final = answer_head(
    (("content-type", "application/json"), ("x-ms-run-function-failed", "False"))
)


class EchoInstance:
    """One instance on a bus of its own; `start` before, `stop` after."""

    pulls = False

    def __init__(self, url: str, address: InstanceAddress, slots: int = 1) -> None:
        self.address = address
        self.admission = Admission(slots)
        self.epoch = unix_ms()
        self.seen: list[Request] = []
        self.codes: dict[bytes, int] = {}
        """Other codes than 200, by body."""
        self.refused = 0
        self.cancelled: list[str] = []
        self.state = InstanceState.READY
        self._settings = BusSettings(url=url, name=f"inst:{address.iid}")
        self._tasks = Tasks("echo")
        self._credit: dict[str, asyncio.Semaphore] = {}
        self._answers: dict[str, Answer] = {}
        self._expiry: asyncio.TimerHandle | None = None
        self.bus: Bus

    async def start(self) -> None:
        self.bus = await Bus.connect(self._settings)
        await self.bus.subscribe(instance(self.address), self._request)
        await self.bus.subscribe(instance_control(self.address), self._control)
        await self.bus.flush()
        self.bus.on_reconnect(self.say)
        self._tasks.forever(self._beat(), "heartbeat")

    async def stop(self) -> None:
        await self._tasks.stop()
        if self._expiry is not None:
            self._expiry.cancel()
        await self.bus.close()

    def say(self) -> None:
        beat = InstanceHeartbeat(
            iid=self.address.iid,
            epoch=self.epoch,
            client=self._settings.name,
            state=self.state,
            slots=self.admission.slots,
            in_flight=self.admission.in_flight,
            features=frozenset({PULLS} if self.pulls else ()),
            links=self.bus.links,
        )
        self.bus.publish(heartbeat(self.address), beat.encode())

    async def _beat(self) -> None:
        while True:
            self.say()
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    def told(self, body: bytes) -> dict[str, Any]:
        """What a body says is to be done with it; nothing: it goes back at once."""
        return dict(json.loads(body)) if body[:1] == b"{" else {}

    def _request(self, message: Message) -> None:
        request = decode_request(message.data)
        admission = self.admission
        verdict = admission.admit(
            request.request_id, request.ingress_id, request.flags, request.backlog, monotonic()
        )
        if admission.wanted:
            self._grant(admission.grants(monotonic()))
        if isinstance(verdict, Admitted):
            self.seen.append(request)
            if what := self.told(request.body):
                self._tasks.start(self._work(request, message.reply, what), "work")
            else:
                status = self.codes.get(request.body, 200)
                self._finish(request, message.reply, status, request.body)
        elif isinstance(verdict, Duplicate):
            if verdict.finished and request.request_id in self._answers:
                self._answer(message.reply, self._answers[request.request_id])
        else:
            self.refused += 1
            kind = AnswerKind.DRAINING if isinstance(verdict, Draining) else AnswerKind.BUSY
            self._answer(message.reply, self._make(request, kind))

    async def _work(self, request: Request, reply: str, what: dict[str, Any]) -> None:
        await asyncio.sleep(what.get("sleep_s", 0))
        if chunks := what.get("chunks"):
            await self._stream(request, reply, chunks, what.get("pause_s", 0))
        else:
            self._finish(request, reply, what.get("status", 200), request.body)

    async def _stream(self, request: Request, reply: str, chunks: int, pause_s: float) -> None:
        credit = self._credit[request.request_id] = asyncio.Semaphore(CHUNK_WINDOW)
        for number in range(chunks):
            await credit.acquire()
            if request.request_id in self.cancelled:
                break
            made = self._make(request, AnswerKind.CHUNK, 200, f"piece {number}\n".encode())
            self._answer(reply, made._replace(seq=number))
            await asyncio.sleep(pause_s)
        self._grant(self.admission.finish(request.request_id, monotonic()))
        self._answer(reply, self._make(request, AnswerKind.END)._replace(seq=chunks))

    def _finish(self, request: Request, reply: str, status: int, body: bytes) -> None:
        grants = self.admission.finish(request.request_id, monotonic())
        if grants:
            self._grant(grants)
        if request.flags & RequestFlag.MIRROR:
            body = b""
        answer = self._make(request, AnswerKind.DONE, status, body)
        if not self.bus.connected or request.body[:1] == b"{":
            self._answers[request.request_id] = answer  # it may be lost in a restart of the server
        self._answer(reply, answer)

    def _make(
        self, request: Request, kind: AnswerKind, status: int = 0, body: bytes = b""
    ) -> Answer:
        free = self.admission.free_for(request.ingress_id)
        return Answer(kind, request.request_id, status, 10, free, 0, "", self.epoch, HEAD, body)

    def _answer(self, reply: str, answer: Answer) -> None:
        self.bus.publish(reply, encode_answer(answer))

    def _control(self, message: Message) -> None:
        told = decode_control(message.data)
        match told:
            case Want():
                now = monotonic()
                who, n, reply = told.ingress_id, told.n, told.reply
                wanted = self.admission.want(who, n, reply, now, told.waited_ms, slot=told.slot)
                self._grant(wanted)
            case Cancel():
                self.cancelled.append(told.request_id)
                if (credit := self._credit.get(told.request_id)) is not None:
                    credit.release()
            case Credit():
                for _ in range(told.n):
                    self._credit[told.request_id].release()

    def _grant(self, grants: list[Grant]) -> None:
        for grant in grants:
            answer = Answer(AnswerKind.GRANT, "", 0, -1, grant.free, 0, "", self.epoch, b"", b"")
            self._answer(grant.reply, answer)
        expiry = self.admission.next_expiry
        if expiry is not None and self._expiry is None:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(max(0.0, expiry - monotonic()), self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self._grant(self.admission.expire(monotonic()))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--slots", type=int, default=1)
    args = parser.parse_args()
    endpoint, deployment, iid = args.address.split(".")
    one = EchoInstance(args.url, InstanceAddress(endpoint, deployment, iid), args.slots)
    await one.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await one.stop()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
