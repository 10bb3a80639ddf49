"""What --debug shows of an HTTP exchange: everything but the secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import IO, Any, Final

MASK: Final = "***"
MAX_SHOWN_BYTES: Final = 4_096
_SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "set-cookie"})
_SECRET_QUERY: Final = re.compile(r"\b(sig|token|code|client_secret)=[^&\s\"']+", re.IGNORECASE)
_SECRET_FIELD: Final = re.compile(
    r"[a-z]*key|keyvalue|([a-z]+_)?[a-z]*token|[a-z_]*secret[a-z]*|password", re.IGNORECASE
)
_ALL_SECRET: Final = "environmentvariables"


def request_text(
    method: str, url: str, headers: Mapping[str, str], body: bytes | IO[bytes] | None
) -> str:
    """One request as text."""
    shown = "(file)" if body is not None and not isinstance(body, bytes) else _body(body)
    return f"> {method} {mask(url)}\n{_headers('>', headers)}{shown}".rstrip()


def answer_text(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """One answer as text."""
    return f"< {status}\n{_headers('<', headers)}{_body(body)}".rstrip()


def mask(text: str) -> str:
    """The text without keys, tokens, signatures and environment variables."""
    try:
        value = json.loads(text)
    except ValueError:
        return _masked_query(text)
    return json.dumps(_masked(value))


def _masked(value: Any, name: str = "") -> Any:
    """JSON as it is parsed: no quote or brace in a secret can hide its end."""
    if isinstance(value, dict):
        if name.lower() == _ALL_SECRET:
            return MASK
        return {key: _masked(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_masked(one, name) for one in value]
    if not isinstance(value, str):
        return value
    return MASK if _SECRET_FIELD.fullmatch(name) else _masked_query(value)


def _masked_query(text: str) -> str:
    return _SECRET_QUERY.sub(lambda match: f"{match[1]}={MASK}", text)


def _headers(sign: str, headers: Mapping[str, str]) -> str:
    lines = [
        f"{sign} {name}: {MASK if name.lower() in _SECRET_HEADERS else mask(value)}\n"
        for name, value in headers.items()
    ]
    return "".join(lines)


def _body(body: bytes | None) -> str:
    if not body:
        return ""
    if len(body) > MAX_SHOWN_BYTES:
        # Cutting first could split a secret from the name that marks it.
        return f"({len(body)} bytes)"
    return mask(body.decode(errors="replace"))
