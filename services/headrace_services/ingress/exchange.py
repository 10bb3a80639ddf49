"""One HTTP request and what has become of it so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from headrace_bus.routing.bodies.shared_file import HANDED_BYTES, Bodies, SharedFile

if TYPE_CHECKING:
    from headrace_bus.routing.edge.route import RouteDecision
    from headrace_bus.routing.exchange.call import Call
    from headrace_bus.wire.route_record import Route


class Reply(NamedTuple):
    """A whole answer; `fields` are header lines without the ones every answer has."""

    status: int
    fields: str
    """`name: value` lines, each ended by CR LF."""
    body: bytes
    close: bool = False
    """Whether nothing may follow on this connection."""


class Inward(NamedTuple):
    """What a head says to the model's server, the same for each request with that head."""

    caller: str
    """The client's own request id, as it is kept; empty when it has none."""
    head: bytes
    """`wire.head.request_head`, without the request's own id."""
    traceparent: str
    timeout_ms: int | None


class Client(Protocol):
    """The connection a request came by, as whoever answers it sees it."""

    def reply(self, exchange: Exchange, reply: Reply) -> None: ...
    def begin_stream(self, exchange: Exchange, reply: Reply) -> None: ...
    async def write_chunk(self, exchange: Exchange, data: bytes) -> bool: ...
    def end_stream(self, exchange: Exchange) -> None: ...
    def break_stream(self, exchange: Exchange) -> None: ...


class Exchange:
    """A request as it is read, then answered."""

    __slots__ = (
        "_parts",
        "body",
        "call",
        "chunked",
        "connection",
        "decision",
        "endpoint",
        "fields",
        "file",
        "head_bytes",
        "headers",
        "inward",
        "keep_alive",
        "limit_bytes",
        "method",
        "path",
        "query",
        "refusal",
        "request_id",
        "size_bytes",
        "spool",
        "started",
        "target",
        "trusted",
        "version",
    )

    def __init__(self, connection: Client) -> None:
        self.connection = connection
        self.target = b""
        self.method = ""
        self.version = "1.1"
        self.path = ""
        self.query = ""
        self.headers: list[tuple[str, str]] = []
        """As they came, names in lower case; those no caller may send are left out."""
        self.fields: dict[str, str] = {}
        """The same by name, the last of equal ones."""
        self.head_bytes = 0
        self.body = b""
        self.size_bytes = 0
        self.limit_bytes = 0
        self.keep_alive = False
        self.chunked = True
        """Whether the client understands a body in chunks."""
        self.refusal: Reply | None = None
        """Decided before the body was read, which then is thrown away."""
        self.request_id = ""
        self.endpoint = ""
        self.decision: RouteDecision | None = None
        self.call: Call | None = None
        self.started = 0.0
        self.file: SharedFile | None = None
        """Holds the body when it is large, and the answer when that is."""
        self.spool: Bodies | None = None
        """Where a large body goes; None keeps it in memory."""
        self.inward: Inward | None = None
        self.trusted: Route | None = None
        """The route whose key the head carries, once that is known."""
        self._parts: list[bytes] = []

    def again(self, body: bytes) -> None:
        """Become the next request, with the same head; all that was decided is decided anew."""
        self.body, self.size_bytes = body, len(body)
        self.refusal = self.decision = self.call = self.file = None
        self.keep_alive = True

    def add_body(self, part: bytes) -> None:
        """Take the next piece; a large body goes to a file. Raises OSError without room."""
        if self.file is not None:
            self.file.add(part)
            return
        self._parts.append(part)
        if self.size_bytes >= HANDED_BYTES and self.spool is not None:
            self.file = SharedFile(self.spool)
            for one in self._parts:
                self.file.add(one)
            self._parts = []

    def complete(self) -> None:
        """The whole body has come."""
        self.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
