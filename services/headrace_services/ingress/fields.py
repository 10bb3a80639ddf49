"""Which header fields cross the edge, in and out (azure_behaviour.md 3.3, 6.4)."""

from __future__ import annotations

from typing import Final

from headrace_bus.routing.edge import HIDDEN
from headrace_bus.wire.envelope import Headers

CLIENT_ID: Final = "x-ms-client-request-id"
DEPLOYMENT: Final = "azureml-model-deployment"
TIMEOUT_MS: Final = "x-request-timeout-ms"
REQUEST_ID: Final = "x-request-id"
TRACEPARENT: Final = "traceparent"

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NOT_IN: Final = _HOP_BY_HOP | {
    "authorization",
    "content-length",
    "expect",
    REQUEST_ID,
    CLIENT_ID,
    TIMEOUT_MS,
}
_NOT_OUT: Final = _HOP_BY_HOP | {"content-length", "date", "server", REQUEST_ID, CLIENT_ID}
_ORDINARY: Final = frozenset({"", "keep-alive", "close"})


def inward(headers: list[tuple[str, str]], request_id: str, caller: str, named: str) -> Headers:
    """What the model's server sees. `named` is the value of `connection`: fields for one hop."""
    kept = [pair for pair in headers if pair[0] not in _NOT_IN]
    if named.lower() not in _ORDINARY:
        hop = {name.strip() for name in named.lower().split(",")}
        kept = [pair for pair in kept if pair[0] not in hop]
    kept.append((REQUEST_ID, request_id))
    if caller:
        kept.append((CLIENT_ID, caller))
    return tuple(kept)


def outward(headers: Headers, request_id: str, caller: str) -> str:
    """Header lines of an answer; a value that would end its line is dropped."""
    lines = [f"{REQUEST_ID}: {request_id}\r\n"]
    if caller:
        lines.append(f"{CLIENT_ID}: {caller}\r\n")
    for name, value in headers:
        lower = name.lower()
        if lower not in _NOT_OUT and not lower.startswith(HIDDEN):
            lines.append(f"{name}: {value}\r\n")
    text = "".join(lines)
    if text.count("\n") == len(lines) == text.count("\r"):
        return text
    return "".join(line for line in lines if line.count("\n") == 1 == line.count("\r"))
