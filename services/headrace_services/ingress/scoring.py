"""The scoring edge: judges heads, hands requests to the gateway, gives answers their HTTP form."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import structlog

from headrace_api.errors import Forbidden, Unauthorized
from headrace_bus.errors import StreamBroken
from headrace_bus.routing.edge.gateway import Gateway
from headrace_bus.routing.edge.route import Router, RouteRefused
from headrace_bus.routing.exchange.call import Call, Incoming, Result
from headrace_bus.routing.exchange.refusals import Refusal
from headrace_bus.routing.exchange.request_id import new_request_id
from headrace_bus.wire.envelope import Answer, AnswerKind
from headrace_bus.wire.head import with_header
from headrace_services.ingress import replies
from headrace_services.ingress.answering import Answering
from headrace_services.ingress.credentials import Credentials
from headrace_services.ingress.exchange import Exchange, Reply
from headrace_services.ingress.fields import DEPLOYMENT, REQUEST_ID, inward, outward
from headrace_services.ingress.heads import encoding, normal_path
from headrace_services.ingress.large import PIECE_BYTES, WHOLE_BYTES, LargeBodies
from headrace_services.ingress.metrics import EdgeMetrics
from headrace_services.ingress.write_coalescer import WriteCoalescer
from headrace_services.loopback import REFUSED, names_this_host
from headrace_telemetry.tasks import Tasks

log = structlog.get_logger(__name__)

PREFIX: Final = b"/endpoints/"
PATHS: Final = frozenset({"/score", "/swagger.json"})
KEYS_WITHOUT_NATS_S: Final = 60.0  # cut off for longer, a revoked key might still be let in

Page = Callable[[], Reply]


class ScoringEdge:
    """`connection.Edge` for scoring requests, and for the pages of the loopback port."""

    def __init__(
        self,
        gateway: Gateway,
        metrics: EdgeMetrics,
        large: LargeBodies,
        *,
        max_body_bytes: int,
        max_connections: int,
        domain: str = "",
        pages: dict[str, Page] | None = None,
    ) -> None:
        self.connections: set[Answering] = set()
        self.empty = asyncio.Event()
        """Set while no connection is open."""
        self.empty.set()
        self._gateway = gateway
        self._metrics = metrics
        self._large = large
        self._max_body_bytes = max_body_bytes
        self._max_connections = max_connections
        self._suffix = f".{domain.lower()}" if domain else ""
        self._pages = pages or {}
        self._credentials = Credentials()
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks("ingress")
        self.coalescer = WriteCoalescer(self._loop)
        self.now = self._loop.time()
        replies.set_date(time.time())

    def tick(self) -> None:
        """Called each second: the clock of connections, the date field, slow clients."""
        self.now = self._loop.time()
        replies.set_date(time.time())
        for connection in list(self.connections):
            connection.watch(self.now)

    async def stop(self) -> None:
        """End the streams that still run."""
        await self._tasks.stop()

    # connection.Edge

    def opened(self, connection: Answering) -> bool:
        self.connections.add(connection)
        self.empty.clear()
        self._metrics.connections.inc()
        return len(self.connections) <= self._max_connections

    def has_room(self, coming: int) -> bool:
        """Whether one more connection may begin beside those open and those that are `coming`."""
        return len(self.connections) + coming < self._max_connections

    def closed(self, connection: Answering) -> None:
        if connection in self.connections:
            self.connections.discard(connection)
            self._metrics.connections.dec()
        if not self.connections:
            self.empty.set()

    def gone(self, exchange: Exchange) -> None:
        self._metrics.cancelled.inc()
        exchange.file = None  # the call may stay at its instance for a while, and knows us
        if exchange.call is not None:
            self._gateway.cancel(exchange.call)

    def check(self, exchange: Exchange) -> Reply | None:
        self._locate(exchange)
        return self.recheck(exchange)

    def recheck(self, exchange: Exchange) -> Reply | None:
        exchange.started = self._loop.time()
        exchange.limit_bytes = self._max_body_bytes
        if not exchange.endpoint:
            if exchange.path in self._pages:
                return _page_refusal(exchange)
            nothing = replies.not_found("There is nothing at this path.")
            return self._refused(exchange, nothing, endpoint="")
        exchange.request_id = new_request_id()
        router = self._gateway.router(exchange.endpoint)
        if router is None:
            message = "There is no endpoint of this name."
            unknown = replies.not_found(message, "EndpointNotFound")
            return self._refused(exchange, unknown, endpoint="")
        refusal = self._unauthorized(exchange, router) or self._unroutable(exchange, router)
        if refusal is None and (coding := encoding(exchange)):
            refusal = replies.encoded(coding)
        if refusal is None:
            return None
        return self._refused(exchange, refusal, endpoint=exchange.endpoint)

    def handle(self, exchange: Exchange) -> None:
        decision = exchange.decision
        if decision is None:
            exchange.connection.reply(exchange, self._pages[exchange.path]())
            return
        known = exchange.inward
        if known is None:
            known = exchange.inward = inward(exchange)
        caller = known.caller
        file = self._large.enclose(exchange, decision.deployment.name)
        incoming = Incoming(
            exchange.request_id,
            with_header(known.head, REQUEST_ID, exchange.request_id),
            exchange.body,
            known.traceparent,
            known.timeout_ms,
            file,
            exchange.limit_bytes,
        )
        deliver = partial(self._deliver, exchange, caller)
        call = self._gateway.submit(exchange.endpoint, decision, incoming, deliver)
        if isinstance(call, Refusal):
            self._deliver(exchange, caller, None, call)
        elif not call.done:
            exchange.call = call

    # inside

    def _locate(self, exchange: Exchange) -> None:
        """Split the target into endpoint, path below it and query; an absolute target is cut."""
        target = exchange.target
        if not target.startswith(b"/"):
            target = _relative(target)
        path, _, query = target.partition(b"?")
        path = normal_path(path) if b"%" in path else path
        exchange.query = query.decode("latin-1")
        if path.startswith(PREFIX):
            name, slash, rest = path[len(PREFIX) :].partition(b"/")
            endpoint, below = name.decode("latin-1").lower(), (slash + rest).decode("latin-1")
        else:
            endpoint, below = self._host_endpoint(exchange), path.decode("latin-1")
        exchange.path = below
        exchange.endpoint = endpoint if below in PATHS else ""

    def _host_endpoint(self, exchange: Exchange) -> str:
        """`<ep>` of the host name `<ep>.<domain>`, or nothing."""
        host = exchange.fields.get("host", "").lower().partition(":")[0]
        if self._suffix and host.endswith(self._suffix):
            return host.removesuffix(self._suffix)
        return ""

    def _unauthorized(self, exchange: Exchange, router: Router) -> Reply | None:
        if self._gateway.cut_off_s > KEYS_WITHOUT_NATS_S:
            message = "NATS does not answer, so credentials cannot be checked."
            return replies.error(503, "ServiceUnavailable", message)
        if exchange.trusted is router.route:
            return None
        try:
            authorization = exchange.fields.get("authorization")
            self._credentials.check(router.route, authorization, time.time())
        except Unauthorized as error:
            return replies.unauthorized(error.message)
        except Forbidden as error:
            return replies.error(403, "Forbidden", error.message)
        if router.route.auth_mode == "key":  # a token ends by itself, so it is looked at each time
            exchange.trusted = router.route
        return None

    def _unroutable(self, exchange: Exchange, router: Router) -> Reply | None:
        decision = router.choose(exchange.fields.get(DEPLOYMENT))
        if isinstance(decision, RouteRefused):
            return replies.not_found(decision.message, decision.code)
        exchange.decision = decision
        exchange.limit_bytes = min(self._max_body_bytes, decision.deployment.max_body_bytes)
        exchange.spool = self._large.bodies
        return None

    def _refused(self, exchange: Exchange, reply: Reply, *, endpoint: str) -> Reply:
        """`endpoint` is empty when there is none of the name, so callers cannot make labels."""
        self._metrics.refused(endpoint, reply.status)
        fields = outward(b"", exchange.request_id or new_request_id(), "")
        return Reply(reply.status, reply.fields + fields, reply.body, reply.close)

    def _deliver(self, exchange: Exchange, caller: str, call: Call | None, result: Result) -> None:
        """The gateway has the result of a request."""
        exchange.call = None
        connection = exchange.connection
        if isinstance(result, Refusal):
            reply = replies.refusal(result, fields=outward(b"", exchange.request_id, caller))
        else:
            reply = self._model_reply(exchange, caller, result)
            if result.kind == AnswerKind.CHUNK and call is not None:
                exchange.call = call  # a client that hangs up cancels the stream
                self._tasks.start(self._stream(exchange, call, reply), "stream")
                return
            if call is not None and call.spool is not None:
                exchange.file = call.spool
            left = self._left_bytes(exchange, result)
            if left is not None and left > WHOLE_BYTES:
                self._tasks.start(self._stream_file(exchange, left, reply), "stream")
                return
            if left is not None and exchange.file is not None:
                reply = reply._replace(body=exchange.file.answer(left))
        exchange.file = None
        connection.reply(exchange, reply)
        self._count(exchange, reply.status)

    def _model_reply(self, exchange: Exchange, caller: str, answer: Answer) -> Reply:
        fields = outward(answer.head, exchange.request_id, caller)
        if answer.status == 200:
            return Reply(200, fields, answer.body)
        router = self._gateway.router(exchange.endpoint)
        if router is not None and router.route.kubernetes:
            return Reply(502 if answer.status >= 500 else answer.status, fields, answer.body)
        fields += f"{replies.MODEL_STATUS}: {answer.status}\r\n"
        fields += f"{replies.MODEL_REASON}: model_error\r\n"
        return Reply(424, fields, answer.body)

    async def _stream(self, exchange: Exchange, call: Call, reply: Reply) -> None:
        connection = exchange.connection
        connection.begin_stream(exchange, reply)
        try:
            async for chunk in call.chunks():
                if not await connection.write_chunk(exchange, chunk):
                    return
            connection.end_stream(exchange)
            self._count(exchange, reply.status)
        except StreamBroken as error:
            log.info("a streamed answer was cut off", endpoint=exchange.endpoint, error=str(error))
            connection.break_stream(exchange)

    def _left_bytes(self, exchange: Exchange, answer: Answer) -> int | None:
        decision = exchange.decision
        deployment = decision.deployment.name if decision is not None else ""
        return self._large.left_bytes(exchange, deployment, answer)

    async def _stream_file(self, exchange: Exchange, size_bytes: int, reply: Reply) -> None:
        """A very large answer, read as the client takes it."""
        connection, file, at = exchange.connection, exchange.file, 0
        connection.begin_stream(exchange, reply)
        while file is not None and at < size_bytes:
            piece = file.answer(min(PIECE_BYTES, size_bytes - at), at)
            if not piece:
                connection.break_stream(exchange)
                return
            if not await connection.write_chunk(exchange, piece):
                return
            at += len(piece)
        exchange.file = None
        connection.end_stream(exchange)
        self._count(exchange, reply.status)

    def _count(self, exchange: Exchange, status: int) -> None:
        decision = exchange.decision
        deployment = decision.deployment.name if decision is not None else ""
        seconds = self._loop.time() - exchange.started
        self._metrics.answered(exchange.endpoint, deployment, status, seconds)


def _page_refusal(exchange: Exchange) -> Reply | None:
    """Pages take no credential and no body."""
    exchange.limit_bytes = 0
    if names_this_host(exchange.fields.get("host", "")):
        return None
    return replies.text(403, REFUSED.encode(), "text/plain")


def _relative(target: bytes) -> bytes:
    """`http://host/path?query` as proxies send it, without scheme and host."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return b"/"
    return (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
