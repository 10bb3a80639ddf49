"""What both edges do to what a caller sends: request ids, tracing ids, deadlines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

CLIENT_ID_CHARS: Final = 40  # azure_behaviour.md 3.3
HIDDEN: Final = ("nats-", "hr-")
"""Header names, in lower case, that no caller may send and no model may answer (design 8)."""

_DRAWN: Final = 64  # ids drawn at once
_NOT_ID: Final = re.compile(r"[^-_0-9A-Za-z]")


def new_request_id() -> str:
    """A random GUID; a secret between an edge and the instance until the answer is there."""
    h = next(_random_hex)
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"


def _draw() -> Iterator[str]:
    """16 random bytes as hex, over and over; one system call serves many."""
    while True:
        drawn = os.urandom(16 * _DRAWN).hex()
        for at in range(0, len(drawn), 32):
            yield drawn[at : at + 32]


_random_hex: Final = _draw()


def client_id(value: str | None) -> str:
    """The caller's tracing id as it is kept: 40 letters, digits, `-` and `_`."""
    return _NOT_ID.sub("", value)[:CLIENT_ID_CHARS] if value else ""


def timeout_ms(value: str | None) -> int | None:
    """The caller's own deadline; what is no positive number is ignored."""
    if value and len(value) < 10 and value.isascii() and value.isdigit() and int(value) > 0:
        return int(value)
    return None
