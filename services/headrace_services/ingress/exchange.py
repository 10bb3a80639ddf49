"""One HTTP request and what has become of it so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace_bus.routing.call import Call
    from headrace_bus.routing.route import RouteDecision
    from headrace_services.ingress.connection import Connection


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; `fields` are header lines without the ones every answer has."""

    status: int
    fields: str
    """`name: value` lines, each ended by CR LF."""
    body: bytes
    close: bool = False
    """Whether nothing may follow on this connection."""


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
        "head_bytes",
        "headers",
        "keep_alive",
        "limit_bytes",
        "method",
        "path",
        "query",
        "refusal",
        "request_id",
        "size_bytes",
        "started",
        "target",
    )

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.target = b""
        self.method = ""
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
        self._parts: list[bytes] = []

    def add_body(self, part: bytes) -> None:
        self._parts.append(part)

    def complete(self) -> None:
        """The whole body has come."""
        self.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
