"""Ids of requests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

_DRAWN: Final = 64  # ids drawn at once


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
