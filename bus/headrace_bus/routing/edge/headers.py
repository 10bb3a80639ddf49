"""What both edges do to what a caller sends: request ids, tracing ids, deadlines."""

from __future__ import annotations

import re
from typing import Final

CLIENT_ID_CHARS: Final = 40  # azure_behaviour.md 3.3
HIDDEN: Final = ("nats-", "hr-")
"""Header names, in lower case, that no caller may send and no model may answer."""

_NOT_ID: Final = re.compile(r"[^-_0-9A-Za-z]")


def client_id(value: str | None) -> str:
    """The caller's tracing id as it is kept: 40 letters, digits, `-` and `_`."""
    return _NOT_ID.sub("", value)[:CLIENT_ID_CHARS] if value else ""


def timeout_ms(value: str | None) -> int | None:
    """The caller's own deadline; what is no positive number is ignored."""
    if value and len(value) < 10 and value.isascii() and value.isdigit() and int(value) > 0:
        return int(value)
    return None
