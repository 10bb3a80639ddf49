"""Which header fields cross the edge, in and out (azure_behaviour.md 3.3, 6.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from headrace_bus.routing.edge.headers import HIDDEN, client_id, timeout_ms
from headrace_bus.wire.head import columns, request_head
from headrace_services.ingress.exchange import Exchange, Inward

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
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
_ORDINARY: Final = frozenset({"", "keep-alive", "close"})
_KNOWN_FORMS: Final = 512
_FORM_BYTES: Final = 2048  # of names in a form that is kept
MAX_OUT_CHARS: Final = 64 * 1024  # of the lines of a model's answer; no client reads more
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")

_forms: dict[tuple[str, ...], str] = {}


def framing(exchange: Exchange) -> bytes:
    """A head that says where the body of this one ends and whether another follows, and no more."""
    kept = [pair for pair in exchange.headers if pair[0] in _FRAMING]
    named = {name.strip() for name in exchange.fields.get("connection", "").lower().split(",")}
    kept += [("connection", name) for name in ("close", "keep-alive") if name in named]
    lines = "".join(f"{name}: {value}\r\n" for name, value in kept)
    return f"POST / HTTP/{exchange.version}\r\n{lines}\r\n".encode("latin-1")


def inward(exchange: Exchange) -> Inward:
    """What the model's server sees of a head; fields that `connection` names are for one hop."""
    fields = exchange.fields
    kept = [pair for pair in exchange.headers if pair[0] not in _NOT_IN]
    named = fields.get("connection", "").lower()
    if named not in _ORDINARY:
        hop = {name.strip() for name in named.split(",")}
        kept = [pair for pair in kept if pair[0] not in hop]
    caller = client_id(fields.get(CLIENT_ID))
    if caller:
        kept.append((CLIENT_ID, caller))
    head = request_head(exchange.method, exchange.path, exchange.query, kept)
    return Inward(caller, head, fields.get(TRACEPARENT, ""), timeout_ms(fields.get(TIMEOUT_MS)))


def outward(head: bytes, request_id: str, caller: str) -> str:
    """Header lines of an answer (`wire.head`); a value that would end its line is dropped."""
    own = f"{REQUEST_ID}: {request_id}\r\n"
    if caller:
        own += f"{CLIENT_ID}: {caller}\r\n"
    return own + _lines(*columns(head)) if head else own


def _lines(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """A model answers with the same names again and again: their lines are one format."""
    form = _forms.get(names) or _form(names)
    text = form % values
    if text.count("\n") == form.count("\n") == text.count("\r") and len(text) <= MAX_OUT_CHARS:
        return text
    return _bounded(
        f"{name}: {value}\r\n"
        for name, value in zip(names, values, strict=True)
        if _passes_out(name) and "\r" not in value and "\n" not in value
    )


def _bounded(lines: Iterable[str]) -> str:
    """Those that clients read: one that would make it too much is left out."""
    kept, left = [], MAX_OUT_CHARS
    for line in lines:
        if len(line) <= left:
            kept.append(line)
            left -= len(line)
    return "".join(kept)


def _form(names: tuple[str, ...]) -> str:
    """A line for each name that leaves the platform; `%.0s` takes a value and shows none of it."""
    shown = (
        name.replace("%", "%%") + ": %s\r\n" if _passes_out(name) else "%.0s" for name in names
    )
    form = "".join(shown)
    if len(_forms) < _KNOWN_FORMS and sum(map(len, names)) <= _FORM_BYTES:
        _forms[names] = form
    return form


def _passes_out(name: str) -> bool:
    """Whether a field of the model's answer leaves the platform: clients hang on a name that is
    no token (RFC 9110 5.6.2).
    """
    lower = name.lower()
    is_token = _TOKEN.fullmatch(lower) is not None
    return is_token and lower not in _NOT_OUT and not lower.startswith(HIDDEN)
