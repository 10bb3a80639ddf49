"""The router: the ingress without HTTP, for callers on the bus itself (`score.<ep>`).

    request   body, with headers azureml-model-deployment, x-ms-client-request-id,
              x-request-timeout-ms, content-type, traceparent, if the caller likes
    answer    body, with headers Hr-Status, Hr-Request-Id, content-type, ...; a streamed one is
              several messages with Hr-Seq, and one more with Hr-End

Who may publish on `score.<ep>` may score: NATS permissions are the credential here.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import structlog
import uvloop

from headrace_bus.client.connection import Bus, Message, Subscription
from headrace_bus.client.headers import is_name
from headrace_bus.client.roles import Role
from headrace_bus.client.settings import BusSettings
from headrace_bus.errors import BusDisconnected, BusError, StreamBroken
from headrace_bus.routing.bodies.shared_file import Bodies, SharedFile
from headrace_bus.routing.edge.gateway import Gateway, GatewaySettings
from headrace_bus.routing.edge.headers import HIDDEN, client_id, timeout_ms
from headrace_bus.routing.edge.route import RouteRefused
from headrace_bus.routing.edge.routes import BucketRoutes
from headrace_bus.routing.exchange.call import Call, Incoming, Result
from headrace_bus.routing.exchange.refusals import Refusal, encoded, too_large
from headrace_bus.routing.exchange.request_id import new_request_id
from headrace_bus.store.bucket import Bucket
from headrace_bus.wire.envelope import PIECE_BYTES, AnswerKind
from headrace_bus.wire.head import Headers, request_head
from headrace_bus.wire.subjects import ROUTER_QUEUE, all_scores
from headrace_services import open_files
from headrace_services.router.settings import RouterSettings
from headrace_telemetry import logs
from headrace_telemetry.metrics import Registry
from headrace_telemetry.signals import asked_to_stop
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

REPLIES: Final = ("_INBOX.", f"_INBOX_{Role.CALLER}.")
DRAIN_POLL_S: Final = 0.02
STATUS: Final = "Hr-Status"
REQUEST_ID: Final = "Hr-Request-Id"
SEQ: Final = "Hr-Seq"
END: Final = "Hr-End"


class RouterService:
    """One router on one bus."""

    def __init__(self, bus: Bus, *, gateway: GatewaySettings, bodies: Bodies | None = None) -> None:
        self._bus = bus
        routes = BucketRoutes(Bucket(bus, "state"))
        self.gateway = Gateway(bus, routes, Registry(), gateway, bodies)
        self._streams = Tasks("router")
        self._subscription: Subscription | None = None
        self._owed: list[tuple[str, dict[str, str]]] = []
        """Ends of answers that a cut broke off, said when NATS is back."""

    async def start(self) -> None:
        """Raises BusDisconnected."""
        self._bus.on_disconnect(self._cut_off)
        self._bus.on_reconnect(self._pay)
        await self.gateway.start()
        self._subscription = await self._bus.subscribe(
            all_scores(), self._request, queue=ROUTER_QUEUE
        )
        await self._bus.flush()

    async def stop(self, drain_s: float) -> None:
        """Take nothing more, let open requests end, close."""
        if self._subscription is not None:
            await self._subscription.drain()
        deadline = asyncio.get_running_loop().time() + drain_s
        while self.gateway.pending and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_POLL_S)
        await self._streams.stop()
        await self.gateway.stop()

    def _request(self, message: Message) -> None:
        endpoint = message.subject.partition(".")[2]
        given = {name.lower(): value for name, value in (message.headers or {}).items()}
        request_id = new_request_id()
        router = self.gateway.router(endpoint)
        if router is None:
            refused = Refusal(
                status=404, code="EndpointNotFound", message="There is no endpoint of this name."
            )
            self._refuse(message.reply, request_id, refused)
            return
        decision = router.choose(given.get("azureml-model-deployment"))
        if isinstance(decision, RouteRefused):
            refused = Refusal(status=404, code=decision.code, message=decision.message)
            self._refuse(message.reply, request_id, refused)
            return
        limit = decision.deployment.max_body_bytes
        if len(message.data) > limit:
            self._refuse(message.reply, request_id, too_large(limit, len(message.data)))
            return
        if (coding := given.get("content-encoding", "").lower()) not in ("", "identity"):
            self._refuse(message.reply, request_id, encoded(coding))
            return
        incoming = _incoming(request_id, given, message.data, limit)
        deliver = partial(self._deliver, message.reply, request_id)
        call = self.gateway.submit(endpoint, decision, incoming, deliver)
        if isinstance(call, Refusal):
            self._refuse(message.reply, request_id, call)

    def _deliver(self, reply: str, request_id: str, call: Call, result: Result) -> None:
        if isinstance(result, Refusal):
            self._refuse(reply, request_id, result)
            return
        fields = {STATUS: str(result.status), REQUEST_ID: request_id} | _outward(result.headers)
        if result.kind == AnswerKind.CHUNK:
            self._stream(reply, fields, call.chunks(), call)
        elif call.spool is not None:
            self._stream(reply, fields, _spooled(call.spool), call)
        else:
            self._publish(reply, result.body, fields)

    def _stream(
        self, reply: str, fields: dict[str, str], chunks: AsyncIterator[bytes], call: Call
    ) -> None:
        """Each piece names a subject on which the server says that nobody listens to it."""

        def heard(message: Message) -> None:
            if message.no_responders:
                task.cancel()

        def ended(task: asyncio.Task[bool]) -> None:
            inbox.close()
            if not call.ended:
                self.gateway.cancel(call)
            whole = not task.cancelled() and task.exception() is None and task.result()
            self._end(reply, numbered | {END: "complete" if whole else "broken"})

        inbox, numbered = self._bus.open_inbox(heard), fields | {SEQ: "0"}
        task = self._streams.start(self._pieces(reply, inbox.subject, numbered, chunks), "stream")
        task.add_done_callback(ended)  # one that is cancelled before its first step, too

    async def _pieces(
        self, reply: str, gone: str, numbered: dict[str, str], chunks: AsyncIterator[bytes]
    ) -> bool:
        """Whether all were published; `numbered` then has the number of the next."""
        try:
            async for chunk in chunks:
                if not self._publish(reply, chunk, numbered, gone):
                    return False
                numbered[SEQ] = str(int(numbered[SEQ]) + 1)
                await self._bus.writable()
        except (StreamBroken, BusDisconnected):
            return False
        return True

    def _end(self, reply: str, fields: dict[str, str]) -> None:
        if self._bus.connected:
            self._publish(reply, b"", fields)
        else:
            self._owed.append((reply, fields | {END: "broken"}))

    def _cut_off(self) -> None:
        """What was published just before a cut may be lost: such an answer is broken."""
        self._streams.cancel()

    def _pay(self) -> None:
        owed, self._owed = self._owed, []
        for reply, end in owed:
            self._publish(reply, b"", end)

    def _refuse(self, reply: str, request_id: str, refused: Refusal) -> None:
        body = json.dumps({"error": {"code": refused.code, "message": refused.message}}).encode()
        fields = {
            STATUS: str(refused.status),
            REQUEST_ID: request_id,
            "content-type": "application/json",
        }
        if refused.reason:
            fields["Hr-Reason"] = refused.reason
        self._publish(reply, body, fields)

    def _publish(self, reply: str, body: bytes, fields: Mapping[str, str], gone: str = "") -> bool:
        """False when it cannot be published.

        A caller without a reply subject asked for no answer; nor is one sent elsewhere.
        The server does not check that a caller may listen on the reply subject it names, and we may
        publish where callers may not: to instances, and to the other edges' inboxes.
        """
        if not reply.startswith(REPLIES):
            return True
        try:
            self._bus.publish(reply, body, gone, headers=fields)
        except BusError as error:
            log.warning("an answer could not be published", error=str(error))
            return False
        return True


async def _spooled(spool: SharedFile) -> AsyncIterator[bytes]:
    """A large answer as a stream."""
    for at in range(0, spool.answer_bytes, PIECE_BYTES):
        yield spool.answer(min(PIECE_BYTES, spool.answer_bytes - at), at)


def _incoming(request_id: str, given: Mapping[str, str], body: bytes, limit_bytes: int) -> Incoming:
    caller = client_id(given.get("x-ms-client-request-id"))
    headers = [(name, value) for name, value in given.items() if not name.startswith(HIDDEN)]
    headers = [pair for pair in headers if pair[0] not in ("status", "description")]
    headers.append(("x-request-id", request_id))
    return Incoming(
        request_id,
        request_head(
            "POST",
            "/score",
            "",
            [
                (name, caller if name == "x-ms-client-request-id" else value)
                for name, value in headers
            ],
        ),
        body,
        given.get("traceparent", ""),
        timeout_ms(given.get("x-request-timeout-ms")),
        limit_bytes=limit_bytes,
    )


def _outward(headers: Headers) -> dict[str, str]:
    """What no header may be called would fail the whole answer; ingresses leave it out too."""
    return {
        name: value
        for name, value in headers
        if is_name(name) and not name.lower().startswith(HIDDEN)
    }


async def run(
    settings: RouterSettings,
    stop: asyncio.Event,
    *,
    on_ready: asyncio.Event | None = None,
    gateway: GatewaySettings | None = None,
) -> None:
    """Serve until `stop`. Raises BusDisconnected, Unauthorized (NATS)."""
    gateway = gateway or GatewaySettings(ingress_id=f"ro-{secrets.token_hex(8)}")
    async with AsyncExitStack() as stack:
        bus = await Bus.connect(
            BusSettings(
                url=settings.nats_url,
                name=f"router:{gateway.ingress_id}",
                credentials=settings.nats_credentials,
            )
        )
        stack.push_async_callback(bus.close)
        bus.on_closed(stop.set)
        bodies = Bodies.below(settings.home)
        router = RouterService(bus, gateway=gateway, bodies=bodies)
        stack.push_async_callback(router.stop, settings.drain_s)
        await router.start()
        log.info("the router is ready", router_id=gateway.ingress_id)
        if on_ready is not None:
            on_ready.set()
        await stop.wait()


def main(settings: RouterSettings) -> int:
    """Run the process until SIGTERM or SIGINT; returns its exit code."""
    logs.configure("router")
    open_files.raise_limit()

    async def serve() -> None:
        await run(settings, asked_to_stop())

    uvloop.run(serve())
    return os.EX_OK
